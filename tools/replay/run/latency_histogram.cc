#include "tools/replay/run/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace terrace::replay {

// Values below 64 have a bucket each. Above, a value with its highest bit at position e (>= 6) lies
// in row e - 5, in the column that its next six bits name.
unsigned LatencyHistogram::BucketOf(std::uint64_t value) noexcept {
  if (value < kSubBuckets) return static_cast<unsigned>(value);
  const unsigned exponent = static_cast<unsigned>(std::bit_width(value)) - 1;
  const unsigned row = exponent - kSubBits + 1;
  const auto column = static_cast<unsigned>((value >> (exponent - kSubBits)) - kSubBuckets);
  return std::min(row * kSubBuckets + column, kBuckets - 1);
}

std::uint64_t LatencyHistogram::UpperEnd(unsigned bucket) noexcept {
  const unsigned row = bucket / kSubBuckets;
  const std::uint64_t column = bucket % kSubBuckets;
  if (row == 0) return column;
  return ((kSubBuckets + column + 1) << (row - 1)) - 1;
}

void LatencyHistogram::Add(std::int64_t duration_ns) noexcept {
  const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(duration_ns, 0));
  ++buckets_[BucketOf(value)];
  ++count_;
  total_ns_ += value;
  max_ns_ = std::max(max_ns_, value);
}

void LatencyHistogram::Merge(const LatencyHistogram& other) noexcept {
  for (unsigned bucket = 0; bucket < kBuckets; ++bucket) buckets_[bucket] += other.buckets_[bucket];
  count_ += other.count_;
  total_ns_ += other.total_ns_;
  max_ns_ = std::max(max_ns_, other.max_ns_);
}

std::uint64_t LatencyHistogram::Quantile(double quantile) const noexcept {
  if (count_ == 0) return 0;
  const double rank = std::ceil(std::clamp(quantile, 0.0, 1.0) * static_cast<double>(count_));
  const auto wanted = std::max<std::uint64_t>(static_cast<std::uint64_t>(rank), 1);
  std::uint64_t seen = 0;
  for (unsigned bucket = 0; bucket < kBuckets; ++bucket) {
    seen += buckets_[bucket];
    if (seen >= wanted) return std::min(UpperEnd(bucket), max_ns_);
  }
  return max_ns_;
}

std::vector<LatencyStep> LatencyHistogram::Steps() const {
  constexpr unsigned kBucketsOfStep = 8;
  std::vector<LatencyStep> steps;
  for (unsigned first = 0; first < kBuckets; first += kBucketsOfStep) {
    const auto begin = buckets_.begin() + first;
    const std::uint64_t count = std::accumulate(begin, begin + kBucketsOfStep, std::uint64_t{0});
    const std::uint64_t upper = UpperEnd(first + kBucketsOfStep - 1);
    if (count > 0) steps.push_back({.upper_ns = upper, .count = count});
  }
  // What is beyond the last bucket is in it.
  if (!steps.empty()) steps.back().upper_ns = std::max(steps.back().upper_ns, max_ns_);
  return steps;
}

}  // namespace terrace::replay
