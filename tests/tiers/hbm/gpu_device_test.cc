// The suite of device memories on GPU 0; every test skips where there is none.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "tests/tiers/hbm/device_memory_fixture.h"
#include "tiers/hbm/gpus.h"

namespace terrace {
namespace {

Result<std::unique_ptr<DeviceMemory>> MakeGpu() { return OpenGpu(0); }
INSTANTIATE_TEST_SUITE_P(Gpu, DeviceMemoryTest, testing::Values(DeviceMemoryKind{"cuda", &MakeGpu}),
                         KindName);

Task<void> HashNowhere(DeviceMemory* memory, DeviceAddress pool, std::span<std::byte> host) {
  std::vector<std::uint64_t> checksums(1);
  TaskScope others;
  const auto copy = [](DeviceMemory* on, DeviceAddress from,
                       std::span<std::byte> to) -> Task<void> {
    (void)co_await on->CopyOut(to, from, {}, CopyUrgency::kBackground);
  };
  const Status status = co_await memory->Checksum(16, 4096, checksums, CopyUrgency::kDemand);
  EXPECT_EQ(status.code(), StatusCode::kIo) << status.ToString();
  for (int i = 0; i < 40; ++i) others.Spawn(copy(memory, pool, host.subspan(0, 4096)));
  co_await others.Join();  // none of them hangs
  EXPECT_EQ(memory->State().message(), status.message());
  EXPECT_EQ((co_await memory->CopyIn(pool, host, {}, CopyUrgency::kDemand)).message(),
            status.message());
}

// It breaks the process's context, so it is a process of its own.
TEST_P(DeviceMemoryTest, AnErrorThatStaysIsAnsweredByEveryCall) {
  if (std::getenv("TERRACE_TEST_BREAKS") != nullptr) {
    Run(HashNowhere(memory_.get(), pool_, host_.all()));
    EXPECT_FALSE(memory_->State().ok());
    EXPECT_EQ(memory_->Allocate(4096).status().message(), memory_->State().message());
    return;
  }
  const std::string command =
      "TERRACE_TEST_BREAKS=1 exec \"$0\" --gtest_filter=*AnErrorThatStays* 1>&2";
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), self.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

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
