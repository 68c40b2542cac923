// Judge: what the rounds found that must not be, counted and told at once. Thread: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace terrace::faults {

enum class Breach : std::uint8_t {
  kWrong,       ///< bytes that were not put
  kLost,        ///< a block that had to be served
  kMiscounted,  ///< a counter that does not match what was done
  kLate,        ///< a call, a start or a recovery beyond its time
  kOther,       ///< another status or message than documented, a daemon that ended
  kNotRun,      ///< the test could not do what it wanted to do
};
inline constexpr int kBreaches = 6;

class Judge {
 public:
  /// Said before each breach from now on.
  void SetContext(std::string context) { context_ = std::move(context); }
  void Report(Breach breach, const std::string& what);
  /// A counter, or a number of blocks: kMiscounted unless they are equal.
  void Equal(std::string_view what, double found, double wanted);
  void True(Breach breach, bool good, const std::string& what);
  /// False, and told, when a step of the test itself failed.
  bool Ran(const Status& status);

  [[nodiscard]] std::uint64_t count(Breach breach) const noexcept {
    return counts_[static_cast<int>(breach)];
  }
  [[nodiscard]] std::uint64_t All() const noexcept;
  /// "wrong=0 lost=0 ..."
  [[nodiscard]] std::string Summary() const;

  /// What became of a fault, counted by name.
  void Note(const std::string& outcome) { ++outcomes_[outcome]; }
  /// "NAME=COUNT" of each.
  [[nodiscard]] std::string Outcomes() const;

  // What was done, so that nobody believes rounds that did nothing.
  std::uint64_t blocks_put = 0;
  std::uint64_t blocks_right = 0;  ///< got, every byte compared
  std::uint64_t faults = 0;        ///< injected
  std::uint64_t compared = 0;      ///< counters

 private:
  std::string context_;
  std::map<std::string, std::uint64_t> outcomes_;
  std::uint64_t counts_[kBreaches] = {};
};

}  // namespace terrace::faults
