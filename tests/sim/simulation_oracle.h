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
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/cache/cache_harness.h"

namespace terrace::testing {

class SimulationOracle {
 public:
  /// `cache` outlives the oracle.
  explicit SimulationOracle(const Cache& cache) : cache_(cache) {}

  /// What was known when a call began.
  struct Began {
    Nanos time = 0;
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
  void Removed(const Namespace& space, const ChainSlice& chain, const BatchAnswer& answer);
  void Cleared(const Namespace& space);
  /// The sums of the counters and the quiet that must hold when every flow has ended.
  void AllEnded();

  void Fail(const std::string& what);
  /// The first violation; empty while there is none.
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

 private:
  struct Facts {
    std::uint64_t puts_in_flight = 0;
    std::uint64_t put_starts = 0;
    bool stored = false;  // a put ended kOk, and no remove came since
    /// Evictions, removals and clears that the cache had counted when it was surely still absent.
    std::uint64_t losses_then = 0;
    [[nodiscard]] bool Possible() const { return stored || puts_in_flight > 0; }
  };
  [[nodiscard]] static std::string Name(const Namespace& space, const ChainSlice& chain,
                                        KeyView key);
  Facts& FactsOf(const Namespace& space, const ChainSlice& chain, KeyView key);
  [[nodiscard]] Facts Known(const Namespace& space, const ChainSlice& chain, KeyView key) const;
  [[nodiscard]] std::uint64_t Losses() const;
  void CheckTime(const ClientCall& call, const Began& began, Nanos now);

  const Cache& cache_;
  std::map<std::string, Facts> facts_;
  std::string failure_;
};

}  // namespace terrace::testing
