// A part of a whole, 0 when there is no whole. Pure; any thread.
#pragma once

#include <cstdint>

namespace terrace::replay {

[[nodiscard]] constexpr double Ratio(double part, double whole) noexcept {
  return whole == 0 ? 0.0 : part / whole;
}
[[nodiscard]] constexpr double Ratio(std::uint64_t part, std::uint64_t whole) noexcept {
  return Ratio(static_cast<double>(part), static_cast<double>(whole));
}

}  // namespace terrace::replay
