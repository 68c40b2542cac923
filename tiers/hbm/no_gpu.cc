// Of builds without the CUDA toolkit.
#include "tiers/hbm/gpu.h"

namespace terrace {
namespace {

Status BuiltWithout() {
  return {StatusCode::kUnsupported, "built without CUDA: nvcc was not found, or TERRACE_CUDA=OFF"};
}

}  // namespace

Result<int> CountGpus() { return BuiltWithout(); }

Result<std::unique_ptr<DeviceMemory>> OpenGpu(int /*index*/) { return BuiltWithout(); }

Result<std::string> GpuUuid(int /*index*/) { return BuiltWithout(); }

}  // namespace terrace
