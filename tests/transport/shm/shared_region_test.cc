// Memory that a client shares: what is not fit is refused, and what is taken away stops nobody.
#include "transport/shm/shared_region.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/transport/harness.h"
#include "transport/remote_regions.h"
#include "transport/shm/guarded_copy.h"

namespace terrace::test {
namespace {

constexpr std::size_t kPage = 4096;

UniqueFd MakeMemory(std::size_t bytes, int seals) {
  UniqueFd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
  if (seals != 0) EXPECT_EQ(::fcntl(file.get(), F_ADD_SEALS, seals), 0);
  return file;
}

TEST(SharedRegionTest, BothSidesSeeTheSameBytes) {
  const std::size_t size = 5 * kPage + 100;
  const UniqueFd file = MakeMemory(size, F_SEAL_SHRINK);
  std::vector<std::byte> pattern(size);
  FillPattern(pattern, 3);
  ASSERT_EQ(::pwrite(file.get(), pattern.data(), size, 0), static_cast<ssize_t>(size));
  const auto region =
      std::move(SharedRegion::Map(file.get(), size, SharedMemoryUse::OfOneClient())).value();
  std::vector<std::byte> found(size - 50);
  EXPECT_TRUE(region->Read(50, found));
  EXPECT_TRUE(std::equal(found.begin(), found.end(), pattern.begin() + 50));
  std::reverse(found.begin(), found.end());
  EXPECT_TRUE(region->Write(50, found));
  std::vector<std::byte> written(found.size());
  ASSERT_EQ(::pread(file.get(), written.data(), written.size(), 50),
            static_cast<ssize_t>(written.size()));
  EXPECT_EQ(written, found);
}

TEST(SharedRegionTest, MemoryThatCouldShrinkOrIsNoneIsRefused) {
  const auto refused = [](int file, std::uint64_t bytes) {
    return SharedRegion::Map(file, bytes, SharedMemoryUse::OfOneClient()).status().code();
  };
  EXPECT_EQ(refused(MakeMemory(kPage, 0).get(), kPage), StatusCode::kInvalid) << "not sealed";
  EXPECT_EQ(refused(MakeMemory(kPage, F_SEAL_GROW).get(), kPage), StatusCode::kInvalid);
  EXPECT_EQ(refused(MakeMemory(kPage, F_SEAL_SHRINK).get(), kPage + 1), StatusCode::kInvalid);
  EXPECT_EQ(refused(MakeMemory(kPage, F_SEAL_SHRINK).get(), 0), StatusCode::kInvalid);
  EXPECT_EQ(refused(MakeMemory(kPage, F_SEAL_SHRINK).get(), ~0ULL), StatusCode::kInvalid);
  EXPECT_NE(refused(::fileno(stdin), kPage), StatusCode::kOk);
  EXPECT_EQ(refused(-1, kPage), StatusCode::kInvalid);
}

TEST(SharedRegionTest, WhatOneClientSharesLeavesRoomForTheDaemonAndForOthers) {
  constexpr std::uint64_t kMiB = 1 << 20;
  const auto all = std::make_shared<SharedMemoryUse>(
      SharedMemoryUse::Limit{.bytes = 10 * kMiB, .regions = 5}, nullptr);
  const SharedMemoryUse::Limit part{.bytes = 6 * kMiB, .regions = 3};
  const auto greedy = std::make_shared<SharedMemoryUse>(part, all);
  const auto other = std::make_shared<SharedMemoryUse>(part, all);
  const UniqueFd file = MakeMemory(16 * kMiB, F_SEAL_SHRINK);  // no page of it exists
  const auto code = [&](std::uint64_t bytes, const std::shared_ptr<SharedMemoryUse>& use) {
    return SharedRegion::Map(file.get(), bytes, use).status().code();
  };
  EXPECT_EQ(code(6 * kMiB + 1, greedy), StatusCode::kRetry);
  auto first = SharedRegion::Map(file.get(), 6 * kMiB, greedy);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_EQ(code(1, greedy), StatusCode::kRetry) << "no more bytes of its own";
  EXPECT_EQ(code(5 * kMiB, other), StatusCode::kRetry) << "no more bytes of all";
  auto second = SharedRegion::Map(file.get(), 4 * kMiB, other);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ(code(0, other), StatusCode::kInvalid) << "a failure takes nothing";
  first = Status::Invalid("gone");
  std::vector<std::shared_ptr<SharedRegion>> small;
  for (const auto until = std::chrono::steady_clock::now() + kPatience;
       small.size() < 3 && std::chrono::steady_clock::now() < until;) {
    auto next = SharedRegion::Map(file.get(), 1, greedy);
    if (next.ok()) small.push_back(std::move(next.value()));  // given back elsewhere, soon
  }
  EXPECT_EQ(small.size(), 3U) << "it came back";
  EXPECT_EQ(code(1, greedy), StatusCode::kRetry) << "no more regions of its own";
}

TEST(SharedRegionTest, MemoryThatComesLateOrNeverGetsARegionIsLetGoOf) {
  const UniqueFd file = MakeMemory(kPage, F_SEAL_SHRINK);
  auto shared =
      std::move(SharedRegion::Map(file.get(), kPage, SharedMemoryUse::OfOneClient()).value());
  const std::weak_ptr<SharedRegion> kept = shared;
  RemoteRegions regions(10);
  regions.Share(1, std::move(shared));
  EXPECT_FALSE(kept.expired());
  regions.Remove(1);
  EXPECT_TRUE(kept.expired());
}

TEST(GuardedCopyTest, PagesThatAreGoneEndTheCopyWithoutASignal) {
  const UniqueFd file = MakeMemory(4 * kPage, 0);
  void* const mapping =
      ::mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  const std::span bytes(static_cast<std::byte*>(mapping), 4 * kPage);
  FillPattern(bytes, 9);
  std::vector<std::byte> copy(bytes.size());
  ASSERT_TRUE(GuardedCopy(copy.data(), bytes.data(), bytes.size(), bytes));
  EXPECT_TRUE(std::equal(copy.begin(), copy.end(), bytes.begin()));

  ASSERT_EQ(::ftruncate(file.get(), kPage), 0);
  EXPECT_FALSE(GuardedCopy(copy.data(), bytes.data(), bytes.size(), bytes));
  ASSERT_EQ(::ftruncate(file.get(), 0), 0);
  EXPECT_FALSE(GuardedCopy(bytes.data(), copy.data(), bytes.size(), bytes)) << "the first page";
  EXPECT_TRUE(GuardedCopy(bytes.data(), copy.data(), bytes.size(), bytes))
      << "each page is replaced once, and a good copy is not blamed for an earlier one";
  ::munmap(mapping, 4 * kPage);
}

using GuardedCopyDeathTest = testing::Test;

TEST(GuardedCopyDeathTest, AFaultElsewhereStillEndsTheProcess) {
  const UniqueFd file = MakeMemory(kPage, 0);
  void* const mapping = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  std::array<std::byte, 8> own{};
  std::array<std::byte, 8> copy{};
  ASSERT_TRUE(GuardedCopy(copy.data(), own.data(), own.size(), own));  // the handler is there
  ASSERT_EQ(::ftruncate(file.get(), 0), 0);
  EXPECT_DEATH((void)*static_cast<volatile std::byte*>(mapping), "");
  ::munmap(mapping, kPage);
}

TEST(GuardedCopyDeathTest, ASignalThatWasSentStillEndsTheProcess) {
  std::array<std::byte, 8> own{};
  std::array<std::byte, 8> copy{};
  ASSERT_TRUE(GuardedCopy(copy.data(), own.data(), own.size(), own));  // the handler is there
  const auto be_told = [] {
    ::kill(::getpid(), SIGBUS);
    ::_exit(0);
  };
  EXPECT_DEATH(be_told(), "");  // by the signal, or by the handler of a sanitizer
}

/// A pair over shm whose region 1 is said to lie where nothing is: only a daemon that maps it can
/// copy.
class SharedRegionLinkTest : public testing::Test {
 protected:
  SharedRegionLinkTest() {
    file_ = std::make_shared<const UniqueFd>(MakeMemory(kBytes, F_SEAL_SHRINK));
    void* const mapping =
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_->get(), 0);
    memory_ = {static_cast<std::byte*>(mapping), kBytes};
  }
  ~SharedRegionLinkTest() override { ::munmap(memory_.data(), memory_.size()); }

  void Share(Pair& pair, std::shared_ptr<const UniqueFd> file) {
    pair.Register(1, {NowherePointer(), kBytes}, std::move(file));
  }
  static std::byte* NowherePointer() {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address that nothing lies at
    return reinterpret_cast<std::byte*>(std::uintptr_t{1} << 44);
  }

  static constexpr std::size_t kBytes = 3 << 20;
  std::shared_ptr<const UniqueFd> file_;
  std::span<std::byte> memory_;
};

TEST_F(SharedRegionLinkTest, ADaemonThatMapsARegionCopiesByItself) {
  Pair pair(LinkKind::kShm);
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  Share(pair, file_);
  EXPECT_EQ(pair.counters().regions_shared.load(), 1U);
  std::vector<std::byte> frame(2 << 20);
  FillPattern(frame, 1);
  pair.Expect(1, {memory_.first(0)});
  EXPECT_EQ(Runner::Take(pair.Push(frame, 1, 4096), Status::Internal("hang")).ToString(), "ok");
  pair.Reply(1, 1);
  (void)pair.Withdraw(1);
  EXPECT_TRUE(std::equal(frame.begin(), frame.end(), memory_.begin() + 4096));

  // Two pieces, the later bytes first.
  std::vector<std::byte> pulled(1 << 20);
  std::vector<std::uint64_t> checksums;
  pair.Offer(2, {memory_.first(0)});
  EXPECT_EQ(
      Runner::Take(pair.Pull(pulled, 2, 0, {{1, 2 << 20, 600'000}, {1, 77, (1 << 20) - 600'000}},
                             &checksums),
                   Status::Internal("hang"))
          .ToString(),
      "ok");
  pair.Reply(2, 1);
  (void)pair.Withdraw(2);
  EXPECT_TRUE(std::equal(pulled.begin(), pulled.begin() + 600'000, memory_.begin() + (2 << 20)));
  EXPECT_TRUE(std::equal(pulled.begin() + 600'000, pulled.end(), memory_.begin() + 77));
  EXPECT_EQ(checksums, ChecksumsOf(pulled));
}

TEST_F(SharedRegionLinkTest, ADescriptorThatIsNotTheRegionsChangesNothing) {
  Pair pair(LinkKind::kShm);
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  // Real memory of this process, and something else as its file.
  pair.Register(1, memory_, std::make_shared<const UniqueFd>(MakeMemory(kBytes, 0)));
  pair.Register(2, memory_, std::make_shared<const UniqueFd>(MakeMemory(kPage, F_SEAL_SHRINK)));
  std::vector<std::byte> frame(1 << 20);
  FillPattern(frame, 4);
  pair.Expect(1, {memory_.first(1 << 20)});
  EXPECT_EQ(Runner::Take(pair.Push(frame, 1, 0), Status::Internal("hang")).ToString(), "ok");
  pair.Reply(1, 1);
  (void)pair.Withdraw(1);
  EXPECT_TRUE(std::equal(frame.begin(), frame.end(), memory_.begin()));
  EXPECT_EQ(pair.counters().regions_shared.load(), 0U);
}

}  // namespace
}  // namespace terrace::test
