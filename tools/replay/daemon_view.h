// DaemonView: the few of the daemon's own numbers that a report needs.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "client/terrace.hpp"

namespace terrace::replay {

struct DaemonView {
  bool known = false;            ///< false: the daemon did not answer
  std::uint64_t dram_bytes = 0;  ///< capacity
  std::uint64_t nvme_bytes = 0;  ///< capacity; 0 without that tier
  std::uint64_t blocks = 0;      ///< stored now, over all tiers
  std::uint64_t evictions = 0;   ///< blocks, since it began
  std::uint64_t reactors = 1;
  double huge_page_share = 0;  ///< of the DRAM tier's memory, 0 to 1
  double uptime_s = 0;
};

/// Sums the samples of one name whose labels contain `label` ("" for all); nullopt without any.
[[nodiscard]] std::optional<double> SumSamples(std::span<const Sample> samples,
                                               std::string_view name, std::string_view label);

[[nodiscard]] DaemonView ViewOf(std::span<const Sample> samples);

}  // namespace terrace::replay
