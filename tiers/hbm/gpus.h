// The GPUs of this host, as far as this build and the driver let them be seen; in every build.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

struct Gpu {
  int index = 0;     ///< As CUDA counts.
  std::string name;  ///< "NVIDIA H200"
  std::uint64_t bytes = 0;
};

struct GpusFound {
  std::vector<Gpu> gpus;
  std::string
      why_none;  ///< Empty when there are some; "built without CUDA", "no CUDA driver: ...".
};

/// Starts the driver, but nothing on a device. May take seconds. The first call sets a variable of
/// the environment for the driver: before other threads read theirs.
GpusFound FindGpus();
/// One line for a start message: "2 GPUs: 0 NVIDIA H200 (141 GB), ..." or "no GPU: ...".
std::string DescribeGpus(const GpusFound& found);

/// The memory of GPU `index`. @return kUnsupported in a build without CUDA or without a driver,
/// kInvalid when there is no such GPU: the message says which there are.
Result<std::unique_ptr<DeviceMemory>> OpenGpu(int index);

}  // namespace terrace
