// Device memory and streams of tests that need a GPU. Each begins with TERRACE_NEEDS_GPU, which
// skips it with a message on a machine without one.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "base/cuda_status.h"

namespace terrace::paged {

inline bool HasGpu() {
  int devices = 0;
  const bool found = cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
  (void)cudaGetLastError();
  return found;
}

#define TERRACE_NEEDS_GPU()                                                           \
  if (!::terrace::paged::HasGpu()) {                                                  \
    GTEST_SKIP() << "no GPU or no driver: run by tools/gpu-check where there is one"; \
  }

#define ASSERT_CUDA(call)                                                                    \
  do {                                                                                       \
    const cudaError_t cuda_error_ = (call);                                                  \
    ASSERT_EQ(cuda_error_, cudaSuccess) << #call << ": " << cudaGetErrorString(cuda_error_); \
  } while (false)

/// Device memory with a host copy of it.
class Mirrored {
 public:
  explicit Mirrored(std::size_t bytes) : host_(bytes) {
    EXPECT_EQ(AllocateDevice(device_, bytes), cudaSuccess);
  }
  ~Mirrored() { (void)cudaFree(device_); }
  Mirrored(const Mirrored&) = delete;
  Mirrored& operator=(const Mirrored&) = delete;

  std::byte* host() noexcept { return host_.data(); }
  std::byte* device() noexcept { return device_; }
  [[nodiscard]] std::size_t size() const noexcept { return host_.size(); }
  void Upload() {
    EXPECT_EQ(cudaMemcpy(device_, host_.data(), host_.size(), cudaMemcpyHostToDevice), cudaSuccess);
  }
  /// What the device has now.
  std::vector<std::byte> Download() const {
    std::vector<std::byte> bytes(host_.size());
    EXPECT_EQ(cudaMemcpy(bytes.data(), device_, bytes.size(), cudaMemcpyDeviceToHost), cudaSuccess);
    return bytes;
  }

 private:
  std::vector<std::byte> host_;
  std::byte* device_ = nullptr;
};

/// A table on the device.
template <typename T>
class OnGpu {
 public:
  explicit OnGpu(std::span<const T> values) {
    EXPECT_EQ(AllocateDevice(data_, values.size_bytes()), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~OnGpu() { (void)cudaFree(data_); }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;
  [[nodiscard]] const T* data() const noexcept { return data_; }

 private:
  T* data_ = nullptr;
};

}  // namespace terrace::paged
