// UnitMap: which units of one extent are free, as bits.
//
// Thread: the owning reactor's. At most 512 units, so every call looks at 8 words at most.
#pragma once

#include <cstdint>
#include <vector>

namespace terrace {

inline constexpr std::uint32_t kNoUnit = 0xffffffff;

class UnitMap {
 public:
  /// All units are free.
  explicit UnitMap(std::uint32_t units);

  /// The first unit of the first row of `count` free units; kNoUnit when there is none.
  [[nodiscard]] std::uint32_t FindRun(std::uint32_t count) const noexcept;
  /// REQUIRES: the units are free.
  void Take(std::uint32_t first, std::uint32_t count);
  /// REQUIRES: the units are taken.
  void Give(std::uint32_t first, std::uint32_t count);

  [[nodiscard]] std::uint32_t units() const noexcept { return units_; }
  [[nodiscard]] std::uint32_t free_units() const noexcept { return free_units_; }
  [[nodiscard]] std::uint32_t longest_run() const noexcept { return longest_run_; }

 private:
  [[nodiscard]] std::uint32_t NextFree(std::uint32_t from) const noexcept;
  [[nodiscard]] std::uint32_t NextTaken(std::uint32_t from) const noexcept;
  void MeasureLongestRun() noexcept;

  std::uint32_t units_;
  std::uint32_t free_units_;
  std::uint32_t longest_run_;
  std::vector<std::uint64_t> free_;  ///< bit set: the unit is free; bits past the end are clear
};

}  // namespace terrace
