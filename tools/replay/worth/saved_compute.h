// SavedCompute: what the hits of a run would have saved on real GPUs.
//
// Assumptions, stated in the report too: every hit is loaded with the real model's bytes per token
// over a path as fast as the gets of this run were measured (bytes got over time in get calls);
// time to first token is loading, then computing what was not hit, with no queue before it. A full
// hit still computes the last token. Storage on one small machine is slower than the path a real
// deployment would have, so time to first token with Terrace is pessimistic.
#pragma once

#include <cstdint>
#include <span>

#include "tools/replay/trace/trace.h"
#include "tools/replay/worth/economics.h"

namespace terrace::replay {

/// Instead of a number of hit tokens: the request was not prefilled, and counts nowhere.
inline constexpr std::uint32_t kNotPrefilled = 0xffffffff;

struct TimeToFirstToken {
  double mean_ms = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};

struct SavedCompute {
  double gpu_seconds_total = 0;  ///< to compute every prompt from its start
  double gpu_seconds_saved = 0;
  double flop_total = 0;
  double flop_saved = 0;
  double load_gb_per_s = 0;        ///< 1e9 bytes/s, as measured
  double break_even_gb_per_s = 0;  ///< B* of an average hit: loading pays above it
  double loads_that_pay = 0;       ///< share of hits that load faster than they compute
  TimeToFirstToken without;
  TimeToFirstToken with;     ///< every hit is loaded
  TimeToFirstToken planned;  ///< a hit is loaded only where that is faster than computing

  /// Of all FLOP to compute every prompt, the share that hits saved.
  [[nodiscard]] double FlopHitRatio() const noexcept {
    return flop_total > 0 ? flop_saved / flop_total : 0;
  }
};

/// hit_tokens: one per request, kNotPrefilled for those to leave out.
/// load_bytes_per_s: 0 when nothing was loaded. match_s: mean time of a match, seconds.
[[nodiscard]] SavedCompute ComputeSavings(const Economics& economics, const Trace& trace,
                                          std::span<const std::uint32_t> hit_tokens,
                                          double load_bytes_per_s, double match_s);

}  // namespace terrace::replay
