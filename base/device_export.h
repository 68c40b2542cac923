// DeviceExport: memory of a GPU that another process of this host may map: what a client tells its
// daemon of it.
//
// Model. The handle names a whole allocation of the process that made it; `offset` and `bytes` say
// which part of it is meant. Nothing in it is trusted: who maps it asks the driver how large it is.
//
// Thread: any; a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace terrace {

struct DeviceExport {
  static constexpr std::size_t kGpuBytesMax = 64;
  static constexpr std::size_t kHandleBytesMax = 256;  ///< CUDA has 64
  std::string gpu;                ///< which one, as nvidia-smi -L names it: "GPU-..."
  std::vector<std::byte> handle;  ///< opaque
  std::uint64_t offset = 0;       ///< of the memory in the allocation, bytes
  std::uint64_t bytes = 0;        ///< of the memory

  friend bool operator==(const DeviceExport&, const DeviceExport&) = default;
};

/// kInvalid, naming the field, when one is empty or too long, or the end overflows.
Status CheckDeviceExport(const DeviceExport& exported);

}  // namespace terrace
