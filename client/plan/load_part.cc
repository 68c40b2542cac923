#include "client/plan/load_part.h"

#include <algorithm>
#include <limits>

#include "base/load_time.h"

namespace terrace {

namespace {

constexpr std::size_t kSourcesMax = 65;  // of one reactor: a cell names one in a byte
constexpr std::uint32_t kMicrosecondsMax = std::numeric_limits<std::uint32_t>::max();

std::uint32_t ToMicroseconds(double microseconds) {
  return static_cast<std::uint32_t>(std::min<double>(microseconds, kMicrosecondsMax));
}

}  // namespace

LoadPart ReadLoadPart(const flatbuffers::Vector<std::uint8_t>* sources,
                      const flatbuffers::Vector<const wire::LoadSource*>* from, std::size_t cells) {
  LoadPart part;
  if (sources == nullptr || from == nullptr || sources->size() != cells || from->size() == 0 ||
      from->size() > kSourcesMax) {
    return part;
  }
  part.from.reserve(from->size());
  for (const wire::LoadSource* source : *from) {
    const bool connection = part.from.empty();
    part.from.push_back({.tier = connection ? TierKind::kDram : TierKind::kNvme,
                         .bytes_per_s = std::max<std::uint64_t>(1, source->bytes_per_s()),
                         .queue_us = source->queue_us(),
                         .latency_us = source->latency_us()});
    // In the order that a plan relies on, or nothing is believed.
    if (source->tier() != static_cast<std::uint32_t>(part.from.back().tier)) return {};
  }
  part.sources.assign(sources->begin(), sources->end());
  return part;
}

std::uint16_t AppendSources(const LoadPart& part, Nanos round_trip, std::vector<LoadSource>& all) {
  if (part.from.empty() || all.size() + part.from.size() > kNoSource) return kNoSource;
  const auto first = static_cast<std::uint16_t>(all.size());
  all.insert(all.end(), part.from.begin(), part.from.end());
  LoadSource& connection = all[first];
  connection.latency_us =
      ToMicroseconds(connection.latency_us + static_cast<double>(round_trip) / kMicrosecond);
  return first;
}

std::vector<std::uint32_t> LoadTimes(std::span<const std::uint16_t> sources,
                                     std::span<const LoadSource> from, std::uint64_t block_bytes) {
  if (from.empty()) return {};
  std::vector<std::uint32_t> by_source(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    by_source[i] = ToMicroseconds(BlockLoadSeconds(from, i, block_bytes) * 1e6);
  }
  std::vector<std::uint32_t> times(sources.size());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (sources[i] != kNoSource) times[i] = by_source[sources[i]];
  }
  return times;
}

}  // namespace terrace
