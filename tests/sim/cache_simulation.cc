#include "tests/sim/cache_simulation.h"

#include <algorithm>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/wait.h"
#include "tests/cache/cache_harness.h"
#include "tests/sim/simulation_oracle.h"
#include "tests/sim/simulation_plan.h"

namespace terrace::testing {

namespace {

/// More events than the busiest seed needs; a run that passes them goes in circles.
constexpr std::uint64_t kStepsMost = 2'000'000;
constexpr std::uint64_t kStepsBetweenChecks = 256;

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : random_(seed), plan_(DrawPlan(random_)) {}
  SimulationReport Run();

 private:
  struct SimulatedClient {
    explicit SimulatedClient(std::size_t slots) : memory(slots, SimulationPlan::kBlockBytesMost) {}
    ClientMemory memory;
    SimLink* link = nullptr;
  };
  /// One lane's next call: a namespace, group, shard and a part of a chain.
  struct Target {
    const Namespace* space = nullptr;
    const ChainKeys* chain = nullptr;
    std::uint32_t group = 0;
    std::uint32_t shard = 0;
    std::size_t first = 0;
    std::size_t count = 0;
    [[nodiscard]] ChainSlice Slice(std::size_t from, std::size_t most) const {
      return SliceOf(*space, *chain, from, std::min(most, first + count - from), group, shard);
    }
  };

  bool SetUp();
  void Connect(SimulatedClient& client);
  Target DrawTarget();
  Nanos DrawDeadline();
  Task<void> Lane(SimulatedClient* client, std::size_t lane);
  Task<void> Operate(SimulatedClient* client, std::size_t first_slot);
  Task<void> Put(SimulatedClient* client, Target target, std::size_t from, std::size_t first_slot);
  /// promised: match has just found these blocks.
  Task<void> Get(SimulatedClient* client, Target target, std::size_t most, std::size_t first_slot,
                 bool promised);
  std::size_t Match(const Target& target);
  void RunLanes();
  void Drain();
  void CheckLiveness();
  void CheckQuiet();
  void Note(const BatchAnswer& answer);
  void Note(std::uint64_t number);
  void Finish();

  SimulatedTime time_;
  SeededRandom random_;
  SimulationPlan plan_;
  NamespaceRegistry registry_{1 << 20};
  std::vector<const Namespace*> spaces_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<SimulationOracle> oracle_;
  std::list<SimulatedClient> clients_;
  std::list<SimLink> links_;  // all that ever were: holds in quarantine outlive a connection
  SimulationReport report_;
};

bool Simulation::SetUp() {
  auto cache = Cache::Create(plan_.cache, registry_, time_.clock());
  if (!cache.ok()) {
    report_.failure = cache.status().ToString();
    return false;
  }
  cache_ = std::move(cache).value();
  oracle_ = std::make_unique<SimulationOracle>(*cache_);
  for (const NamespaceSpec& spec : plan_.spaces) {
    const Result<const Namespace*> opened = registry_.Open(spec);
    if (!opened.ok()) {
      report_.failure = opened.status().ToString();
      return false;
    }
    spaces_.push_back(*opened);
  }
  for (std::size_t i = 0; i < plan_.clients; ++i) {
    clients_.emplace_back(plan_.lanes * SimulationPlan::kBlocksPerCall);
    Connect(clients_.back());
  }
  return true;
}

void Simulation::Connect(SimulatedClient& client) {
  client.link =
      &links_.emplace_back(time_.scheduler(), random_, client.memory.memory(), plan_.faults);
}

Simulation::Target Simulation::DrawTarget() {
  const std::size_t number = random_.Below(spaces_.size());
  Target target{.space = spaces_[number],
                .chain = &plan_.chains[number][random_.Below(plan_.chains[number].size())]};
  target.group = static_cast<std::uint32_t>(random_.Below(target.space->spec.groups.size()));
  target.shard = static_cast<std::uint32_t>(random_.Below(target.space->spec.shard_count));
  if (random_.Chance(0.3)) target.first = random_.Below(target.chain->size());
  target.count = random_.Between(1, std::min<std::uint64_t>(SimulationPlan::kBlocksPerCall,
                                                            target.chain->size() - target.first));
  return target;
}

Nanos Simulation::DrawDeadline() {
  if (random_.Chance(plan_.short_deadline)) {
    const auto around = static_cast<std::uint64_t>(plan_.faults.latency_max);
    return time_.Now() + static_cast<Nanos>(random_.Below(2 * around));
  }
  return time_.Now() + static_cast<Nanos>(random_.Between(20, 200)) * kMillisecond;
}

void Simulation::Note(std::uint64_t number) {
  const std::uint64_t mixed[] = {report_.digest, number};
  report_.digest = Checksum64(std::as_bytes(std::span(mixed)));
}

void Simulation::Note(const BatchAnswer& answer) {
  Note(static_cast<std::uint64_t>(time_.Now()));
  for (const BlockAnswer& block : answer.blocks) {
    Note(static_cast<std::uint64_t>(block.status) << 32 | block.valid_tokens);
    if (block.status == StatusCode::kTimeout) ++report_.timeouts;
    if (block.status == StatusCode::kPeerDead) ++report_.peer_deaths;
    if (block.status == StatusCode::kCorrupt) ++report_.corruptions;
  }
}

Task<void> Simulation::Put(SimulatedClient* client, Target target, std::size_t from,
                           std::size_t first_slot) {
  const std::size_t pieces = random_.Between(1, 4);
  ClientCall call = MakeCall(*target.space, client->memory, target.Slice(from, target.count),
                             DrawDeadline(), first_slot, pieces);
  const std::vector<KeyView> keys = call.Keys();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    call.request.places[i].valid_tokens = ValidTokens(keys[i], target.space->spec.block_tokens);
  }
  FillSources(call, client->memory);
  const SimulationOracle::Began began = oracle_->CallBegins(call, time_.Now());
  oracle_->PutBegins(call);
  const BatchAnswer answer = co_await cache_->Put(*client->link, call.request);
  oracle_->PutEnds(call, answer, began, time_.Now());
  Note(answer);
}

Task<void> Simulation::Get(SimulatedClient* client, Target target, std::size_t most,
                           std::size_t first_slot, bool promised) {
  const std::size_t pieces = random_.Between(1, 4);
  const ClientCall call = MakeCall(*target.space, client->memory, target.Slice(target.first, most),
                                   DrawDeadline(), first_slot, pieces);
  PoisonDestinations(call, client->memory);
  const SimulationOracle::Began began = oracle_->CallBegins(call, time_.Now(), promised);
  const BatchAnswer answer = co_await cache_->Get(*client->link, call.request);
  oracle_->GetEnds(call, client->memory, answer, began, time_.Now());
  Note(answer);
}

std::size_t Simulation::Match(const Target& target) {
  const ChainSlice slice = target.Slice(target.first, target.count);
  const MatchAnswer answer = cache_->Match(slice);
  if (!answer.status.ok()) oracle_->Fail("match refused: " + answer.status.ToString());
  oracle_->Matched(*target.space, slice, answer);
  Note(answer.tiers.size());
  return answer.tiers.size();
}

Task<void> Simulation::Operate(SimulatedClient* client, std::size_t first_slot) {
  const Target target = DrawTarget();
  const double drawn = random_.Unit();
  if (drawn < plan_.remove) {
    const ChainSlice slice = target.Slice(target.first, target.count);
    const BatchAnswer answer = cache_->Remove(slice);
    oracle_->Removed(*target.space, slice, answer);
    Note(answer);
  } else if (drawn < plan_.remove + plan_.clear) {
    Note(cache_->Clear(target.space->id));
    oracle_->Cleared(*target.space);
  } else if (drawn < plan_.remove + plan_.clear + plan_.lose_link) {
    client->link->Close();
    ++report_.links_lost;
  } else if (random_.Chance(0.5)) {
    // A prefill worker: match, get what is there, compute and put the rest.
    const std::size_t matched = Match(target);
    if (matched > 0) co_await Get(client, target, matched, first_slot, true);
    if (matched < target.count) {
      co_await Put(client, target, target.first + matched, first_slot);
    }
  } else if (random_.Chance(0.5)) {
    co_await Get(client, target, target.count, first_slot, false);  // a decode worker
  } else {
    co_await Put(client, target, target.first, first_slot);
  }
}

Task<void> Simulation::Lane(SimulatedClient* client, std::size_t lane) {
  for (std::size_t i = 0; i < plan_.operations && oracle_->failure().empty(); ++i) {
    co_await SleepUntil{time_.Now() + static_cast<Nanos>(random_.Below(
                                          static_cast<std::uint64_t>(plan_.pause_max)))};
    if (!client->link->Alive()) Connect(*client);
    co_await Operate(client, lane * SimulationPlan::kBlocksPerCall);
  }
}

void Simulation::RunLanes() {
  TaskScope scope;
  for (SimulatedClient& client : clients_) {
    for (std::size_t lane = 0; lane < plan_.lanes; ++lane) scope.Spawn(Lane(&client, lane));
  }
  std::uint64_t steps = 0;
  while (scope.live() > 0) {
    if (!time_.Step() || ++steps > kStepsMost) {
      // Coroutines that never end cannot be unwound: say what is known, and stop.
      std::fprintf(stderr, "simulation: %zu lanes hang; %s\n", scope.live(),
                   plan_.ToString().c_str());
      CheckFailed(__FILE__, __LINE__, "every lane ends");
    }
    if (steps % kStepsBetweenChecks != 0 || !oracle_->failure().empty()) continue;
    const Status valid = cache_->Validate();
    if (!valid.ok()) oracle_->Fail(valid.ToString());
  }
  time_.RunReady();
}

void Simulation::Drain() {
  plan_.faults.stall = plan_.faults.death = plan_.faults.corruption = 0;
  for (SimLink& link : links_) report_.quarantined += link.quarantined();
  time_.RunUntil(time_.Now() + 2 * plan_.faults.quarantine_max);
  for (SimLink& link : links_) {
    if (link.in_flight() != 0 || link.quarantined() != 0) oracle_->Fail("a link never drained");
  }
  oracle_->AllEnded();
}

void Simulation::CheckLiveness() {
  SimulatedClient& client = clients_.front();
  Connect(client);
  const ChainKeys chain = MakeChain("after", 3);
  for (const Namespace* space : spaces_) {
    const ClientCall call =
        MakeCall(*space, client.memory, SliceOf(*space, chain, 0, 3), time_.Now() + kSecond);
    FillSources(call, client.memory);
    const BatchAnswer put = time_.Run(cache_->Put(*client.link, call.request));
    PoisonDestinations(call, client.memory);
    const BatchAnswer got = time_.Run(cache_->Get(*client.link, call.request));
    Note(got);
    if (WrongBlocks(call, client.memory, got) != 0) oracle_->Fail("O1: wrong bytes at the end");
    if (plan_.locators_collide) continue;
    if (StatusText(put) != "ok ok ok") oracle_->Fail("put after the faults: " + StatusText(put));
    if (StatusText(got) != "ok ok ok") oracle_->Fail("get after the faults: " + StatusText(got));
  }
}

void Simulation::CheckQuiet() {
  oracle_->AllEnded();
  std::uint64_t corruptions = 0;
  for (SimLink& link : links_) {
    corruptions += link.corruptions();
    if (link.late_changes() != 0) {
      oracle_->Fail("a frame changed while a transport still used it");
    }
  }
  if (corruptions != report_.corruptions) {
    oracle_->Fail("O6: " + std::to_string(report_.corruptions) + " blocks answered corrupt, " +
                  std::to_string(corruptions) + " were corrupted");
  }
  for (const Namespace* space : spaces_) cache_->Clear(space->id);
  // A frame that is still pinned would stay, doomed.
  if (const std::uint64_t frames = cache_->arena().Stats().frames; frames != 0) {
    oracle_->Fail(std::to_string(frames) + " frames stay after everything was cleared");
  }
}

void Simulation::Finish() {
  const CacheCounters& counters = cache_->Counters();
  report_.failure = oracle_->failure();
  report_.stored = counters.put_stored;
  report_.got = counters.get_hits_dram;
  report_.missed = counters.get_misses;
  report_.pending = counters.put_pending;
  report_.no_space = counters.put_no_space;
  report_.evictions = counters.evictions;
  report_.removed = counters.removed;
  report_.cleared = counters.cleared;
  report_.key_mismatches = counters.key_mismatches;
}

SimulationReport Simulation::Run() {
  report_.plan = plan_.ToString();
  if (!SetUp()) return report_;
  RunLanes();
  Drain();
  if (oracle_->failure().empty()) CheckLiveness();
  if (oracle_->failure().empty()) CheckQuiet();
  Finish();
  return report_;
}

}  // namespace

void SimulationReport::Add(const SimulationReport& other) {
  stored += other.stored;
  got += other.got;
  missed += other.missed;
  pending += other.pending;
  no_space += other.no_space;
  evictions += other.evictions;
  timeouts += other.timeouts;
  peer_deaths += other.peer_deaths;
  corruptions += other.corruptions;
  links_lost += other.links_lost;
  removed += other.removed;
  cleared += other.cleared;
  key_mismatches += other.key_mismatches;
  quarantined += other.quarantined;
}

SimulationReport SimulateCache(std::uint64_t seed) { return Simulation(seed).Run(); }

}  // namespace terrace::testing
