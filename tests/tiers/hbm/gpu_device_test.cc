// The suite of device memories on GPU 0; every test skips where there is none.
#include <gtest/gtest.h>

#include "tests/tiers/hbm/device_memory_fixture.h"
#include "tiers/hbm/gpus.h"

namespace terrace {
namespace {

Result<std::unique_ptr<DeviceMemory>> MakeGpu() { return OpenGpu(0); }
INSTANTIATE_TEST_SUITE_P(Gpu, DeviceMemoryTest, testing::Values(DeviceMemoryKind{"cuda", &MakeGpu}),
                         KindName);

TEST(GpusTest, AGpuThatDoesNotExistIsNamedWithThoseThatDo) {
  const GpusFound found = FindGpus();
  if (found.gpus.empty()) GTEST_SKIP() << DescribeGpus(found);
  const auto opened = OpenGpu(99);
  EXPECT_EQ(opened.code(), StatusCode::kInvalid);
  EXPECT_NE(opened.status().message().find(found.gpus[0].name), std::string::npos)
      << opened.status().ToString();
}

}  // namespace
}  // namespace terrace
