#include "client/regions/device_memory.h"

#include <utility>

#ifdef TERRACE_CUDA
#include "client/cuda/export_memory.h"
#endif

namespace terrace {
namespace {

DeviceExporter& Exporter() {
  static DeviceExporter exporter;
  return exporter;
}

}  // namespace

void SetDeviceExporterForTest(DeviceExporter exporter) { Exporter() = std::move(exporter); }

Result<DeviceExport> ExportDeviceMemory(std::span<std::byte> memory) {
  if (Exporter()) return Exporter()(memory);
#ifdef TERRACE_CUDA
  return ExportGpuMemory(memory);
#else
  return Status(StatusCode::kUnsupported, "this library was built without CUDA");
#endif
}

}  // namespace terrace
