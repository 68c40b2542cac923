#include "tools/replay/worth/saved_compute.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace terrace::replay {
namespace {

TimeToFirstToken Summarise(std::vector<double>& seconds) {
  if (seconds.empty()) return {};
  std::ranges::sort(seconds);
  double sum = 0;
  for (const double value : seconds) sum += value;
  const auto count = static_cast<double>(seconds.size());
  const auto at = [&](double quantile) {
    const auto rank = static_cast<std::size_t>(std::ceil(quantile * count));
    return seconds[std::max<std::size_t>(rank, 1) - 1] * 1e3;
  };
  return {.mean_ms = sum / count * 1e3, .p50_ms = at(0.5), .p99_ms = at(0.99)};
}

}  // namespace

SavedCompute ComputeSavings(const Economics& economics, const Trace& trace,
                            std::span<const std::uint32_t> hit_tokens, double load_bytes_per_s,
                            double match_s) {
  SavedCompute result;
  std::vector<double> without;
  std::vector<double> with;
  std::vector<double> planned;
  double tokens_loaded = 0;
  double seconds_saved = 0;
  std::uint64_t hits = 0;
  std::uint64_t paying = 0;
  for (std::size_t request = 0; request < hit_tokens.size(); ++request) {
    if (hit_tokens[request] == kNotPrefilled) continue;
    const double input = trace.requests[request].input_tokens;
    const double loaded = hit_tokens[request];
    const double usable = std::min(loaded, input - 1);  // the last token is always computed
    const double full = economics.RecomputeSeconds(0, input);
    const double rest = economics.RecomputeSeconds(usable, input);
    const double load =
        loaded > 0 && load_bytes_per_s > 0 ? economics.LoadSeconds(loaded, load_bytes_per_s) : 0;
    result.gpu_seconds_total += full * economics.instance().gpus;
    result.gpu_seconds_saved += (full - rest) * economics.instance().gpus;
    result.flop_total += economics.Flop(0, input);
    result.flop_saved += economics.Flop(0, usable);
    without.push_back(full);
    with.push_back(match_s + load + rest);
    planned.push_back(match_s + std::min(load + rest, full));
    if (loaded == 0) continue;
    ++hits;
    if (load < full - rest) ++paying;
    tokens_loaded += loaded;
    seconds_saved += full - rest;
  }
  result.load_gb_per_s = load_bytes_per_s / 1e9;
  if (hits > 0) {
    result.loads_that_pay = static_cast<double>(paying) / static_cast<double>(hits);
    if (seconds_saved > 0) {
      result.break_even_gb_per_s =
          tokens_loaded * economics.model().kv_bytes_per_token_bf16 / seconds_saved / 1e9;
    }
  }
  result.without = Summarise(without);
  result.with = Summarise(with);
  result.planned = Summarise(planned);
  return result;
}

}  // namespace terrace::replay
