// How memory of a GPU is made known to a daemon: by CUDA, where this library was built with it.
// Thread: any.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "base/device_export.h"
#include "base/result.h"

namespace terrace {

/// kInvalid: no memory of a GPU, or not of one allocation; kUnsupported: it cannot be mapped by
/// another process, or this library knows no GPUs.
Result<DeviceExport> ExportDeviceMemory(std::span<std::byte> memory);

/// In its place, for tests with doubles; null: the real one again. Before the threads that use it.
using DeviceExporter = std::function<Result<DeviceExport>(std::span<std::byte>)>;
void SetDeviceExporterForTest(DeviceExporter exporter);

}  // namespace terrace
