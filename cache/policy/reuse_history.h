// ReuseHistory: how long after a use blocks are used again, by kind, learned from a sample that
// goes on following blocks after they have left the cache.
//
// Model. Time is counted in uses of blocks, in units of a 512th of the capacity. Of every use of a
// sampled block (its tag is below a threshold) the kind and the time are kept until its next use,
// an event of that kind at that age, or until it is older than the last age that is looked at. From
// events and from those who still wait follows for each kind and age the chance of a use at that
// age of those who got so old: the hazard (the product-limit estimate of Kaplan and Meier, 1958,
// with waiting blocks as censored). Blocks of one request are used again together, so each counts
// as its share of the request. Old observations fade. Kinds that were seen little lean on the kinds
// above them.
//
// Memory: kEntriesMax entries of 16 bytes, and two numbers per kind and age. Thread: the owner's.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

namespace terrace {

/// Ages are told apart in steps of half an octave.
inline constexpr std::size_t kReuseAges = 28;
/// Ages below so many ticks are the first step.
inline constexpr std::uint32_t kFirstReuseStep = 4;
using AgeArray = std::array<float, kReuseAges>;

/// The step that an age, in ticks, lies in, and the first age of a step.
[[nodiscard]] inline std::size_t AgeStep(std::uint32_t ticks) noexcept {
  if (ticks < kFirstReuseStep) return 0;
  const auto octave = static_cast<std::size_t>(std::bit_width(ticks / kFirstReuseStep) - 1);
  const std::size_t half = (ticks >> octave) * 2 / kFirstReuseStep - 2;
  return std::min(1 + 2 * octave + half, kReuseAges - 1);
}
[[nodiscard]] constexpr std::uint32_t AgeOfStep(std::size_t step) noexcept {
  if (step == 0) return 0;
  const std::size_t octave = (step - 1) / 2;
  return ((2 + static_cast<std::uint32_t>(step - 1) % 2) * kFirstReuseStep / 2) << octave;
}

class ReuseHistory {
 public:
  /// The kind above all others; each kind has a lower number than those that lean on it.
  static constexpr std::uint16_t kRoot = 0;

  explicit ReuseHistory(std::size_t capacity_blocks);

  /// A kind that leans on another, for which what happens to it counts, too. REQUIRES: `above` is
  /// known.
  std::uint16_t AddKind(std::uint16_t above);

  /// Whether uses of this tag are to be told.
  [[nodiscard]] bool Samples(std::uint32_t tag) const noexcept { return Mix(tag) <= threshold_; }
  /// A block was used at `now`, in ticks, and is of `kind` until its next use. `blocks`: of its
  /// request. REQUIRES: Samples(tag).
  void Used(std::uint32_t tag, std::uint16_t kind, std::size_t blocks, std::uint32_t now);

  /// The kind that a block was of after its last use, if that is remembered; else kRoot.
  [[nodiscard]] std::uint16_t LastKind(std::uint32_t tag) const noexcept;

  /// What was told of the block's last use is of another kind. REQUIRES: Samples(tag).
  void Rename(std::uint32_t tag, std::uint16_t kind);

  /// Enough was seen since the last Estimate to make another.
  [[nodiscard]] bool WantsEstimate() const noexcept { return news_ >= news_wanted_; }
  /// Blocks were seen to return, or not to, in a number that says something.
  [[nodiscard]] bool Knows() const noexcept { return estimated_; }
  [[nodiscard]] std::size_t Bytes() const noexcept;
  /// Hazards of all kinds, by age step, at `now`.
  const std::vector<AgeArray>& Estimate(std::uint32_t now);

 private:
  /// All zeros: a place without an entry. Tag 0 is sampled always.
  struct Entry {
    std::uint32_t tag = 0;
    std::uint32_t when = 0;
    float weight = 0;
    std::uint16_t kind = 0;
  };
  struct Kind {
    std::uint16_t above = 0;
    AgeArray events{};
    AgeArray given_up{};  ///< followed up to there, and no longer
  };

  static std::uint32_t Mix(std::uint32_t tag) noexcept {
    tag = (tag ^ (tag >> 16)) * 0x85ebca6bU;
    tag = (tag ^ (tag >> 13)) * 0xc2b2ae35U;
    return tag ^ (tag >> 16);
  }
  [[nodiscard]] std::size_t Home(std::uint32_t tag) const noexcept;
  /// Of the tag's entry, or where it would go.
  [[nodiscard]] std::size_t SlotOf(std::uint32_t tag) const noexcept;
  /// Frees an entry.
  void Drop(std::size_t slot);
  /// Drops what is too old or no longer sampled, and counts those that wait.
  void Sweep(std::uint32_t now, std::vector<AgeArray>& waiting);
  void Fade();

  std::vector<Kind> kinds_;
  std::vector<Entry> entries_;  // open addressing, a power of two
  std::size_t used_ = 0;
  std::uint32_t threshold_;
  std::size_t news_ = 0;
  std::size_t news_wanted_;
  bool estimated_ = false;  // on at least kNewsMin uses
  double observed_ = 0;     // weights of events and of those given up, faded
  std::vector<AgeArray> hazards_;
};

}  // namespace terrace
