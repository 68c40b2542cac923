// Extents that clients of one tenant may map: what they can do with them, and who gets them next.
// The clients are mappings in this process, made from the descriptors that a client would be sent.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tiers/dram/frame_arena.h"

namespace terrace {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlock = 64 << 10;
constexpr std::uint64_t kExtent = 2 * kMiB;

std::unique_ptr<FrameArena> MakeArena(std::uint64_t capacity, bool lendable = true,
                                      Nanos patience = 100 * kSecond) {
  auto arena = FrameArena::Create({.capacity_bytes = capacity,
                                   .extent_bytes = kExtent,
                                   .name = "lent",
                                   .lendable = lendable,
                                   .let_go_patience = patience});
  EXPECT_TRUE(arena.ok()) << arena.status().ToString();
  return arena.ok() ? std::move(arena).value() : nullptr;
}

/// What a client has of an extent.
class Mapping {
 public:
  explicit Mapping(const SharedExtent& extent) : bytes_(extent.bytes) {
    void* const at = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, extent.descriptor, 0);
    EXPECT_NE(at, MAP_FAILED) << std::strerror(errno);
    begin_ = static_cast<std::byte*>(at);
  }
  ~Mapping() {
    if (begin_ != nullptr) ::munmap(begin_, bytes_);
  }
  Mapping(Mapping&& other) noexcept
      : begin_(std::exchange(other.begin_, nullptr)), bytes_(other.bytes_) {}
  Mapping& operator=(Mapping&&) = delete;

  [[nodiscard]] std::byte* begin() const { return begin_; }
  [[nodiscard]] std::byte at(std::uint64_t offset) const { return begin_[offset]; }
  /// Whether every byte is 0 or `byte`.
  [[nodiscard]] bool HoldsOnly(std::byte byte) const {
    return std::all_of(begin_, begin_ + bytes_,
                       [byte](std::byte b) { return b == std::byte{0} || b == byte; });
  }

 private:
  std::byte* begin_ = nullptr;
  std::uint64_t bytes_;
};

/// Until `done` answers true; 20 s are more than 10 times what any of these takes.
bool Eventually(const std::function<bool()>& done) {
  for (int tries = 0; tries < 20'000; ++tries) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

/// As many blocks as the tenant gets, each byte of them `byte`.
std::vector<FrameId> Fill(FrameArena& arena, TenantId tenant, std::byte byte,
                          std::size_t blocks = ~std::size_t{0}) {
  std::vector<FrameId> frames;
  while (frames.size() < blocks) {
    const auto frame = arena.Allocate(tenant, kBlock);
    if (!frame.ok()) break;
    std::memset(arena.Payload(*frame).data(), std::to_integer<int>(byte), kBlock);
    frames.push_back(*frame);
  }
  return frames;
}

void FreeAll(FrameArena& arena, const std::vector<FrameId>& frames) {
  for (const FrameId frame : frames) arena.Free(frame);
}

bool Gets(FrameArena& arena, TenantId tenant, FrameId* frame) {
  return Eventually([&] {
    const auto got = arena.Allocate(tenant, kBlock);
    if (got.ok()) *frame = *got;
    return got.ok();
  });
}

class LentExtentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Asked of the kernel itself: a mistake of ours must not look like an old kernel.
    const int descriptor = ::memfd_create("terrace:test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    const bool seals = ::fcntl(descriptor, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0;
    ::close(descriptor);
    if (!seals || ::access("/proc/self/fd", X_OK) != 0) GTEST_SKIP() << "no seals, or no /proc";
    const auto arena = MakeArena(kExtent);
    const FrameId frame = arena->Allocate(1, kBlock).value();
    const auto shared = arena->ShareExtent(arena->PlaceForLending(frame).extent, 1);
    ASSERT_TRUE(shared.ok()) << shared.status().ToString();
  }
};

TEST_F(LentExtentTest, ClientsSeeWhatTheArenaWritesWhereItSaysThatItIs) {
  const auto arena = MakeArena(4 * kExtent);
  const std::vector<FrameId> frames = Fill(*arena, 1, std::byte{0});
  std::map<std::uint32_t, Mapping> mappings;
  for (const FrameId frame : frames) {
    const LentPlace place = arena->PlaceForLending(frame);
    ASSERT_EQ(place.edition, 1U);
    if (!mappings.contains(place.extent)) {
      const auto shared = arena->ShareExtent(place.extent, place.edition);
      ASSERT_TRUE(shared.ok()) << shared.status().ToString();
      ASSERT_EQ(shared->bytes, kExtent);
      mappings.emplace(place.extent, Mapping(*shared));
    }
    arena->Payload(frame).front() = std::byte{7};
    EXPECT_EQ(mappings.at(place.extent).at(place.offset), std::byte{7});
    arena->Payload(frame).front() = std::byte{0};
  }
  EXPECT_EQ(mappings.size(), 4U);
  EXPECT_EQ(arena->Stats().extents_shared, 4U);
}

TEST_F(LentExtentTest, NothingThatAClientIsGivenLetsItWrite) {
  const auto arena = MakeArena(kExtent);
  const FrameId frame = Fill(*arena, 1, std::byte{5}, 1).front();
  const SharedExtent shared = arena->ShareExtent(0, 1).value();
  // What it is given, and what a process of the daemon's own user can make of that.
  const std::string path = "/proc/self/fd/" + std::to_string(shared.descriptor);
  ASSERT_EQ(::fchmod(shared.descriptor, 0700), 0);
  const int again = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(again, 0);
  const std::byte byte{9};
  for (const int descriptor : {shared.descriptor, again}) {
    SCOPED_TRACE(descriptor == again ? "opened again for writing" : "as given");
    EXPECT_EQ(::mmap(nullptr, kExtent, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
              MAP_FAILED);
    EXPECT_EQ(::mmap(nullptr, kExtent, PROT_WRITE, MAP_SHARED, descriptor, 0), MAP_FAILED);
    EXPECT_EQ(::write(descriptor, &byte, 1), -1);
    EXPECT_EQ(::pwrite(descriptor, &byte, 1, 0), -1);
    EXPECT_EQ(::ftruncate(descriptor, 0), -1);
    EXPECT_EQ(::ftruncate(descriptor, 2 * kExtent), -1);
    EXPECT_EQ(::fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    EXPECT_EQ(::fallocate(descriptor, 0, 0, 2 * kExtent), -1);
    EXPECT_EQ(::fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE), -1);
    void* const at = ::mmap(nullptr, kExtent, PROT_READ, MAP_SHARED, descriptor, 0);
    ASSERT_NE(at, MAP_FAILED);
    EXPECT_EQ(::mprotect(at, 4096, PROT_READ | PROT_WRITE), -1);
    EXPECT_EQ(::mprotect(at, 4096, PROT_WRITE), -1);
    EXPECT_EQ(::madvise(at, 4096, MADV_REMOVE), -1);
    ::munmap(at, kExtent);
  }
  ::close(again);
  EXPECT_TRUE(
      std::ranges::all_of(arena->Payload(frame), [](std::byte b) { return b == std::byte{5}; }));
  EXPECT_TRUE(arena->ShareExtent(0, 1).ok()) << "a client changed the mode";
}

TEST_F(LentExtentTest, TheArenaStillReadsIntoWhatItShared) {
  const auto arena = MakeArena(kExtent);
  const FrameId frame = Fill(*arena, 1, std::byte{5}, 1).front();
  const Mapping client(arena->ShareExtent(0, 1).value());
  const std::uint64_t offset = arena->PlaceForLending(frame).offset;
  std::vector<std::byte> source(kBlock, std::byte{8});
  // As blocks come from a process of this host.
  iovec to{.iov_base = arena->Payload(frame).data(), .iov_len = kBlock};
  iovec from{.iov_base = source.data(), .iov_len = kBlock};
  ASSERT_EQ(::process_vm_readv(::getpid(), &to, 1, &from, 1, 0), static_cast<ssize_t>(kBlock));
  EXPECT_EQ(client.at(offset + kBlock - 1), std::byte{8});
  // As they come from a file.
  char name[] = "/tmp/terrace-lent-XXXXXX";
  const int file = ::mkstemp(name);
  ASSERT_GE(file, 0);
  ::unlink(name);
  std::ranges::fill(source, std::byte{3});
  ASSERT_EQ(::pwrite(file, source.data(), kBlock, 0), static_cast<ssize_t>(kBlock));
  ASSERT_EQ(::pread(file, arena->Payload(frame).data(), kBlock, 0), static_cast<ssize_t>(kBlock));
  ::close(file);
  EXPECT_EQ(client.at(offset), std::byte{3});
  // Pages that were never shared can be had after the seal as well.
  const std::vector<FrameId> more = Fill(*arena, 1, std::byte{6});
  EXPECT_EQ(client.at(arena->PlaceForLending(more.back()).offset), std::byte{6});
}

TEST_F(LentExtentTest, AnotherTenantGetsOtherMemoryAndAnotherEdition) {
  const auto arena = MakeArena(kExtent);
  FreeAll(*arena, Fill(*arena, 1, std::byte{0xaa}));
  std::vector<std::pair<std::uint32_t, std::uint32_t>> wanted;
  auto client = std::make_unique<Mapping>(arena->ShareExtent(0, 1).value());
  arena->OnExtentWanted([&](std::uint32_t extent, std::uint32_t edition) {
    wanted.emplace_back(extent, edition);
    client.reset();
  });
  EXPECT_EQ(arena->Allocate(2, kBlock).code(), StatusCode::kRetry) << "the same memory";
  EXPECT_EQ(arena->ShareExtent(0, 1).code(), StatusCode::kExpired) << "while it is replaced";
  FrameId frame = kNoFrame;
  ASSERT_TRUE(Gets(*arena, 2, &frame));
  EXPECT_EQ(wanted, (std::vector<std::pair<std::uint32_t, std::uint32_t>>{{0, 1}}));
  EXPECT_EQ(arena->PlaceForLending(frame).edition, 2U);
  EXPECT_EQ(arena->ShareExtent(0, 1).code(), StatusCode::kExpired);
  const Mapping other(arena->ShareExtent(0, 2).value());
  EXPECT_TRUE(other.HoldsOnly(std::byte{0})) << "bytes of the tenant before";
  std::ranges::fill(arena->Payload(frame), std::byte{0xbb});
  EXPECT_EQ(other.at(arena->PlaceForLending(frame).offset), std::byte{0xbb});
  EXPECT_EQ(arena->Stats().extents_replaced, 1U);
  EXPECT_EQ(arena->Stats().extents_not_let_go, 0U);
}

TEST_F(LentExtentTest, AMappingThatIsKeptKeepsTheMemoryWithItsTenant) {
  const auto arena = MakeArena(2 * kExtent, true, 20 * kMillisecond);
  const std::vector<FrameId> first = Fill(*arena, 1, std::byte{0xaa}, 1);
  const LentPlace place = arena->PlaceForLending(first.front());
  ASSERT_EQ(place.extent, 0U);
  auto kept = std::make_unique<Mapping>(arena->ShareExtent(place.extent, 1).value());
  FreeAll(*arena, first);
  // The other extent is the other tenant's at once, this one not.
  const std::vector<FrameId> others = Fill(*arena, 2, std::byte{0xbb});
  ASSERT_TRUE(Eventually([&] {
    arena->Poll();
    return arena->Stats().extents_not_let_go == 1;
  }));
  for (int tries = 0; tries < 100; ++tries) {
    ASSERT_EQ(arena->Allocate(2, kBlock).code(), StatusCode::kRetry);
  }
  EXPECT_EQ(arena->Stats().extents_not_let_go, 1U) << "tried again at once";
  EXPECT_TRUE(kept->HoldsOnly(std::byte{0xaa}));
  // Its own tenant goes on with it, in the same edition.
  const std::vector<FrameId> again = Fill(*arena, 1, std::byte{0xac}, 1);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(arena->PlaceForLending(again.front()).edition, 1U);
  EXPECT_EQ(kept->at(arena->PlaceForLending(again.front()).offset), std::byte{0xac});
  EXPECT_TRUE(arena->FramesInTheWay(again.front(), 2, kBlock).empty()) << "in vain";
  EXPECT_EQ(arena->FramesInTheWay(again.front(), 1, kBlock), again);
  EXPECT_TRUE(arena->ShareExtent(0, 1).ok());
  FreeAll(*arena, again);
  // Once the client let go, the other tenant gets it, after some more refusals.
  kept.reset();
  FrameId frame = kNoFrame;
  ASSERT_TRUE(Gets(*arena, 2, &frame));
  EXPECT_EQ(arena->PlaceForLending(frame).extent, 0U);
  EXPECT_EQ(arena->PlaceForLending(frame).edition, 2U);
  FreeAll(*arena, others);
}

TEST_F(LentExtentTest, AClientThatOpensWhatItHasAgainStillHasIt) {
  const auto arena = MakeArena(kExtent, true, 20 * kMillisecond);
  FreeAll(*arena, Fill(*arena, 1, std::byte{0xaa}));
  const SharedExtent shared = arena->ShareExtent(0, 1).value();
  ASSERT_EQ(::fchmod(shared.descriptor, 0700), 0);
  for (const int mode : {O_RDONLY, O_RDWR}) {
    const std::string path =
        "/proc/self/fd/" + std::to_string(arena->ShareExtent(0, 1)->descriptor);
    const int kept = ::open(path.c_str(), mode | O_CLOEXEC);
    if (kept < 0) {
      ASSERT_EQ(::fchmod(arena->ShareExtent(0, 1)->descriptor, 0700), 0);
    }
    ASSERT_GE(kept, 0);
    const std::uint64_t before = arena->Stats().extents_not_let_go;
    EXPECT_TRUE(Eventually([&] {
      EXPECT_EQ(arena->Allocate(2, kBlock).code(), StatusCode::kRetry);
      return arena->Stats().extents_not_let_go > before;
    }));
    ::close(kept);
  }
}

TEST_F(LentExtentTest, TheSameTenantHasItsExtentBackAsItWas) {
  const auto arena = MakeArena(kExtent);
  std::vector<FrameId> frames = Fill(*arena, 1, std::byte{1});
  const Mapping client(arena->ShareExtent(0, 1).value());
  for (int round = 0; round < 3; ++round) {
    FreeAll(*arena, frames);
    frames = Fill(*arena, 1, std::byte{2});
    ASSERT_EQ(frames.size(), 32U);
    EXPECT_EQ(arena->PlaceForLending(frames.front()).edition, 1U);
  }
  EXPECT_EQ(client.at(0), std::byte{2});
  EXPECT_EQ(arena->Stats().extents_replaced, 0U);
}

TEST_F(LentExtentTest, WhatWasNeverSharedIsCleanTooWhenAnotherTenantMayShareIt) {
  const auto arena = MakeArena(kExtent);
  FreeAll(*arena, Fill(*arena, 1, std::byte{0xaa}));
  FrameId frame = kNoFrame;
  ASSERT_TRUE(Gets(*arena, 2, &frame));
  const LentPlace place = arena->PlaceForLending(frame);
  const Mapping client(arena->ShareExtent(place.extent, place.edition).value());
  EXPECT_TRUE(client.HoldsOnly(std::byte{0})) << "bytes that tenant 1 left";
}

TEST(NotLendableTest, TenantsGiveWayAtOnceAndNothingIsShared) {
  const auto arena = MakeArena(kExtent, false);
  FreeAll(*arena, Fill(*arena, 1, std::byte{0xaa}));
  const auto frame = arena->Allocate(2, kBlock);
  ASSERT_TRUE(frame.ok());
  const LentPlace place = arena->PlaceForLending(*frame);
  EXPECT_EQ(place.edition, 2U) << "who asks by a place of tenant 1 gets tenant 2's memory";
  EXPECT_EQ(arena->ShareExtent(place.extent, place.edition).code(), StatusCode::kUnsupported);
  EXPECT_EQ(arena->Stats().extents_replaced, 0U);
}

TEST_F(LentExtentTest, AnExtentIsKeptForTheTenantThatWaitedForIt) {
  const auto arena = MakeArena(kExtent);
  const std::vector<FrameId> frames = Fill(*arena, 1, std::byte{1});
  const std::vector<FrameId> in_the_way = arena->FramesInTheWay(frames[3], 2, kBlock);
  EXPECT_EQ(in_the_way.size(), frames.size());
  FreeAll(*arena, in_the_way);
  EXPECT_EQ(arena->Allocate(2, kBlock).code(), StatusCode::kRetry);
  // The busier tenant asks far more often.
  ASSERT_TRUE(Eventually([&] {
    EXPECT_EQ(arena->Allocate(1, kBlock).code(), StatusCode::kRetry);
    return arena->Stats().extents_replaced == 1;
  }));
  EXPECT_EQ(arena->Allocate(1, kBlock).code(), StatusCode::kRetry);
  EXPECT_TRUE(arena->Allocate(2, kBlock).ok());
}

TEST_F(LentExtentTest, AnExtentThatNobodyComesForIsNotLost) {
  const auto arena = MakeArena(kExtent);
  FreeAll(*arena, Fill(*arena, 1, std::byte{1}));
  EXPECT_EQ(arena->Allocate(2, kBlock).code(), StatusCode::kRetry);
  FrameId frame = kNoFrame;
  EXPECT_TRUE(Gets(*arena, 1, &frame)) << "tenant 2 asked once and never again";
}

TEST_F(LentExtentTest, MemoryThatCannotBeHadIsTriedAgain) {
  const auto arena = MakeArena(kExtent, true, 20 * kMillisecond);
  FreeAll(*arena, Fill(*arena, 1, std::byte{1}));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const bool failed = Eventually(
      [&] { return !arena->Allocate(2, kBlock).ok() && arena->Stats().replace_failures >= 2; });
  const StatusCode own = arena->Allocate(1, kBlock).code();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(failed);
  EXPECT_EQ(own, StatusCode::kRetry) << "an extent whose memory is uncertain";
  EXPECT_EQ(arena->Stats().extents_replacing, 1U);
  FrameId frame = kNoFrame;
  EXPECT_TRUE(Gets(*arena, 2, &frame));
}

TEST_F(LentExtentTest, TheArenaGoesWhileAnExtentIsReplaced) {
  for (const bool kept : {true, false}) {
    auto arena = MakeArena(256 * kMiB);
    FreeAll(*arena, Fill(*arena, 1, std::byte{1}));
    std::vector<Mapping> client;
    if (kept) client.emplace_back(arena->ShareExtent(0, 1).value());
    EXPECT_EQ(arena->Allocate(2, kBlock).code(), StatusCode::kRetry);
    arena.reset();
    if (kept) EXPECT_TRUE(client.front().HoldsOnly(std::byte{1}));
  }
}

/// Tenants that fill their frames with one byte each, and clients that map, keep and let go as they
/// like.
class Contest {
 public:
  explicit Contest(std::uint64_t seed) : random_(seed) {
    arena_->OnExtentWanted([this](std::uint32_t extent, std::uint32_t) {
      const bool obedient = random_.Chance(0.9);
      if (obedient) {
        std::erase_if(clients_, [extent](const Client& c) { return c.extent == extent; });
      }
    });
  }
  void Step() {
    const auto tenant = static_cast<TenantId>(random_.Between(1, 3));
    const std::uint64_t bytes = random_.Between(1, 40) * 4096 - random_.Below(100);
    auto frame = arena_->Allocate(tenant, bytes);
    if (frame.code() == StatusCode::kRetry && !frames_.empty()) {
      Evict(tenant, bytes);
      frame = arena_->Allocate(tenant, bytes);
    }
    if (frame.ok()) {
      std::memset(arena_->Payload(*frame).data(), static_cast<int>(tenant), bytes);
      frames_[*frame] = tenant;
      ++got_[tenant];
      if (random_.Chance(0.05)) Share(*frame, tenant);
    }
    if (random_.Chance(0.02) && !clients_.empty()) {
      clients_.erase(clients_.begin() +
                     static_cast<std::ptrdiff_t>(random_.Below(clients_.size())));
    }
  }
  void Check() {
    for (const Client& client : clients_) {
      ASSERT_TRUE(client.mapping.HoldsOnly(static_cast<std::byte>(client.tenant)))
          << "extent " << client.extent << " of tenant " << client.tenant;
    }
    for (const auto& [frame, tenant] : frames_) {
      const auto bytes = arena_->Payload(frame);
      ASSERT_EQ(bytes.front(), static_cast<std::byte>(tenant));
      ASSERT_EQ(bytes.back(), static_cast<std::byte>(tenant));
    }
  }
  [[nodiscard]] ArenaStats Stats() const { return arena_->Stats(); }
  [[nodiscard]] std::uint64_t Got(TenantId tenant) { return got_[tenant]; }

 private:
  struct Client {
    std::uint32_t extent;
    TenantId tenant;
    Mapping mapping;
    Client(std::uint32_t e, TenantId t, Mapping m) : extent(e), tenant(t), mapping(std::move(m)) {}
    Client(Client&&) = default;
    Client& operator=(Client&& other) noexcept {
      std::destroy_at(this);
      return *std::construct_at(this, std::move(other));
    }
  };

  void Evict(TenantId tenant, std::uint64_t bytes) {
    auto victim = frames_.lower_bound(static_cast<FrameId>(random_.Below(8 * kExtent / 4096)));
    if (victim == frames_.end()) victim = frames_.begin();
    for (const FrameId frame : arena_->FramesInTheWay(victim->first, tenant, bytes)) {
      arena_->Free(frame);
      frames_.erase(frame);
    }
  }
  void Share(FrameId frame, TenantId tenant) {
    const LentPlace place = arena_->PlaceForLending(frame);
    const auto shared = arena_->ShareExtent(place.extent, place.edition);
    ASSERT_TRUE(shared.ok()) << shared.status().ToString();
    clients_.emplace_back(place.extent, tenant, Mapping(*shared));
  }

  SeededRandom random_;
  std::unique_ptr<FrameArena> arena_ = MakeArena(8 * kExtent, true, 5 * kMillisecond);
  std::map<FrameId, TenantId> frames_;
  std::vector<Client> clients_;
  std::map<TenantId, std::uint64_t> got_;
};

TEST_F(LentExtentTest, NoClientEverSeesAnotherTenantsBytes) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Contest contest(seed);
    for (int step = 0; step < 4000; ++step) {
      ASSERT_NO_FATAL_FAILURE(contest.Step());
      if (step % 500 == 0) ASSERT_NO_FATAL_FAILURE(contest.Check());
    }
    ASSERT_NO_FATAL_FAILURE(contest.Check());
    EXPECT_GT(contest.Stats().extents_replaced, 0U);
    for (const TenantId tenant : {1U, 2U, 3U}) EXPECT_GT(contest.Got(tenant), 0U);
  }
}

}  // namespace
}  // namespace terrace
