// Oracle: what a store may, and must, answer, from what was asked of it and what it answered.
//
// Model. Time is a counter of events. A key has *versions*: each put of it has bytes of its own. A
// get may answer a version whose put began before the get ended, unless that version is *dead*:
// a removal (or a clear) that began after its put had ended was answered, or, where the log lies on
// one device, a later put of the key was answered DURABLE. A put that was answered kExists stored
// nothing, so its version is never right.
//
//   O1. A key *must be there* when its put was answered DURABLE and no removal or clear of it was
//       asked for since that put began; unless the log may have come round to it since: its ring
//       advanced by all but one of its segments after the start of the life in which the bytes
//       were put (log_marks.h). Stores whose index is too small for their blocks forget on purpose:
//       there nothing must be there (`evicts`).
//   O2. What got no answer may have happened or not, at any time until the daemon's life ended.
//   O3. A put that stores a key which must be there, or a get that misses it, shows that it was
//       lost: whether the ring explains it is known when the life has ended.
//
// Thread: any; one lock. Lifetime: one store's.
#pragma once

#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"

namespace terrace::crash {

using Tick = std::uint64_t;

/// A block of a store.
struct Place {
  std::uint32_t space = 0;
  std::uint32_t chain = 0;
  std::uint32_t position = 0;
};

/// What a put's answer says about one block.
enum class PutEnd : std::uint8_t {
  kStored,        ///< kOk
  kDurable,       ///< kOk, and DURABLE
  kThere,         ///< kExists: another version stands
  kThereDurable,  ///< kExists, and DURABLE
  kRefused,       ///< certainly not stored
  kUnknown,       ///< no answer
};

enum class RemoveEnd : std::uint8_t {
  kRemoved,  ///< kOk
  kNothing,  ///< kMiss
  kUnknown,  ///< no answer, or the tier was not told
};

class Oracle {
 public:
  struct Options {
    bool one_device = true;  ///< the log lies on one device
    bool evicts = false;     ///< the index has no room for all blocks (O1)
  };
  explicit Oracle(const Options& options) : options_(options) {}

  /// `shared` chains [0, shared) have one version, 0, that several writers put; nobody removes
  /// their blocks one by one, and what of them may come back after a clear is not judged.
  std::uint32_t AddSpace(std::uint32_t chains, std::uint32_t length, std::uint32_t shared);

  /// A put of the key begins; the version whose bytes it shall store.
  std::uint32_t BeginPut(const Place& place);
  void EndPut(const Place& place, std::uint32_t version, PutEnd end);
  void BeginRemove(const Place& place);
  void EndRemove(const Place& place, RemoveEnd end);
  void BeginClear(std::uint32_t space);
  void EndClear(std::uint32_t space, bool answered);

  [[nodiscard]] Tick Now() const;
  /// A get that began at `began` answered that version. kCorrupt says why it must not.
  [[nodiscard]] Status CheckGet(const Place& place, std::uint32_t version, Tick began) const;
  /// A get that began at `began` missed while others were at work (O3).
  void NoteMiss(const Place& place, Tick began);

  /// The life, counted from 0, in which bytes were put that must be there; kNone: they need not.
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  [[nodiscard]] std::uint32_t DurableLife(const Place& place) const;
  /// The key was found lost, or gone for a reason: it need not be there any more.
  void Forgive(const Place& place);

  /// Shown lost during the life that ended (O3), to be judged by whether the ring came round.
  struct Suspect {
    Place place;
    std::uint32_t life = 0;
    std::string what;
  };
  /// The daemon has ended, and everybody who called it: the next life begins.
  std::vector<Suspect> EndLife();
  [[nodiscard]] std::uint32_t life() const;
  /// Blocks, counted: a campaign that stores or finds nothing proves nothing.
  struct Totals {
    std::uint64_t stored = 0, durable = 0, removed = 0, clears = 0, right = 0;
  };
  [[nodiscard]] Totals totals() const;
  /// For reports: what is known of a key.
  [[nodiscard]] std::string Describe(const Place& place) const;

 private:
  struct Version {
    std::uint32_t number = 0;
    std::uint32_t life = 0;
    Tick began = 0;
    Tick ended = 0;  ///< 0: it may still happen (O2)
    Tick dead = 0;   ///< 0: alive
    bool refused = false;
    PutEnd end = PutEnd::kUnknown;
  };
  /// Removals of a key, or clears of a namespace.
  struct Removals {
    std::uint32_t open = 0;
    Tick began = 0;  ///< the last one
    Tick ended = 0;  ///< the last one
    bool unknown = false;
  };
  struct Key {
    std::vector<Version> versions;
    std::uint32_t next = 0;
    Removals removals;
    std::uint32_t durable_life = kNone;
    Tick durable_since = 0;
  };
  struct Space {
    std::vector<std::vector<Key>> chains;
    std::uint32_t shared = 0;
    Removals clears;
  };

  [[nodiscard]] Key& At(const Place& place) {
    return spaces_[place.space].chains[place.chain][place.position];
  }
  [[nodiscard]] const Key& At(const Place& place) const {
    return spaces_[place.space].chains[place.chain][place.position];
  }
  [[nodiscard]] bool Shared(const Place& place) const {
    return place.chain < spaces_[place.space].shared;
  }
  /// No removal or clear ran, or may have run, at `since` or later.
  [[nodiscard]] bool Quiet(const Place& place, Tick since) const;
  void NoteDurable(const Place& place, Key& key, const Version& version, bool stored);
  static void Kill(Key& key, Tick before, Tick now);

  const Options options_;
  mutable std::mutex mutex_;  // guards everything below
  Tick now_ = 0;
  std::uint32_t life_ = 0;
  std::vector<Space> spaces_;
  std::vector<Suspect> suspects_;
  mutable Totals totals_;
};

}  // namespace terrace::crash
