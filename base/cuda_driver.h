// Calls of CUDA's driver for which the runtime has no word: a GPU is made current for a scope
// without making it the thread's, and memory is asked what it is of without making a context.
//
// Thread: any.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "base/status.h"

namespace terrace {

struct CudaAllocation {
  std::uint64_t base = 0;   ///< address
  std::uint64_t bytes = 0;  ///< from there
};

/// The allocation, or the mapping, that an address of the current device lies in. kInvalid: it is
/// no memory of a device that this process has.
Result<CudaAllocation> AllocationOf(const void* memory);

/// Of whatever version.
bool HasGpuDriver() noexcept;

/// The number of the GPU that this address is memory of. kInvalid: it is the host's, or managed;
/// kUnsupported: there is no driver, or none that the runtime of this build can use (the message
/// says which).
Result<int> DeviceOfMemory(const void* memory);

/// Whether processes that map the allocation by CUDA IPC can do so; true when the driver does not
/// say.
bool CanBeMappedElsewhere(const void* memory);

/// Makes a GPU current on the calling thread for a scope. The thread is given back as it was: one
/// that had no GPU has none again (cudaSetDevice back to "its" GPU 0 would make a context there of
/// some hundred MiB). Calls in the scope are allowed while another thread captures a graph: none of
/// them is of what is captured.
class OnCudaDevice {
 public:
  explicit OnCudaDevice(int device);
  ~OnCudaDevice();
  OnCudaDevice(const OnCudaDevice&) = delete;
  OnCudaDevice& operator=(const OnCudaDevice&) = delete;
  [[nodiscard]] const Status& status() const noexcept { return status_; }

 private:
  Status status_;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;  // the thread's, to be given back
};

}  // namespace terrace
