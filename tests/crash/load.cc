#include "tests/crash/load.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/random.h"

namespace terrace::crash {

namespace {

/// Namespaces of a store at most.
constexpr std::size_t kSpacesMax = 12;

/// Chances of what a writer does next, in percent; the rest are gets.
struct Mix {
  std::uint32_t put = 40, durable = 15, remove = 15, remove_at_once = 5, clear = 1, space = 1;
};

Mix MixFor(Focus focus) {
  switch (focus) {
    case Focus::kNone: return {};
    case Focus::kLaps: return {.put = 55, .durable = 5, .remove = 25, .clear = 0, .space = 0};
    case Focus::kRemovals: return {.put = 20, .durable = 5, .remove = 25, .remove_at_once = 30};
    case Focus::kClears: return {.clear = 15};
    case Focus::kSpaces: return {.space = 15};
    case Focus::kDurable: return {.put = 10, .durable = 50};
  }
  return {};
}

}  // namespace

/// What a thread of the load works with.
struct Load::Worker {
  SeededRandom random;
  std::uint32_t number = 0;
  std::unique_ptr<BlockClient> client;
  std::vector<SpacePlan> spaces;
  Focus focus = Focus::kNone;
  std::uint32_t writers = 1;

  /// Any chain; with `own` one that this writer may put to, shared ones among them.
  Stretch Draw(bool own) {
    Stretch stretch;
    // Others than writer 0 know the namespaces that were there at the start.
    stretch.space = static_cast<std::uint32_t>(random.Below(spaces.size()));
    const SpacePlan& space = spaces[stretch.space];
    stretch.chain = static_cast<std::uint32_t>(random.Below(space.chains));
    if (own && stretch.chain >= space.shared) {
      stretch.chain = stretch.chain / writers * writers + number;
      if (stretch.chain >= space.chains || stretch.chain < space.shared) {
        stretch.chain = stretch.chain < space.shared ? stretch.chain + writers : number;
      }
    }
    // Few chains: a writer without one of its own takes a shared one, or does nothing.
    if (stretch.chain >= space.chains) return stretch;
    const bool whole = focus == Focus::kLaps || random.Chance(0.25);
    stretch.first = whole ? 0 : static_cast<std::uint32_t>(random.Below(space.length));
    const std::uint32_t left = space.length - stretch.first;
    stretch.count = whole ? left : static_cast<std::uint32_t>(random.Between(1, left));
    return stretch;
  }
  [[nodiscard]] bool Owns(const Stretch& stretch) const {
    return stretch.count > 0 && stretch.chain >= spaces[stretch.space].shared &&
           stretch.chain % writers == number;
  }
  [[nodiscard]] bool MayPut(const Stretch& stretch) const {
    return stretch.count > 0 && (stretch.chain < spaces[stretch.space].shared || Owns(stretch));
  }
  bool Write(Oracle& oracle, std::vector<SpacePlan>& all);
  bool MakeSpace(Oracle& oracle, std::vector<SpacePlan>& all);
  bool Read();
};

bool Load::Worker::MakeSpace(Oracle& oracle, std::vector<SpacePlan>& all) {
  if (all.size() >= kSpacesMax) return true;
  const SpacePlan extra = ExtraSpace();
  oracle.AddSpace(extra.chains, extra.length, extra.shared);
  all.push_back(extra);
  if (!client->Open(all).ok()) return false;
  spaces = all;
  return client->Put({.space = static_cast<std::uint32_t>(all.size() - 1),
                      .chain = number,
                      .first = 0,
                      .count = extra.length},
                     random.Chance(0.5));
}

bool Load::Worker::Write(Oracle& oracle, std::vector<SpacePlan>& all) {
  const Mix mix = MixFor(focus);
  auto drawn = static_cast<std::int64_t>(random.Below(100));
  const auto hit = [&drawn](std::uint32_t chance) {
    const bool now = drawn >= 0 && drawn < chance;
    drawn -= chance;
    return now;
  };
  const Stretch stretch = Draw(true);
  if (hit(mix.put)) return !MayPut(stretch) || client->Put(stretch, false);
  if (hit(mix.durable)) return !MayPut(stretch) || client->Put(stretch, true);
  if (hit(mix.remove)) return !Owns(stretch) || client->Remove(stretch);
  if (hit(mix.remove_at_once)) {
    return !Owns(stretch) || (client->Put(stretch, false) && client->Remove(stretch));
  }
  if (hit(mix.clear)) {
    // Namespace 0 and those that were made on the way: what the others hold stays longer.
    const bool extra = spaces.size() > 4 && random.Chance(0.7);
    const std::uint64_t space = extra ? random.Between(4, spaces.size() - 1) : 0;
    return number != 0 || client->Clear(static_cast<std::uint32_t>(space));
  }
  if (hit(mix.space)) return number != 0 || MakeSpace(oracle, all);
  return Read();
}

bool Load::Worker::Read() {
  Stretch stretch = Draw(false);
  // Some chains are hot: their blocks are got often enough to be written again by a reclaim.
  if (random.Chance(0.5)) stretch.chain = 0;
  if (stretch.count == 0) return true;
  return random.Chance(0.1) ? client->Match(stretch) : client->Get(stretch);
}

Load::Load(const std::string& address, const StorePlan& store, const CyclePlan& cycle,
           std::vector<SpacePlan>& spaces, Oracle& oracle, Findings& findings)
    : address_(address),
      store_(store),
      cycle_(cycle),
      spaces_(spaces),
      oracle_(oracle),
      findings_(findings) {
  for (std::uint32_t writer = 0; writer < cycle.writers; ++writer) {
    threads_.emplace_back([this, writer] { Run(writer, true); });
  }
  for (std::uint32_t reader = 0; reader < cycle.readers; ++reader) {
    threads_.emplace_back([this, reader, first = cycle.writers] { Run(first + reader, false); });
  }
}

Load::~Load() { Stop(); }

void Load::Stop() {
  stop_.store(true);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Load::Run(std::uint32_t number, bool writes) {
  Worker worker{.random = SeededRandom(cycle_.load_seed + number),
                .number = number,
                .client = nullptr,
                .spaces = store_.spaces,
                .focus = cycle_.focus,
                .writers = cycle_.writers};
  // Only writer 0 may look at `spaces_` while it grows there.
  if (writes && number == 0) worker.spaces = spaces_;
  Result<std::unique_ptr<BlockClient>> client =
      BlockClient::Connect({.address = address_,
                            .name = (writes ? "writer-" : "reader-") + std::to_string(number),
                            .link = LinkChoice::kAuto,
                            .store_id = store_.id},
                           oracle_, findings_);
  if (!client.ok()) return;  // the daemon died meanwhile, or the cycle's end says that it should
  worker.client = std::move(client).value();
  if (!worker.client->Open(worker.spaces).ok()) return;
  bool usable = true;
  while (usable && !stop_.load()) {
    usable = writes ? worker.Write(oracle_, spaces_) : worker.Read();
  }
}

}  // namespace terrace::crash
