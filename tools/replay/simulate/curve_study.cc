#include "tools/replay/simulate/curve_study.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/clock.h"

namespace terrace::replay {
namespace {

SimulatedTiersOptions AtSize(const SimulatedTiersOptions& tiers, const CurvePoint& size) {
  SimulatedTiersOptions other = tiers;
  other.curve = nullptr;
  other.dram_blocks = size.dram_bytes / kSimulatedBlockBytes;
  const double segments = std::round(tiers.nvme_segments * size.nvme_scale);
  other.nvme_segments =
      segments > 0 ? std::max<std::uint32_t>(static_cast<std::uint32_t>(segments), 2) : 0;
  return other;
}

}  // namespace

CurveStudy StudyCurve(const Trace& trace, const BlockNumbers& blocks,
                      const SimulatedTiersOptions& tiers, const RequestShape& shape,
                      std::uint64_t memory_bytes) {
  TERRACE_CHECK(tiers.slices == 1 && !trace.requests.empty());
  const ManualClock clock;  // no time passes: the curve's budget of it limits nothing
  const std::uint64_t records = tiers.nvme_segments * tiers.nvme_records_per_segment;
  MissRatioCurve curve({.dram_bytes = tiers.dram_blocks * kSimulatedBlockBytes,
                        .nvme_bytes = records * kSimulatedBlockBytes,
                        .nvme_segments = tiers.nvme_segments,
                        .policy = tiers.policy,
                        .memory_bytes = memory_bytes},
                       clock);
  SimulatedTiersOptions watched = tiers;
  watched.curve = &curve;
  (void)SimulateRequests(trace, blocks, watched, shape);
  const CurveFigures figures = curve.Read(false);
  CurveStudy study;
  study.sampled = figures.sampled;
  study.references = figures.references;
  study.shift = curve.Shift();
  study.bytes = curve.Bytes();
  for (const CurveFigures::PointFigures& point : figures.points) {
    const RequestHits exact = SimulateRequests(trace, blocks, AtSize(tiers, point.point), shape);
    study.points.push_back({.size = point.point,
                            .estimated = point.hits / figures.references,
                            .exact = exact.run.BlockHitRatio(),
                            .standard_error = std::sqrt(point.variance) / figures.references});
  }
  return study;
}

}  // namespace terrace::replay
