// Memory of a GPU that another process exported, mapped by CUDA IPC. Thread: any; its current
// device is the same afterwards.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/device_export.h"
#include "base/result.h"

namespace terrace {

/// As MapDeviceMemory and UnmapDeviceMemory (client/regions/device_memory.h).
Result<std::span<std::byte>> MapGpuMemory(const DeviceExport& exported);
void UnmapGpuMemory(const std::string& gpu, std::span<std::byte> memory);

}  // namespace terrace
