#include "cache/policy/reuse_history.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace terrace {
namespace {

/// Of the sample: so many for each block of capacity.
constexpr std::size_t kEntriesPerBlock = 8;
constexpr std::size_t kEntriesMin = 1 << 10;
constexpr std::size_t kEntriesMax = 1 << 16;
/// A kind that was seen less often than this leans more on the kind above it than on itself.
constexpr float kLean = 16;
constexpr float kStepLean = 30;
constexpr std::size_t kCommon = 8;
/// Before anything was seen: the same chance in each step, so that who was used last is kept.
constexpr float kPriorHazard = 0.02F;
/// Weight of observations above which older ones fade.
constexpr double kMemory = 40'000;
constexpr std::size_t kNewsMin = 256;

}  // namespace

ReuseHistory::ReuseHistory(std::size_t capacity_blocks)
    : kinds_(1), threshold_(0xffffffff), news_wanted_(kNewsMin) {
  entries_.resize(
      std::clamp(std::bit_ceil(kEntriesPerBlock * capacity_blocks), kEntriesMin, kEntriesMax));
}

std::size_t ReuseHistory::Bytes() const noexcept {
  return entries_.size() * sizeof(Entry) +
         kinds_.size() * (sizeof(Kind) + 3 * sizeof(AgeArray));  // and while it estimates
}

std::uint16_t ReuseHistory::AddKind(std::uint16_t above) {
  TERRACE_CHECK(above < kinds_.size() && kinds_.size() < 0xffff);
  kinds_.emplace_back().above = above;
  if (!hazards_.empty()) hazards_.push_back(AgeArray(hazards_[above]));
  return static_cast<std::uint16_t>(kinds_.size() - 1);
}

std::size_t ReuseHistory::Home(std::uint32_t tag) const noexcept {
  return (Mix(tag) * 0x9e3779b1U >> 8) & (entries_.size() - 1);
}

std::size_t ReuseHistory::SlotOf(std::uint32_t tag) const noexcept {
  std::size_t slot = Home(tag);
  while (entries_[slot].weight != 0 && entries_[slot].tag != tag) {
    slot = (slot + 1) & (entries_.size() - 1);
  }
  return slot;
}

void ReuseHistory::Rename(std::uint32_t tag, std::uint16_t kind) {
  Entry& entry = entries_[SlotOf(tag)];
  if (entry.weight != 0) entry.kind = kind;
}

std::uint16_t ReuseHistory::LastKind(std::uint32_t tag) const noexcept {
  const Entry& entry = entries_[SlotOf(tag)];
  return entry.weight != 0 ? entry.kind : kRoot;
}

void ReuseHistory::Used(std::uint32_t tag, std::uint16_t kind, std::size_t blocks,
                        std::uint32_t now) {
  ++news_;  // also of what finds no room: only an Estimate makes some
  Entry& entry = entries_[SlotOf(tag)];
  if (entry.weight != 0) {
    // A request that takes long tells of its beginning; the later of two uses counts.
    if (static_cast<std::int32_t>(now - entry.when) < 0) now = entry.when;
    kinds_[entry.kind].events[AgeStep(now - entry.when)] += entry.weight;
    observed_ += entry.weight;
  } else {
    if (used_ * 8 >= entries_.size() * 7) return;  // until the next Estimate
    ++used_;
  }
  // Of the request's blocks about rate x blocks are sampled; together they are one observation.
  const double rate = (static_cast<double>(threshold_) + 1) / 4294967296.0;
  const double sampled = std::max(1.0, rate * static_cast<double>(blocks));
  entry = {.tag = tag, .when = now, .weight = static_cast<float>(1 / sampled), .kind = kind};
}

void ReuseHistory::Drop(std::size_t slot) {
  // Whoever stands behind it because of it moves up.
  const std::size_t mask = entries_.size() - 1;
  for (std::size_t other = (slot + 1) & mask; entries_[other].weight != 0;
       other = (other + 1) & mask) {
    const std::size_t from_home = (other - Home(entries_[other].tag)) & mask;
    if (from_home < ((other - slot) & mask)) continue;
    entries_[slot] = entries_[other];
    slot = other;
  }
  entries_[slot] = {};
  --used_;
}

void ReuseHistory::Sweep(std::uint32_t now, std::vector<AgeArray>& waiting) {
  const bool too_many = used_ * 8 > entries_.size() * 5;
  if (too_many) threshold_ /= 2;
  // From behind a free slot: nobody moves from one end of the walk to the other.
  std::size_t free = 0;
  while (entries_[free].weight != 0) ++free;
  for (std::size_t behind = 1; behind < entries_.size();) {
    const std::size_t slot = (free + behind) & (entries_.size() - 1);
    const Entry& entry = entries_[slot];
    // A place without an entry counts as one of weight 0, used now: which of the two comes next
    // nobody can foretell, and a wrong guess costs more than the sum.
    const std::uint32_t age = (now - entry.when) * static_cast<std::uint32_t>(entry.weight != 0);
    const std::size_t step = AgeStep(age);
    const bool sampled = Samples(entry.tag);
    if (sampled && step + 1 < kReuseAges) {
      waiting[entry.kind][step] += entry.weight;
      ++behind;
      continue;
    }
    if (sampled) {
      kinds_[entry.kind].given_up[step] += entry.weight;
      observed_ += entry.weight;
    }
    Drop(slot);  // another may stand there now
  }
  if (!too_many && used_ * 8 < entries_.size() && threshold_ < 0x80000000U)
    threshold_ = threshold_ * 2 + 1;
}

void ReuseHistory::Fade() {
  if (observed_ <= kMemory) return;
  observed_ /= 2;
  for (Kind& kind : kinds_) {
    for (float& weight : kind.events) weight /= 2;
    for (float& weight : kind.given_up) weight /= 2;
  }
}

const std::vector<AgeArray>& ReuseHistory::Estimate(std::uint32_t now) {
  estimated_ = estimated_ || news_ >= kNewsMin;
  Fade();
  std::vector<AgeArray> left(kinds_.size());  // who was followed up to a step and not beyond
  Sweep(now, left);
  std::vector<AgeArray> events(kinds_.size());
  for (std::size_t kind = kinds_.size(); kind-- > 0;) {
    for (std::size_t step = 0; step < kReuseAges; ++step) {
      left[kind][step] += kinds_[kind].given_up[step];
      events[kind][step] += kinds_[kind].events[step];
      if (kind == kRoot) continue;
      left[kinds_[kind].above][step] += left[kind][step];
      events[kinds_[kind].above][step] += events[kind][step];
    }
  }
  hazards_.resize(kinds_.size());
  for (std::size_t kind = 0; kind < kinds_.size(); ++kind) {
    AgeArray exposed{};
    AgeArray above{};
    float at_risk = 0;
    float seen = 0;
    float expected = 0;
    for (std::size_t step = kReuseAges; step-- > 0;) {
      above[step] = kind == kRoot ? kPriorHazard : hazards_[kinds_[kind].above][step];
      // Those who wait in a step were at risk in half of it.
      at_risk += events[kind][step] + left[kind][step];
      exposed[step] = at_risk - left[kind][step] / 2;
      if (step >= kCommon) {
        seen += events[kind][step];
        expected += exposed[step] * above[step];
      }
    }
    // A kind is above all more or less likely to come back than the one above it, whenever.
    const float times = (seen + kLean) / (expected + kLean);
    for (std::size_t step = 0; step < kReuseAges; ++step) {
      const float likely =
          step >= kCommon && kind != kRoot ? std::min(above[step] * times, 0.95F) : above[step];
      hazards_[kind][step] =
          (events[kind][step] + kStepLean * likely) / (exposed[step] + kStepLean);
    }
  }
  news_ = 0;
  news_wanted_ = std::max(kNewsMin, used_ / 2);
  return hazards_;
}

}  // namespace terrace
