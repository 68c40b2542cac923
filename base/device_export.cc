#include "base/device_export.h"

#include <limits>

namespace terrace {
namespace {

Status WrongSize(const char* field, std::size_t bytes, std::size_t most) {
  return Status::Invalid(std::string(field) + " has " + std::to_string(bytes) +
                         " bytes, not 1 to " + std::to_string(most));
}

}  // namespace

Status CheckDeviceExport(const DeviceExport& exported) {
  if (exported.gpu.empty() || exported.gpu.size() > DeviceExport::kGpuBytesMax) {
    return WrongSize("gpu", exported.gpu.size(), DeviceExport::kGpuBytesMax);
  }
  if (exported.handle.empty() || exported.handle.size() > DeviceExport::kHandleBytesMax) {
    return WrongSize("handle", exported.handle.size(), DeviceExport::kHandleBytesMax);
  }
  if (exported.bytes == 0) return Status::Invalid("length is 0");
  if (exported.offset > std::numeric_limits<std::uint64_t>::max() - exported.bytes) {
    return Status::Invalid("offset " + std::to_string(exported.offset) + " and length " +
                           std::to_string(exported.bytes) + " overflow");
  }
  return {};
}

}  // namespace terrace
