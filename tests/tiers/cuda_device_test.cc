// What CudaDeviceMemory makes of what CUDA answers, over a runtime that answers as the test wants.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

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
  EXPECT_EQ(FakeCuda::Get().launches, 1) << "else the first copy waits for the driver to load it";
  FakeCuda::Get().launch_error = cudaErrorNoKernelImageForDevice;
  EXPECT_EQ(CudaDeviceMemory::Open(0).code(), StatusCode::kIo);
  FakeCuda::Get() = {.wrong_sums = 1};
  const auto wrong = CudaDeviceMemory::Open(0);
  EXPECT_EQ(wrong.code(), StatusCode::kCorrupt);
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

}  // namespace
}  // namespace terrace
