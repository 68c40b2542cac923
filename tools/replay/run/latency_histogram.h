// LatencyHistogram: durations of calls, in buckets 1.6 % wide, in a fixed piece of memory that can
// be sent between processes as it is.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace terrace::replay {

/// Calls that took at most upper_ns, and longer than the step before.
struct LatencyStep {
  std::uint64_t upper_ns = 0;
  std::uint64_t count = 0;

  friend bool operator==(const LatencyStep&, const LatencyStep&) = default;
};

class LatencyHistogram {
 public:
  /// duration_ns: below 0 counts as 0; longer than about 39 h counts in the last bucket.
  void Add(std::int64_t duration_ns) noexcept;
  void Merge(const LatencyHistogram& other) noexcept;

  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t total_ns() const noexcept { return total_ns_; }
  [[nodiscard]] std::uint64_t max_ns() const noexcept { return max_ns_; }
  /// The duration that a share `quantile` (0 to 1) of the calls did not exceed, ns: the upper end
  /// of its bucket, at most max_ns(). 0 when there is none.
  [[nodiscard]] std::uint64_t Quantile(double quantile) const noexcept;
  /// The distribution, for charts: eight buckets a step (at most 12.5 % wide; 8 ns below 64 ns),
  /// those with calls only, in order.
  [[nodiscard]] std::vector<LatencyStep> Steps() const;

 private:
  static constexpr unsigned kSubBits = 6;  // 64 buckets per power of two: 1/64 = 1.6 % wide
  static constexpr unsigned kSubBuckets = 1U << kSubBits;
  static constexpr unsigned kExponents = 42;
  static constexpr unsigned kBuckets = kExponents * kSubBuckets;

  static unsigned BucketOf(std::uint64_t value) noexcept;
  static std::uint64_t UpperEnd(unsigned bucket) noexcept;

  std::uint64_t count_ = 0;
  std::uint64_t total_ns_ = 0;
  std::uint64_t max_ns_ = 0;
  std::array<std::uint32_t, kBuckets> buckets_{};
};
static_assert(std::is_trivially_copyable_v<LatencyHistogram>);

}  // namespace terrace::replay
