// What CUDA answers, as a Status.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

#include "base/status.h"

namespace terrace {

/// Ok, or a Status that names the call and the error. No memory is kRetry, no device or driver
/// kUnsupported, and what the driver does not offer, too; everything else kIo. Clears the error
/// when it was of this call alone: one that the context keeps comes again with the next call.
inline Status CudaStatus(cudaError_t error, const char* call) {
  if (error == cudaSuccess) {
    return {};
  }
  (void)cudaGetLastError();
  std::string message =
      std::string(call) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error);
  switch (error) {
    case cudaErrorMemoryAllocation: return {StatusCode::kRetry, std::move(message)};
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorNotSupported:
    case cudaErrorInvalidDevice: return {StatusCode::kUnsupported, std::move(message)};
    default: return {StatusCode::kIo, std::move(message)};
  }
}

/// cudaMalloc that keeps the type; null after an error.
template <typename T>
cudaError_t AllocateDevice(T*& memory, std::size_t bytes) noexcept {
  void* allocated = nullptr;
  const cudaError_t error = cudaMalloc(&allocated, bytes);
  memory = error == cudaSuccess ? static_cast<T*>(allocated) : nullptr;
  return error;
}

}  // namespace terrace

/// Returns the Status of a CUDA call when it failed.
#define TERRACE_CUDA_TRY(call)                                                \
  do {                                                                        \
    if (const cudaError_t cuda_error_ = (call); cuda_error_ != cudaSuccess) { \
      return ::terrace::CudaStatus(cuda_error_, #call);                       \
    }                                                                         \
  } while (false)
