#include "tests/crash/oracle.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace terrace::crash {

namespace {

/// Dead versions kept of a key: enough to say what came back.
constexpr std::size_t kVersionsMax = 64;

std::string_view NameOf(PutEnd end) {
  constexpr std::array<std::string_view, 6> kNames = {"stored",        "DURABLE", "there",
                                                      "there DURABLE", "refused", "unknown"};
  return kNames[static_cast<std::size_t>(end)];
}

}  // namespace

std::uint32_t Oracle::AddSpace(std::uint32_t chains, std::uint32_t length, std::uint32_t shared) {
  const std::lock_guard lock(mutex_);
  Space& space = spaces_.emplace_back();
  space.chains.assign(chains, std::vector<Key>(length));
  space.shared = shared;
  return static_cast<std::uint32_t>(spaces_.size() - 1);
}

bool Oracle::Quiet(const Place& place, Tick since) const {
  const auto quiet = [since](const Removals& removals) {
    return removals.open == 0 && !removals.unknown && removals.ended < since;
  };
  return quiet(At(place).removals) && quiet(spaces_[place.space].clears);
}

std::uint32_t Oracle::BeginPut(const Place& place) {
  const std::lock_guard lock(mutex_);
  Key& key = At(place);
  ++now_;
  if (Shared(place)) {
    if (key.versions.empty()) {
      key.versions.push_back({.number = 0, .life = life_, .began = now_});
    }
    return 0;
  }
  if (key.versions.size() >= kVersionsMax) {
    const auto dead = std::find_if(key.versions.begin(), key.versions.end(),
                                   [](const Version& version) { return version.dead != 0; });
    if (dead != key.versions.end()) key.versions.erase(dead);
  }
  key.versions.push_back({.number = ++key.next, .life = life_, .began = now_});
  return key.next;
}

void Oracle::EndPut(const Place& place, std::uint32_t number, PutEnd end) {
  const std::lock_guard lock(mutex_);
  Key& key = At(place);
  const auto version =
      std::find_if(key.versions.begin(), key.versions.end(),
                   [number](const Version& candidate) { return candidate.number == number; });
  TERRACE_CHECK(version != key.versions.end());
  ++now_;
  const bool stored = end == PutEnd::kStored || end == PutEnd::kDurable;
  const bool durable = end == PutEnd::kDurable || end == PutEnd::kThereDurable;
  if (stored) ++totals_.stored;
  if (durable) ++totals_.durable;
  // Where several put the same bytes, each put's own begin is not known: nothing is concluded from
  // a put that finds them gone.
  if (stored && !Shared(place) && key.durable_life != kNone && key.durable_since < version->began) {
    suspects_.push_back({place, key.durable_life, "a later put found it gone"});
    key.durable_life = kNone;
  }
  if (!Shared(place)) {
    version->end = end;
    if (end != PutEnd::kUnknown) version->ended = now_;
    version->refused = !stored && end != PutEnd::kUnknown;
  }
  if (stored && !durable) key.durable_life = kNone;
  if (durable) NoteDurable(place, key, *version, stored);
}

void Oracle::NoteDurable(const Place& place, Key& key, const Version& version, bool stored) {
  if (!Quiet(place, version.began)) return;
  if (stored && !Shared(place)) {
    if (options_.one_device) Kill(key, version.began, now_);
    key.durable_life = life_;
    key.durable_since = now_;
    return;
  }
  if (key.durable_life != kNone) return;
  // The bytes that were there may be the oldest that could be.
  std::uint32_t oldest = life_;
  for (const Version& candidate : key.versions) {
    if (candidate.dead == 0 && !candidate.refused) oldest = std::min(oldest, candidate.life);
  }
  key.durable_life = oldest;
  key.durable_since = now_;
}

/// Versions whose put ended before `before` are dead from now on.
void Oracle::Kill(Key& key, Tick before, Tick now) {
  for (Version& version : key.versions) {
    if (version.dead == 0 && version.ended != 0 && version.ended < before) version.dead = now;
  }
}

void Oracle::BeginRemove(const Place& place) {
  const std::lock_guard lock(mutex_);
  Key& key = At(place);
  key.removals.began = ++now_;
  ++key.removals.open;
  key.durable_life = kNone;
}

void Oracle::EndRemove(const Place& place, RemoveEnd end) {
  const std::lock_guard lock(mutex_);
  Key& key = At(place);
  key.removals.ended = ++now_;
  --key.removals.open;
  if (end == RemoveEnd::kUnknown) key.removals.unknown = true;
  if (end != RemoveEnd::kRemoved) return;
  ++totals_.removed;
  Kill(key, key.removals.began, now_);
}

void Oracle::BeginClear(std::uint32_t space) {
  const std::lock_guard lock(mutex_);
  Space& cleared = spaces_[space];
  cleared.clears.began = ++now_;
  ++cleared.clears.open;
  for (std::vector<Key>& chain : cleared.chains) {
    for (Key& key : chain) key.durable_life = kNone;
  }
}

void Oracle::EndClear(std::uint32_t space, bool answered) {
  const std::lock_guard lock(mutex_);
  Space& cleared = spaces_[space];
  cleared.clears.ended = ++now_;
  --cleared.clears.open;
  if (!answered) {
    cleared.clears.unknown = true;
    return;
  }
  ++totals_.clears;
  for (std::size_t chain = cleared.shared; chain < cleared.chains.size(); ++chain) {
    for (Key& key : cleared.chains[chain]) Kill(key, cleared.clears.began, now_);
  }
}

Tick Oracle::Now() const {
  const std::lock_guard lock(mutex_);
  return now_;
}

Status Oracle::CheckGet(const Place& place, std::uint32_t number, Tick began) const {
  const std::lock_guard lock(mutex_);
  for (const Version& version : At(place).versions) {
    if (version.number != number) continue;
    if (version.refused) {
      return {StatusCode::kCorrupt, "its put was answered that nothing was stored"};
    }
    if (version.dead == 0 || version.dead > began) {
      ++totals_.right;
      return {};
    }
    return {StatusCode::kCorrupt, "it was removed, or replaced by a durable one, at " +
                                      std::to_string(version.dead) + ", and read at " +
                                      std::to_string(began)};
  }
  return {StatusCode::kCorrupt, "no such version is known any more"};
}

void Oracle::NoteMiss(const Place& place, Tick began) {
  const std::lock_guard lock(mutex_);
  Key& key = At(place);
  if (key.durable_life == kNone || key.durable_since > began) return;
  suspects_.push_back({place, key.durable_life, "a get missed it"});
  key.durable_life = kNone;
}

std::uint32_t Oracle::DurableLife(const Place& place) const {
  const std::lock_guard lock(mutex_);
  return options_.evicts ? kNone : At(place).durable_life;
}

void Oracle::Forgive(const Place& place) {
  const std::lock_guard lock(mutex_);
  At(place).durable_life = kNone;
}

std::vector<Oracle::Suspect> Oracle::EndLife() {
  const std::lock_guard lock(mutex_);
  ++now_;
  ++life_;
  const auto end = [this](Removals& removals) {
    if (removals.unknown) removals.ended = now_;
    removals.unknown = false;
  };
  for (Space& space : spaces_) {
    end(space.clears);
    for (std::vector<Key>& chain : space.chains) {
      for (Key& key : chain) {
        end(key.removals);
        for (Version& version : key.versions) {
          if (version.ended == 0) version.ended = now_;
        }
      }
    }
  }
  std::vector<Suspect> suspects = std::exchange(suspects_, {});
  if (options_.evicts) suspects.clear();
  return suspects;
}

std::uint32_t Oracle::life() const {
  const std::lock_guard lock(mutex_);
  return life_;
}

Oracle::Totals Oracle::totals() const {
  const std::lock_guard lock(mutex_);
  return totals_;
}

std::string Oracle::Describe(const Place& place) const {
  const std::lock_guard lock(mutex_);
  const Key& key = At(place);
  std::string text = "space " + std::to_string(place.space) + ", chain " +
                     std::to_string(place.chain) + ", position " + std::to_string(place.position) +
                     "; versions";
  const std::size_t first = key.versions.size() > 6 ? key.versions.size() - 6 : 0;
  for (std::size_t i = first; i < key.versions.size(); ++i) {
    const Version& version = key.versions[i];
    text += " [" + std::to_string(version.number) + " of life " + std::to_string(version.life) +
            ", " + std::string(NameOf(version.end)) + ", " + std::to_string(version.began) +
            " to " + std::to_string(version.ended) + ", dead " + std::to_string(version.dead) + "]";
  }
  text += "; last removal " + std::to_string(key.removals.began) + " to " +
          std::to_string(key.removals.ended) + ", last clear " +
          std::to_string(spaces_[place.space].clears.began) + " to " +
          std::to_string(spaces_[place.space].clears.ended) + "; now " + std::to_string(now_) +
          ", life " + std::to_string(life_);
  return text;
}

}  // namespace terrace::crash
