// The GPUs of this machine, whether or not this build and this machine know any.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

/// How many GPUs there are: at least 1. kUnsupported with the reason when there is none: built
/// without CUDA, no driver, a driver that is too old. Blocks for the time that the driver takes to
/// start, up to seconds.
Result<int> CountGpus();

/// Blocks likewise, and makes a context there (some hundred MiB of its memory). kInvalid when there
/// is no such GPU, otherwise as CountGpus; kIo when it fails.
Result<std::unique_ptr<DeviceMemory>> OpenGpu(int index);

/// What names that GPU whatever its number is, e.g. "GPU-1f2e...", as nvidia-smi -L prints it.
/// Fails as OpenGpu. Does not block, and takes no memory there.
Result<std::string> GpuUuid(int index);

}  // namespace terrace
