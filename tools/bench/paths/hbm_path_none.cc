// The path `hbm` of builds without the CUDA toolkit.
#include "tiers/hbm/gpu.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

std::vector<Figure> BenchHbm(const BenchOptions& /*options*/) {
  Require(OpenGpu(0).status(), "hbm");
  return {};
}

}  // namespace terrace::bench
