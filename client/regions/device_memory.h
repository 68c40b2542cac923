// How memory of a GPU is made known to a daemon, and the daemon's memory of one is mapped here: by
// CUDA, where this library was built with it. Thread: any.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

#include "base/device_export.h"
#include "base/result.h"

namespace terrace {

/// kInvalid: no memory of a GPU, or not of one allocation; kUnsupported: it cannot be mapped by
/// another process, or this library knows no GPUs.
Result<DeviceExport> ExportDeviceMemory(std::span<std::byte> memory);

/// Maps what another process exported; of one allocation there is one mapping, counted. kInvalid:
/// no handle, or more bytes than there are; kPeerDead: whose it was is gone, or has freed it;
/// kUnsupported: this process sees no such GPU, or this library knows none. Blocks for
/// milliseconds.
Result<std::span<std::byte>> MapDeviceMemory(const DeviceExport& exported);
/// Ends one use of a mapping of that GPU. Blocks. REQUIRES: from MapDeviceMemory.
void UnmapDeviceMemory(const std::string& gpu, std::span<std::byte> memory);

/// In its place, for tests with doubles; null: the real one again. Before the threads that use it.
using DeviceExporter = std::function<Result<DeviceExport>(std::span<std::byte>)>;
void SetDeviceExporterForTest(DeviceExporter exporter);
/// In place of mapping and unmapping; null: the real ones again. Likewise.
struct DeviceMapperForTest {
  std::function<Result<std::span<std::byte>>(const DeviceExport&)> map;
  std::function<void(std::span<std::byte>)> unmap;
};
void SetDeviceMapperForTest(DeviceMapperForTest mapper);

}  // namespace terrace
