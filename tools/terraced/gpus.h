// The GPUs of the configuration: each serves one daemon of this machine at a time.
//
// Model. A GPU is held by an abstract socket whose name has the GPU's UUID: the kernel takes it
// back when the process ends, however it ends, and tells whose it is. So it holds within one
// network namespace. For tests, TERRACE_GPU_DOUBLES=NAME:COUNT replaces the machine's GPUs by so
// many doubles in host memory (tiers/hbm/host_device_memory.h), which the log says.
//
// Thread: the caller's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

inline constexpr const char* kGpuDoublesVariable = "TERRACE_GPU_DOUBLES";
/// The doubles hang while the file of that name exists.
inline constexpr const char* kGpuHangVariable = "TERRACE_GPU_DOUBLES_HANG";

/// As OpenGpu of tiers/hbm/gpu.h; `number` as in hbm.gpus.
Result<std::unique_ptr<DeviceMemory>> OpenConfiguredGpu(const std::string& number);

/// What keeps other daemons from some GPUs, until it goes.
class GpuHolds {
 public:
  GpuHolds() = default;
  ~GpuHolds();
  GpuHolds(const GpuHolds&) = delete;
  GpuHolds& operator=(const GpuHolds&) = delete;

  /// kRetry: another process holds that GPU, and the message says which. Otherwise as OpenGpu. The
  /// messages begin with the key hbm.gpus.
  Status Take(const std::string& number);

 private:
  std::vector<int> sockets_;
};

}  // namespace terrace
