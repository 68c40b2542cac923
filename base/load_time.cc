#include "base/load_time.h"

#include <algorithm>
#include <cstddef>

#include "base/check.h"

namespace terrace {

namespace {

constexpr double kMicrosecondsPerSecond = 1e6;

double Transfer(std::uint64_t bytes, const LoadSource& source) {
  return static_cast<double>(bytes) / static_cast<double>(source.bytes_per_s);
}
double Queue(const LoadSource& source) { return source.queue_us / kMicrosecondsPerSecond; }
double Latency(const LoadSource& source) { return source.latency_us / kMicrosecondsPerSecond; }

bool IsConnection(const LoadSource& source) { return source.tier == TierKind::kDram; }

double DeviceSeconds(const LoadSource& device, const LoadSource& connection, std::uint64_t bytes,
                     std::uint64_t largest_block) {
  return Queue(device) + Latency(device) + Transfer(bytes, device) +
         Transfer(std::min(largest_block, bytes), connection);
}

}  // namespace

double LoadSeconds(std::span<const LoadSource> sources, std::span<const std::uint64_t> bytes,
                   std::uint64_t largest_block) {
  TERRACE_CHECK(sources.size() == bytes.size());
  double longest = 0;
  for (std::size_t at = 0; at < sources.size();) {
    const LoadSource& connection = sources[at];
    std::uint64_t all = bytes[at];
    double device = 0;
    for (++at; at < sources.size() && !IsConnection(sources[at]); ++at) {
      if (bytes[at] == 0) continue;
      all += bytes[at];
      device = std::max(device, DeviceSeconds(sources[at], connection, bytes[at], largest_block));
    }
    if (all == 0) continue;
    const double crossing = Queue(connection) + Transfer(all, connection);
    longest = std::max(longest, Latency(connection) + std::max(crossing, device));
  }
  return longest;
}

double BlockLoadSeconds(std::span<const LoadSource> sources, std::size_t which,
                        std::uint64_t block_bytes) {
  TERRACE_CHECK(which < sources.size());
  std::size_t at = which;
  while (at > 0 && !IsConnection(sources[at])) --at;
  const LoadSource& connection = sources[at];
  double slowest = Queue(connection) + Transfer(block_bytes, connection);
  if (at != which) {
    slowest =
        std::max(slowest, DeviceSeconds(sources[which], connection, block_bytes, block_bytes));
  }
  return Latency(connection) + slowest;
}

}  // namespace terrace
