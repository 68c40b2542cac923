// LentGpus: what is mapped of GPUs, and of which none is asked for any more.
#include "client/regions/lent_gpus.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>

#include "client/regions/device_memory.h"

namespace terrace {
namespace {

class LentGpusTest : public ::testing::Test {
 protected:
  LentGpusTest() {
    SetDeviceMapperForTest({.map = [this](const DeviceExport&) -> Result<std::span<std::byte>> {
                              ++maps_;
                              return std::span<std::byte>(memory_);
                            },
                            .unmap = [](std::span<std::byte>) {}});
  }
  ~LentGpusTest() override { SetDeviceMapperForTest({}); }
  static DeviceExport Of(const std::string& gpu) {
    return {.gpu = gpu, .handle = {}, .offset = 0, .bytes = 16};
  }

  LentGpus gpus_;
  std::array<std::byte, 16> memory_{};
  int maps_ = 0;
};

TEST_F(LentGpusTest, NothingIsMappedOfAGpuThatNoLendHasNamed) {
  EXPECT_EQ(gpus_.Map(Of("GPU-1")).code(), StatusCode::kUnsupported);
  EXPECT_EQ(maps_, 0);
  ASSERT_TRUE(gpus_.Ask("GPU-1"));
  EXPECT_TRUE(gpus_.Map(Of("GPU-1")).ok());
  EXPECT_EQ(gpus_.Map(Of("GPU-2")).code(), StatusCode::kUnsupported);
  EXPECT_EQ(maps_, 1);
}

TEST_F(LentGpusTest, WhatIsRefusedIsAskedForNoMoreAndTheReasonKept) {
  gpus_.Refuse("GPU-1", Status(StatusCode::kUnsupported, "before anybody asked"));
  EXPECT_TRUE(gpus_.RefusalOf("GPU-1").ok()) << "a daemon cannot fill this with names";
  ASSERT_TRUE(gpus_.Ask("GPU-1"));
  gpus_.Refuse("GPU-1", Status(StatusCode::kPeerDead, "why"));
  gpus_.Refuse("GPU-1", Status(StatusCode::kIo, "later"));
  EXPECT_FALSE(gpus_.Ask("GPU-1"));
  EXPECT_EQ(gpus_.RefusalOf("GPU-1").message(), "why");
  EXPECT_TRUE(gpus_.Ask("GPU-2"));
}

}  // namespace
}  // namespace terrace
