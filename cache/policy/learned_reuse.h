// LearnedReuse: what the policy `terrace` has learned, and the time that it counts.
//
// Model. One policy teaches: its uses advance the time and are told here. Any number of others may
// look things up for blocks of their own; what they are told fits them as far as they see the same
// requests. Values are made when they are asked for, and hold until the next estimate.
//
// Thread: the owning reactor's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/policy/block_kinds.h"
#include "cache/policy/cost_classes.h"
#include "cache/policy/reuse_history.h"
#include "cache/policy/reuse_value.h"

namespace terrace {

class LearnedReuse {
 public:
  /// A tick is so many uses of blocks for each block that the teacher has room for.
  static constexpr std::size_t kTicksPerCapacity = 512;

  explicit LearnedReuse(std::size_t capacity_blocks)
      : uses_per_tick_(std::max<std::size_t>(1, capacity_blocks / kTicksPerCapacity)),
        history_(capacity_blocks),
        kinds_(history_),
        costs_(std::max<std::size_t>(1, capacity_blocks)) {
    unknown_.fill(-1);
    Learn();
  }
  LearnedReuse(const LearnedReuse&) = delete;
  LearnedReuse& operator=(const LearnedReuse&) = delete;

  [[nodiscard]] std::size_t uses_per_tick() const noexcept { return uses_per_tick_; }
  /// In ticks.
  [[nodiscard]] std::uint32_t Now() const noexcept { return now_; }
  [[nodiscard]] const ReuseHistory& history() const noexcept { return history_; }
  [[nodiscard]] BlockKinds& kinds() noexcept { return kinds_; }
  [[nodiscard]] CostClasses& costs() noexcept { return costs_; }
  [[nodiscard]] std::size_t Bytes() const noexcept {
    return history_.Bytes() + index_.size() * sizeof(AgeArray) + costs_.Bytes();
  }

  /// The teacher is full with so many blocks. They may be far fewer than its capacity, where blocks
  /// are large; what is remembered with other ticks seems as old as it was in those.
  void FitTo(std::size_t blocks) noexcept {
    uses_per_tick_ = std::max<std::size_t>(1, blocks / kTicksPerCapacity);
  }

  /// As ReuseHistory::Used, of any block; the time goes on by one use.
  void Used(std::uint32_t tag, std::uint16_t kind, std::size_t blocks, std::uint32_t when) {
    if (++uses_ >= uses_per_tick_) {
      uses_ = 0;
      ++now_;
    }
    if (history_.Samples(tag)) history_.Used(tag, kind, blocks, when);
  }
  /// As ReuseHistory::Rename, of any block.
  void Renamed(std::uint32_t tag, std::uint16_t kind) {
    if (history_.Samples(tag)) history_.Rename(tag, kind);
  }

  /// Makes another estimate of all that was seen.
  void Learn() {
    hazards_ = &history_.Estimate(now_);
    index_.assign(kinds_.size(), unknown_);
    ++estimate_;
  }
  /// Number of the present one.
  [[nodiscard]] std::uint64_t estimate() const noexcept { return estimate_; }
  [[nodiscard]] const AgeArray& HazardsOf(std::size_t kind) const noexcept {
    return (*hazards_)[kind];
  }
  /// ReuseIndex of that kind and step of age. Most are never asked for between two estimates.
  [[nodiscard]] float ValueOf(std::size_t kind, std::size_t step) {
    if (kind >= index_.size()) index_.resize(kinds_.size(), unknown_);
    float& value = index_[kind][step];
    if (value < 0) value = ReuseIndex((*hazards_)[kind], step);
    return value;
  }

 private:
  std::size_t uses_per_tick_;
  ReuseHistory history_;
  BlockKinds kinds_;
  CostClasses costs_;
  AgeArray unknown_;
  std::vector<AgeArray> index_;  // by kind, of the last estimate; below 0: not known yet
  const std::vector<AgeArray>* hazards_ = nullptr;
  std::uint64_t estimate_ = 0;
  std::uint32_t now_ = 0;  // in ticks
  std::size_t uses_ = 0;   // since then
};

}  // namespace terrace
