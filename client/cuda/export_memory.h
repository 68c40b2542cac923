// Memory of a GPU as another process maps it, by CUDA IPC. Thread: any; its current device is the
// same afterwards.
#pragma once

#include <cstddef>
#include <span>

#include "base/device_export.h"
#include "base/result.h"

namespace terrace {

/// As ExportDeviceMemory (client/regions/device_memory.h).
Result<DeviceExport> ExportGpuMemory(std::span<std::byte> memory);

}  // namespace terrace
