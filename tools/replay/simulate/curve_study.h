// CurveStudy: the curve that a daemon of one size would tell of other sizes, beside what tiers of
// those sizes reach. For tests and for `terrace-replay simulate --advise`.
#pragma once

#include <vector>

#include "cache/advice/miss_ratio_curve.h"
#include "tools/replay/simulate/request_hits.h"

namespace terrace::replay {

struct CurveStudy {
  struct Point {
    CurvePoint size;
    double estimated = 0;  ///< share of blocks that are hits, contiguous prefixes only
    double exact = 0;
    double standard_error = 0;
  };
  std::vector<Point> points;  ///< the real size first
  double sampled = 0;         ///< references
  double references = 0;
  unsigned shift = 0;       ///< 1 of 2^shift blocks was sampled at the end
  std::uint64_t bytes = 0;  ///< memory of the curve
};

/// `memory_bytes`: for the curve. REQUIRES: tiers.slices == 1, trace not empty.
[[nodiscard]] CurveStudy StudyCurve(const Trace& trace, const BlockNumbers& blocks,
                                    const SimulatedTiersOptions& tiers, const RequestShape& shape,
                                    std::uint64_t memory_bytes);

}  // namespace terrace::replay
