#include "cache/advice/departed_blocks.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

namespace terrace {

namespace {

constexpr Nanos kTick = 100 * kMillisecond;
constexpr std::uint32_t kReasonBits = 5;
constexpr std::uint32_t kTimeMask = (1U << (32 - kReasonBits)) - 1;
constexpr std::uint64_t kArenaShare = 2000;
static_assert(kMissReasonCount <= 1U << kReasonBits);

std::uint32_t TicksOf(Nanos time) noexcept {
  return static_cast<std::uint32_t>(time / kTick) & kTimeMask;
}

std::uint32_t AgeOf(std::uint32_t note, std::uint32_t now) noexcept {
  return (now - (note >> kReasonBits)) & kTimeMask;
}

std::uint32_t TagOf(const Locator& locator) noexcept {
  return static_cast<std::uint32_t>(locator.hash.low >> 32) ^ locator.namespace_id * 0x9e3779b9U;
}

}  // namespace

std::uint64_t DepartedBlocks::BytesFor(std::uint64_t arena_bytes) noexcept {
  return std::bit_floor(std::clamp(arena_bytes / kArenaShare, kBytesMin, kBytesMax));
}

Result<DepartedBlocks> DepartedBlocks::Create(std::uint64_t bytes) {
  static_assert(sizeof(Bucket) == 64);
  TERRACE_CHECK(bytes >= sizeof(Bucket));
  auto buckets = FlatArray<Bucket>::Create(std::bit_floor(bytes) / sizeof(Bucket));
  if (!buckets.ok()) return buckets.status();
  DepartedBlocks departed;
  departed.buckets_ = std::move(*buckets);
  return departed;
}

std::size_t DepartedBlocks::BucketOf(const Locator& locator) const noexcept {
  return (locator.hash.low ^ locator.namespace_id * 0x85ebca6bU) & (buckets_.size() - 1);
}

void DepartedBlocks::Prefetch(const Locator& locator) const noexcept {
  if (buckets_.size() > 0) __builtin_prefetch(&buckets_[BucketOf(locator)]);
}

void DepartedBlocks::Note(const Locator& locator, MissReason reason, Nanos now) noexcept {
  TERRACE_CHECK(reason > MissReason::kNeverSeen);
  if (buckets_.size() == 0) return;
  Bucket& bucket = buckets_[BucketOf(locator)];
  const std::uint32_t tag = TagOf(locator);
  const std::uint32_t ticks = TicksOf(now);
  std::size_t best = 0;
  std::uint64_t best_age = 0;
  for (std::size_t i = 0; i < kPlaces; ++i) {
    const bool empty = bucket.notes[i] == 0;
    if (!empty && bucket.tags[i] == tag) {
      best = i;
      break;
    }
    const std::uint64_t age = empty ? std::uint64_t{kTimeMask} + 1 : AgeOf(bucket.notes[i], ticks);
    if (age > best_age) {
      best = i;
      best_age = age;
    }
  }
  bucket.tags[best] = tag;
  bucket.notes[best] = ticks << kReasonBits | static_cast<std::uint32_t>(reason);
}

DepartedBlocks::Departure DepartedBlocks::Find(const Locator& locator, Nanos now) const noexcept {
  if (buckets_.size() == 0) return {};
  const Bucket& bucket = buckets_[BucketOf(locator)];
  const std::uint32_t tag = TagOf(locator);
  for (std::size_t i = 0; i < kPlaces; ++i) {
    const std::uint32_t note = bucket.notes[i];
    if (note == 0 || bucket.tags[i] != tag) continue;
    return {.reason = static_cast<MissReason>(note & ((1U << kReasonBits) - 1)),
            .age = static_cast<Nanos>(AgeOf(note, TicksOf(now))) * kTick};
  }
  return {};
}

}  // namespace terrace
