// What a build without CUDA has of gpus.h.
#include "tiers/hbm/gpus.h"

namespace terrace {

GpusFound FindGpus() { return {.gpus = {}, .why_none = "built without CUDA"}; }

Result<std::unique_ptr<DeviceMemory>> OpenGpu(int index) {
  return Status(StatusCode::kUnsupported, "GPU " + std::to_string(index) + ": built without CUDA");
}

}  // namespace terrace
