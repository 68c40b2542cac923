#include "client/regions/device_memory.h"

#include <utility>

#ifdef TERRACE_CUDA
#include "client/cuda/export_memory.h"
#include "client/cuda/map_memory.h"
#endif

namespace terrace {
namespace {

DeviceExporter& Exporter() {
  static DeviceExporter exporter;
  return exporter;
}

DeviceMapperForTest& Mapper() {
  static DeviceMapperForTest mapper;
  return mapper;
}

}  // namespace

void SetDeviceExporterForTest(DeviceExporter exporter) { Exporter() = std::move(exporter); }

void SetDeviceMapperForTest(DeviceMapperForTest mapper) { Mapper() = std::move(mapper); }

Result<std::span<std::byte>> MapDeviceMemory(const DeviceExport& exported) {
  if (Mapper().map) return Mapper().map(exported);
#ifdef TERRACE_CUDA
  return MapGpuMemory(exported);
#else
  return Status(StatusCode::kUnsupported, "this library was built without CUDA");
#endif
}

void UnmapDeviceMemory([[maybe_unused]] const std::string& gpu, std::span<std::byte> memory) {
  if (Mapper().unmap) return Mapper().unmap(memory);
#ifdef TERRACE_CUDA
  UnmapGpuMemory(gpu, memory);
#endif
}

Result<DeviceExport> ExportDeviceMemory(std::span<std::byte> memory) {
  if (Exporter()) return Exporter()(memory);
#ifdef TERRACE_CUDA
  return ExportGpuMemory(memory);
#else
  return Status(StatusCode::kUnsupported, "this library was built without CUDA");
#endif
}

}  // namespace terrace
