// SimulationOracle: what the clients of a simulation know, kept outside the cache, and what an
// answer may therefore say.
//
//   O1. A get returns exactly the bytes, and valid tokens, that were put under the key, or not kOk.
//   O2. A block that is found (match, get, kExists) was possible: a put of it was in flight, or had
//       ended well, since it was last removed.
//   O3. A block that was stored and is missed was removed, cleared, or evicted: nothing vanishes.
//   O4. A call ends at its deadline at the latest.
//   O5. What match has just promised, a get finds, unless something was lost in between.
//   O6. As many blocks are answered kCorrupt as the links corrupted (checked by the simulation).
//   O7. What was answered DURABLE is found after a restart, unless its segment may have been reused
//       (checked by the simulation).
//   O8. No record that is read is found to be another block's, unless a device lied about a write;
//       none is found to be corrupt where devices never lie and no power was lost (checked by the
//       simulation).
//   O9. When the faults have ended everything drains and every device is back, and what is put and
//       got then ends well, no later than link and device need (checked by the simulation).
//   O10. A block that a match leased in DRAM, and that nobody removed or cleared, is there until
//       its lease ends; when all leases have ended nothing is leased (checked by the simulation).
//
// A restart forgets what was only in DRAM. After kill -9 nothing that was removed may be found;
// after power loss it may, since removals are not synced.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/cache/cache_harness.h"

namespace terrace::testing {

class SimulationOracle {
 public:
  /// `cache` outlives the oracle, or is replaced by Restarted before it goes. `lenient`: locators
  /// collide below DRAM, where only a read finds out, so that O2, O3 and O5 say nothing.
  SimulationOracle(Cache& cache, bool lenient) : cache_(&cache), lenient_(lenient) {}

  /// The cache's process is gone. What its calls answer from now on counts for nothing.
  void Crashed(bool power_lost);
  void Restarted(Cache& cache) { cache_ = &cache; }

  /// What was known when a call began.
  struct Began {
    Nanos time = 0;
    std::uint64_t crashes = 0;
    bool promised = false;                  ///< match has just found every block of the call
    std::uint64_t losses = 0;               ///< of the whole cache
    std::vector<std::uint64_t> put_starts;  ///< per block of the call
    std::vector<bool> possible;
    std::vector<bool> stored;  ///< for certain, so that a miss needs a reason
    std::vector<std::uint64_t> losses_then;
  };
  [[nodiscard]] Began CallBegins(const ClientCall& call, Nanos now, bool promised = false) const;
  void PutBegins(const ClientCall& call);
  void PutEnds(const ClientCall& call, const BatchAnswer& answer, const Began& began, Nanos now);
  void GetEnds(const ClientCall& call, ClientMemory& memory, const BatchAnswer& answer,
               const Began& began, Nanos now);
  void Matched(const Namespace& space, const ChainSlice& chain, const MatchAnswer& answer);
  /// What was known of each block of a removal when it began.
  struct KnownBefore {
    std::uint64_t put_starts = 0;
    std::uint64_t puts_ended = 0;
    bool possible = false;
  };
  using Before = std::map<std::string, KnownBefore>;
  [[nodiscard]] Before RemoveBegins(const Namespace& space, const ChainSlice& chain);
  void RemoveEnds(const Namespace& space, const ChainSlice& chain, const BatchAnswer& answer,
                  const Before& before, std::uint64_t crashes);
  [[nodiscard]] Before ClearBegins(const Namespace& space);
  /// `told`: everybody below the cache heard of it.
  void ClearEnds(const Before& before, bool told, std::uint64_t crashes);
  /// The sums of the counters and the quiet that must hold when every flow has ended.
  void AllEnded();

  void Fail(const std::string& what);
  /// The first violation; empty while there is none.
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  [[nodiscard]] std::uint64_t crashes() const noexcept { return crashes_; }
  /// Blocks that the cache has lost for a reason so far: what was found before may be gone when
  /// this has changed.
  [[nodiscard]] std::uint64_t Losses() const;

 private:
  struct Facts {
    std::uint64_t puts_in_flight = 0;
    std::uint64_t put_starts = 0;
    std::uint64_t puts_ended = 0;
    bool stored = false;  // a put ended kOk, and no remove came since
    bool maybe = false;   // a crash left it, or not
    bool gone = false;    // a removal ended well, and no put began since
    /// Evictions, removals and clears that the cache had counted when it was surely still absent.
    std::uint64_t losses_then = 0;
    [[nodiscard]] KnownBefore Now() const { return {put_starts, puts_ended, Possible()}; }
    [[nodiscard]] bool Possible() const { return stored || maybe || puts_in_flight > 0; }
  };
  [[nodiscard]] static std::string Name(const Namespace& space, const ChainSlice& chain,
                                        KeyView key);
  Facts& FactsOf(const Namespace& space, const ChainSlice& chain, KeyView key);
  [[nodiscard]] Facts Known(const Namespace& space, const ChainSlice& chain, KeyView key) const;
  void Gone(const std::string& name, const KnownBefore& before, bool told);
  /// One that a cache that collides may excuse.
  void FailUnlessLenient(const std::string& what);
  void CheckTime(const ClientCall& call, const Began& began, Nanos now);

  Cache* cache_;
  const bool lenient_;
  std::uint64_t crashes_ = 0;
  std::map<std::string, Facts> facts_;
  std::string failure_;
};

}  // namespace terrace::testing
