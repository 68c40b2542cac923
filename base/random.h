// Random: the only source of randomness on a flow, so that one seed replays a whole daemon.
#pragma once

#include <cstdint>

namespace terrace {

class Random {
 public:
  virtual ~Random() = default;
  /// 64 random bits.
  virtual std::uint64_t Next() = 0;

  /// Uniform in [0, bound). REQUIRES: bound > 0. Bias below bound / 2^64.
  std::uint64_t Below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(Next()) * bound) >> 64);
  }
  /// Uniform in [low, high]. REQUIRES: low <= high, high - low < 2^64 - 1.
  std::uint64_t Between(std::uint64_t low, std::uint64_t high) {
    return low + Below(high - low + 1);
  }
  /// Uniform in [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  bool Chance(double probability) { return Unit() < probability; }
};

/// xoshiro256** seeded by splitmix64 (Blackman and Vigna, "Scrambled linear pseudorandom number
/// generators", 2021). The same seed gives the same numbers everywhere and always.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed);
  std::uint64_t Next() override;

 private:
  std::uint64_t state_[4];
};

/// The kernel's random numbers: for incarnations, tokens and challenges. Thread-safe.
class SystemRandom final : public Random {
 public:
  std::uint64_t Next() override;
};

}  // namespace terrace
