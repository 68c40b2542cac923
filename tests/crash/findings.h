// Findings: what a campaign found wrong, counted and told at once. Thread: any.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

namespace terrace::crash {

enum class Finding : std::uint8_t {
  kWrong,   ///< bytes that no put of the block can explain, or that must not be back
  kLost,    ///< a block that had to be there
  kLeaked,  ///< a frame of DRAM that belongs to no block
  kNotRun,  ///< a cycle that could not be run as planned
};

class Findings {
 public:
  struct Counts {
    std::uint64_t wrong = 0, lost = 0, leaked = 0, not_run = 0;
    [[nodiscard]] std::uint64_t All() const noexcept { return wrong + lost + leaked + not_run; }
  };
  /// Said before each finding from now on: seed, store and cycle.
  void SetContext(std::string context);
  /// Prints it on standard error, at most so many of a cycle, and counts it.
  void Report(Finding kind, const std::string& what, std::uint64_t count = 1);
  [[nodiscard]] Counts counts() const;

 private:
  mutable std::mutex mutex_;  // guards everything below
  std::string context_;
  std::uint32_t told_ = 0;
  Counts counts_;
};

}  // namespace terrace::crash
