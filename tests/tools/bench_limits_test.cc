// The limits of terrace-bench: that they move the bytes that they say, and leave nothing behind.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#include "tests/tools/bench_test_store.h"
#include "tools/bench/limits/bare_uring_loop.h"
#include "tools/bench/load/scratch_folder.h"
#include "tools/bench/measurement.h"

namespace terrace::bench {
namespace {

constexpr std::uint64_t kBlock = 64 << 10;

/// Containers often refuse io_uring; a benchmark needs it and says so, a test goes without.
bool RingIsRefused() {
  io_uring ring{};
  const bool refused = ::io_uring_queue_init(4, &ring, 0) != 0;
  if (!refused) ::io_uring_queue_exit(&ring);
  return refused;
}

TEST(BareUringLoop, ReadsBackAtEveryOffsetWhatItWrote) {
  if (RingIsRefused()) GTEST_SKIP() << "the kernel refuses io_uring";
  const BenchTestStore folder(1, 8, 1 << 20);
  const std::string path = folder.folder() + "/limit";
  ColdMemory written(16 * kBlock);
  ColdMemory read(16 * kBlock);
  for (std::size_t block = 0; block < 16; ++block) {
    std::memset(written.bytes().data() + block * kBlock, static_cast<int>(block + 1), kBlock);
  }
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t block = 0; block < 16; ++block) offsets.push_back(block * kBlock);
  BareUringLoop writer(path, BareUringLoop::Access::kWrite, 4, written);
  EXPECT_GT(writer.Run(offsets, kBlock).seconds, 0);
  BareUringLoop reader(path, BareUringLoop::Access::kRead, 4, read);
  std::reverse(offsets.begin(), offsets.end());
  EXPECT_GT(reader.Run(offsets, kBlock).seconds, 0);
  for (std::size_t block = 0; block < 16; ++block) {
    EXPECT_EQ(std::memcmp(read.bytes().data() + block * kBlock,
                          written.bytes().data() + (15 - block) * kBlock, kBlock),
              0)
        << block;
  }
}

TEST(BareUringLoop, ShortReadIsNoSpeed) {
  if (RingIsRefused()) GTEST_SKIP() << "the kernel refuses io_uring";
  const BenchTestStore store(1, 8, 1 << 20);
  ColdMemory memory(4 * kBlock);
  BareUringLoop reader(store.log(), BareUringLoop::Access::kRead, 4, memory);
  const std::uint64_t end = store.superblock().device_bytes;
  const std::uint64_t offsets[] = {0, end - kBlock / 2, kBlock, 2 * kBlock, end, 3 * kBlock};
  EXPECT_LT(reader.Run(offsets, kBlock).seconds, 0);
  EXPECT_GT(reader.Run(std::span(offsets).first(1), kBlock).seconds, 0) << "usable afterwards";
}

TEST(FindPayloads, FindsWhatLivesAndNotWhatEarlierGenerationsLeft) {
  BenchTestStore store(2, 8, 1 << 20);
  store.WriteSegment(0, 0, 1, 0);
  store.WriteSegment(1, 3, 2, 100);
  nvme::RecordHeader record;
  record.payload_bytes = 8192;
  record.generation = 1;
  record.page = 1;
  const std::uint64_t old = store.WriteRecord(record, "wanted");
  record.page = 4;
  store.WriteRecord(record, "other");
  record.page = 7;
  record.kind = nvme::RecordKind::kRemoval;
  record.payload_bytes = 0;
  store.WriteRecord(record, "wanted");
  record.page = 8;
  record.kind = nvme::RecordKind::kBlock;
  record.payload_bytes = 8192;
  const std::uint64_t second = store.WriteRecord(record, "wanted");
  record.slice = 1;
  record.segment = 3;
  record.generation = 2;
  record.page = 1;
  const std::uint64_t newest = store.WriteRecord(record, "wanted");
  record.page = 4;
  record.generation = 1;
  store.WriteRecord(record, "wanted");

  const auto all = FindPayloads(store.log(), "wanted", 8192, 10);
  ASSERT_TRUE(all.ok()) << all.status().ToString();
  EXPECT_EQ(*all, (std::vector<std::uint64_t>{newest, old, second}));
  EXPECT_EQ(FindPayloads(store.log(), "wanted", 8192, 1)->size(), 1U);
  EXPECT_EQ(FindPayloads(store.log(), "wanted", 4096, 10)->size(), 0U);
  EXPECT_EQ(FindPayloads(store.folder() + "/none", "wanted", 4096, 10).code(), StatusCode::kIo);
}

TEST(ScratchFolder, GigabytesAreGoneAlsoAfterKill) {
  const BenchTestStore parent(1, 8, 1 << 20);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const ScratchFolder scratch(parent.folder());
    std::filesystem::create_directories(scratch.path() + "/store/index");
    const std::string path = scratch.path() + "\n";
    if (::write(ends[1], path.data(), path.size()) < 0) ::_exit(1);
    ::pause();
  }
  ::close(ends[1]);
  std::string path;
  for (char next = 0; ::read(ends[0], &next, 1) == 1 && next != '\n';) path += next;
  ::close(ends[0]);
  EXPECT_TRUE(std::filesystem::exists(path + "/store/index")) << path;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::filesystem::exists(path) && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(CompareTotal, HigherRatioIsBetterForWhatShouldBeSmall) {
  const Figure figure = CompareTotal("x", "", "1.1", 1.1, 1.0, {1.0, 1.1, 1.2}, false);
  EXPECT_DOUBLE_EQ(figure.ratio, 1.1);
  EXPECT_LT(figure.ratio_low, figure.ratio_high);
  EXPECT_EQ(figure.rounds, 3);
  EXPECT_EQ(CompareTotal("x", "", "1.1", 1.1, 0, {0, 0}, false).rounds, 0)
      << "a daemon that writes nothing is not infinitely good";
}

}  // namespace
}  // namespace terrace::bench
