// What CudaDeviceMemory makes of what CUDA answers, over a runtime that answers as the test wants.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/checksum.h"
#include "base/cuda_driver.h"
#include "tests/tiers/fake_cuda.h"
#include "tiers/hbm/cuda/cuda_device_memory.h"

namespace terrace {
namespace {

using testing::FakeCuda;

class CudaDeviceTest : public ::testing::Test {
 protected:
  CudaDeviceTest() { FakeCuda::Get() = {}; }
  static std::unique_ptr<DeviceMemory> Open(int index = 0) {
    auto device = CudaDeviceMemory::Open(index);
    EXPECT_TRUE(device.ok()) << device.status().ToString();
    return std::move(*device);
  }
};

TEST_F(CudaDeviceTest, ABatchThatRunsIsNotEndedWhenTheDeviceFailsInAnotherCall) {
  const std::unique_ptr<DeviceMemory> device = Open();
  std::vector<std::byte> from(4096, std::byte{1});
  std::vector<std::byte> to(4096);
  const DeviceCopy copy{.to = to.data(), .from = from.data(), .bytes = to.size()};
  FakeCuda::Get().running = true;
  const auto slot = device->Submit({.direction = CopyDirection::kOut,
                                    .urgency = CopyUrgency::kDemand,
                                    .copies = {&copy, 1},
                                    .pieces = {}});
  ASSERT_TRUE(slot.ok());
  EXPECT_EQ(device->Poll(*slot, {}), std::nullopt);
  FakeCuda::Get().malloc_error = cudaErrorIllegalAddress;
  EXPECT_FALSE(device->Allocate(4096).ok());
  ASSERT_FALSE(device->health().ok());
  EXPECT_EQ(device->Poll(*slot, {}), std::nullopt) << "the GPU still writes";
  FakeCuda::Get().running = false;
  const std::optional<Status> ended = device->Poll(*slot, {});
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->code(), StatusCode::kIo);
}

TEST_F(CudaDeviceTest, AGpuThatCannotRunTheKernelIsRefusedAtTheStart) {
  const auto device = Open();
  EXPECT_EQ(FakeCuda::Get().launches, 4) << "else the first copy waits for the driver to load it";
  FakeCuda::Get().launch_error = cudaErrorNoKernelImageForDevice;
  EXPECT_EQ(CudaDeviceMemory::Open(0).code(), StatusCode::kIo);
  FakeCuda::Get() = {.wrong_sums = 1};
  const auto wrong = CudaDeviceMemory::Open(0);
  EXPECT_EQ(wrong.code(), StatusCode::kCorrupt);
  FakeCuda::Get() = {.miscopies = true};
  const auto miscopies = CudaDeviceMemory::Open(0);
  EXPECT_EQ(miscopies.code(), StatusCode::kCorrupt);
  EXPECT_NE(miscopies.status().message().find("copies other bytes"), std::string::npos);
}

/// Copies within the device of 300,032 and 4,096 bytes, and what their pieces would be.
class WithinTest : public CudaDeviceTest {
 protected:
  WithinTest() : device_(Open()) {
    for (std::size_t i = 0; i < from_.size(); ++i) from_[i] = static_cast<std::byte>(i * 13);
    FakeCuda::Get().launches = 0;
    FakeCuda::Get().copied_by_kernel = 0;
  }
  void Move() {
    const auto slot = device_->Submit({.direction = CopyDirection::kWithin,
                                       .urgency = CopyUrgency::kDemand,
                                       .copies = copies_,
                                       .pieces = pieces_});
    ASSERT_TRUE(slot.ok()) << slot.status().ToString();
    std::vector<std::uint64_t> sums(pieces_.size());
    const std::optional<Status> ended = device_->Poll(*slot, sums);
    ASSERT_TRUE(ended.has_value() && ended->ok());
    for (std::size_t i = 0; i < sums.size(); ++i) {
      EXPECT_EQ(sums[i], Checksum64({pieces_[i].at, pieces_[i].bytes})) << "piece " << i;
    }
    for (const DeviceCopy& copy : copies_) {
      EXPECT_TRUE(std::equal(copy.to, copy.to + copy.bytes, copy.from));
    }
  }

  struct alignas(16) Line {
    std::byte bytes[16];
  };
  static constexpr std::size_t kFirst = 300'032;
  std::vector<Line> from_lines_{32'768};
  std::vector<Line> to_lines_{32'768};
  std::span<std::byte> from_ = std::as_writable_bytes(std::span(from_lines_));
  std::span<std::byte> to_ = std::as_writable_bytes(std::span(to_lines_));
  const std::unique_ptr<DeviceMemory> device_;
  std::vector<DeviceCopy> copies_ = {{.to = to_.data(), .from = from_.data(), .bytes = kFirst},
                                     {.to = &to_[400'000], .from = &from_[400'000], .bytes = 4096}};
  std::vector<DevicePiece> pieces_ = {{.at = to_.data(), .bytes = 262'144},
                                      {.at = &to_[262'144], .bytes = kFirst - 262'144},
                                      {.at = &to_[400'000], .bytes = 4096}};
};

TEST_F(WithinTest, CopiesThatAreSummedAnywayAreMadeByTheKernelThatSumsThem) {
  Move();
  EXPECT_EQ(FakeCuda::Get().launches, 1);
  EXPECT_EQ(FakeCuda::Get().copied_by_kernel, kFirst + 4096) << "else memory is read twice";
}

TEST_F(WithinTest, WhatThePiecesDoNotCoverIsCopiedAllTheSame) {
  pieces_.erase(pieces_.begin() + 1);
  Move();
  pieces_.clear();
  Move();
  pieces_ = {{.at = to_.data(), .bytes = 100'000}};  // the first copy's begin, and no more
  Move();
  copies_ = {{.to = to_.data() + 1, .from = from_.data() + 1, .bytes = 160}};
  pieces_ = {{.at = to_.data() + 1, .bytes = 160}};  // aligned for no kernel
  Move();
  EXPECT_EQ(FakeCuda::Get().copied_by_kernel, 0U);
}

TEST_F(CudaDeviceTest, AHandleOfAnotherGpuIsRefusedByName) {
  const std::unique_ptr<DeviceMemory> device = Open();
  const DeviceExport exported{.gpu = device->uuid(),
                              .handle = std::vector<std::byte>(sizeof(cudaIpcMemHandle_t)),
                              .offset = 0,
                              .bytes = 4096};
  FakeCuda::Get().owner = 1;
  const auto refused = device->OpenExport(exported);
  EXPECT_EQ(refused.code(), StatusCode::kInvalid);
  EXPECT_NE(refused.status().message().find("handle: it is of memory of GPU 1"), std::string::npos)
      << refused.status().message();
  EXPECT_EQ(FakeCuda::Get().mapped, 0);
  FakeCuda::Get().owner = 0;
  const auto opened = device->OpenExport(exported);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  EXPECT_EQ(opened->size(), 4096U);
  device->CloseExport(*opened);
  EXPECT_EQ(FakeCuda::Get().mapped, 0);
}

TEST_F(CudaDeviceTest, MappingsThatOverlapAreClosedEachAsItWasOpened) {
  const std::unique_ptr<DeviceMemory> device = Open();
  // Allocations that share a page of the GPU: both mappings reach to its end.
  DeviceExport exported{.gpu = device->uuid(),
                        .handle = std::vector<std::byte>(sizeof(cudaIpcMemHandle_t)),
                        .offset = 0,
                        .bytes = 4096};
  const auto first = device->OpenExport(exported);
  exported.handle.back() = std::byte{1};
  exported.offset = 8192;
  const auto second = device->OpenExport(exported);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(FakeCuda::Get().mapped, 2);
  device->CloseExport(*second);
  EXPECT_EQ(FakeCuda::Get().mapped, 1);
  device->CloseExport(*first);
  EXPECT_EQ(FakeCuda::Get().mapped, 0);
}

TEST_F(CudaDeviceTest, WhereTheDriverKnowsNoRangeOfAMappingItsAttributesTell) {
  FakeCuda::Get().knows_no_range = true;
  const std::unique_ptr<DeviceMemory> device = Open();
  DeviceExport exported{.gpu = device->uuid(),
                        .handle = std::vector<std::byte>(sizeof(cudaIpcMemHandle_t)),
                        .offset = (1 << 20) - 4096,
                        .bytes = 4096};
  const auto opened = device->OpenExport(exported);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  device->CloseExport(*opened);
  exported.bytes = 4097;
  EXPECT_EQ(device->OpenExport(exported).code(), StatusCode::kInvalid);
}

TEST_F(CudaDeviceTest, AScopeOnAGpuGivesTheThreadBackAsItWas) {
  int current = -1;
  {
    const OnCudaDevice scope(1);
    ASSERT_TRUE(scope.status().ok()) << scope.status().ToString();
    EXPECT_EQ(cudaGetDevice(&current), cudaSuccess);
    EXPECT_EQ(current, 1);
    // What an engine captures meanwhile is not broken by calls of ours.
    EXPECT_EQ(FakeCuda::Get().capture_mode, cudaStreamCaptureModeRelaxed);
  }
  EXPECT_EQ(cudaGetDevice(&current), cudaSuccess);
  EXPECT_EQ(current, 0);
  EXPECT_EQ(FakeCuda::Get().capture_mode, cudaStreamCaptureModeGlobal);
  FakeCuda::Get().lost = 1;
  EXPECT_EQ(OnCudaDevice(1).status().code(), StatusCode::kIo);
  FakeCuda::Get().lost = -1;
  FakeCuda::Get().was_reset = true;  // cudaDeviceReset: what was retained is of no use any more
  EXPECT_TRUE(OnCudaDevice(1).status().ok());
  EXPECT_EQ(FakeCuda::Get().capture_mode, cudaStreamCaptureModeGlobal);
}

TEST_F(CudaDeviceTest, MemoryIsUnpinnedByAnotherGpuWhenTheLastThatPinnedItIsLost) {
  const std::unique_ptr<DeviceMemory> device = Open(0);
  const std::unique_ptr<DeviceMemory> other = Open(1);
  std::vector<std::byte> memory(4096);
  ASSERT_TRUE(device->PinHost(memory).ok());
  FakeCuda::Get().lost = 0;
  EXPECT_TRUE(device->UnpinHost(memory).ok());
  EXPECT_EQ(FakeCuda::Get().unregistered, 1);
}

TEST_F(CudaDeviceTest, RenewedMemoryIsZeroAndItsFailureLeavesTheDeviceAsItWas) {
  const std::unique_ptr<DeviceMemory> device = Open();
  const auto first = device->Renew(nullptr, 4096);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  (*first)[7] = std::byte{1};
  const auto second = device->Renew(*first, 4096);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  for (int i = 0; i < 4096; ++i) ASSERT_EQ((*second)[i], std::byte{0});
  FakeCuda::Get().malloc_error = cudaErrorMemoryAllocation;
  EXPECT_EQ(device->Renew(*second, 4096).code(), StatusCode::kRetry);
  // Of another thread: what is sticky is found by the next Poll.
  FakeCuda::Get().malloc_error = cudaErrorIllegalAddress;
  EXPECT_EQ(device->Renew(nullptr, 4096).code(), StatusCode::kIo);
  EXPECT_TRUE(device->health().ok());
}

}  // namespace
}  // namespace terrace
