// A CUDA runtime without a GPU, for what CudaDeviceMemory makes of its answers: two devices, whose
// memory is the host's and whose work is done as it is queued, but counts as under way as long as a
// test says so. What the functions below answer is set here.
//
// Thread: one.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace terrace::testing {

struct FakeCuda {
  bool running = false;  ///< events have not come
  cudaError_t malloc_error = cudaSuccess;
  cudaError_t launch_error = cudaSuccess;
  std::uint64_t wrong_sums = 0;  ///< is added to the checksums
  bool miscopies = false;        ///< the kernel does
  int launches = 0;
  std::uint64_t copied_by_kernel = 0;  ///< bytes
  int owner = 0;                       ///< device of the memory that handles name
  int mapped = 0;                      ///< handles open now
  bool knows_no_range = false;         ///< cuMemGetAddressRange
  int lost = -1;                       ///< a device that cannot be made current any more
  bool was_reset = false;              ///< the contexts known so far are no more
  int unregistered = 0;                ///< calls of cudaHostUnregister
  cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;  ///< the thread's

  static FakeCuda& Get();
};

}  // namespace terrace::testing
