// Leases: a frame is never another's while a lease of it could still be believed.
#include "transport/shm/lease_board.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tests/base/simulated_time.h"
#include "transport/shm/lent_memory.h"

namespace terrace {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::size_t kFrames = 64;

/// A client's page with the daemon's board, and a sealed extent of kFrames frames.
class LeaseBoardTest : public ::testing::Test, protected Hold::Owner {
 protected:
  LeaseBoardTest() {
    auto page = SharedPage::Create(&page_fd_);
    EXPECT_TRUE(page.ok());
    page_ = page.value();
    MakeBoard(kFrames * kBlockBytes);
    client_page_ = std::move(SharedPage::Open(page_fd_.get())).value();
    extent_fd_ = UniqueFd(::memfd_create("extent", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(::ftruncate(extent_fd_.get(), kFrames * kBlockBytes), 0);
    EXPECT_EQ(::fcntl(extent_fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    frames_ = static_cast<std::byte*>(::mmap(nullptr, kFrames * kBlockBytes, PROT_READ | PROT_WRITE,
                                             MAP_SHARED, extent_fd_.get(), 0));
    mapping_ = std::move(ExtentMapping::Map(extent_fd_.get(), kFrames * kBlockBytes)).value();
  }
  ~LeaseBoardTest() override {
    board_.reset();
    ::munmap(frames_, kFrames * kBlockBytes);
  }

  void MakeBoard(std::uint64_t bytes_max) {
    board_ = std::make_unique<LeaseBoard>(page_, time_.scheduler(),
                                          LeaseBudget{counters_, 2 * bytes_max},
                                          LeaseBudget{device_counters_, 2 * bytes_max});
  }
  std::span<std::byte> Frame(std::size_t frame) {
    return {frames_ + frame * kBlockBytes, kBlockBytes};
  }
  Result<Loan> Lend(std::size_t frame, Nanos duration) {
    ++pins_[frame];
    return board_->Lend(Hold(Frame(frame), this, frame),
                        {.extent = 0, .edition = 1, .offset = frame * kBlockBytes},
                        time_.Now() + duration);
  }
  /// As the client gets it.
  std::unique_ptr<LentMemory> Take(const Loan& loan) {
    auto lent = LentMemory::Make(loan, client_page_, mapping_);
    EXPECT_TRUE(lent.ok()) << lent.status().ToString();
    return std::move(lent.value());
  }
  void Release(std::uint64_t frame) noexcept override {
    --pins_[frame];
    // Whoever gets the frame next writes to it at once.
    std::memset(Frame(frame).data(), 0xdd, kBlockBytes);
  }

  testing::SimulatedTime time_;
  LeaseCounters counters_;
  LeaseCounters device_counters_;
  UniqueFd page_fd_;
  std::shared_ptr<SharedPage> page_;         // the daemon's mapping
  std::shared_ptr<SharedPage> client_page_;  // the client's
  std::unique_ptr<LeaseBoard> board_;
  UniqueFd extent_fd_;
  std::byte* frames_ = nullptr;
  std::shared_ptr<const ExtentMapping> mapping_;
  std::array<int, kFrames> pins_{};
};

TEST_F(LeaseBoardTest, AReleasedLeaseGivesItsFrameBack) {
  const auto loan = Lend(3, kSecond);
  ASSERT_TRUE(loan.ok());
  const auto lent = Take(*loan);
  std::memset(Frame(3).data(), 5, kBlockBytes);
  EXPECT_EQ(lent->bytes().size(), kBlockBytes);
  EXPECT_EQ(lent->bytes()[100], std::byte{5});
  EXPECT_TRUE(lent->Release());
  EXPECT_FALSE(lent->Release()) << "twice";
  EXPECT_EQ(pins_[3], 1) << "not before the board looks";
  time_.RunUntil(time_.Now() + LeaseBoard::kCollectPeriod);
  EXPECT_EQ(pins_[3], 0);
  EXPECT_EQ(board_->leases(), 0u);
  EXPECT_EQ(counters_.released, 1u);
  EXPECT_EQ(counters_.bytes_now, 0u);
}

TEST_F(LeaseBoardTest, ALeaseThatIsTooOldIsExpiredForItsReader) {
  const auto loan = Lend(0, kSecond);
  const auto lent = Take(*loan);
  time_.RunUntil(time_.Now() + kSecond - LeaseBoard::kCollectPeriod);
  EXPECT_TRUE(lent->Intact());
  time_.RunUntil(time_.Now() + 3 * LeaseBoard::kCollectPeriod);
  EXPECT_EQ(pins_[0], 0);
  EXPECT_FALSE(lent->Intact()) << "the frame is somebody else's now";
  EXPECT_FALSE(lent->Release());
  EXPECT_EQ(counters_.expired, 1u);
}

TEST_F(LeaseBoardTest, TheEndOfTheBoardEndsEveryLease) {
  const auto first = Take(*Lend(0, 60 * kSecond));
  const auto second = Take(*Lend(1, 60 * kSecond));
  board_.reset();
  EXPECT_EQ(pins_[0] + pins_[1], 0);
  EXPECT_FALSE(first->Intact());
  EXPECT_FALSE(second->Release());
  EXPECT_EQ(counters_.now, 0u);
}

TEST_F(LeaseBoardTest, ALateReleaseDoesNotEndTheNextLeaseOfItsSlot) {
  const Loan old_loan = *Lend(0, 10 * kMillisecond);
  const auto old_lent = Take(old_loan);
  time_.RunUntil(time_.Now() + kSecond);
  const Loan next_loan = *Lend(1, 60 * kSecond);
  ASSERT_EQ(next_loan.slot, old_loan.slot);
  ASSERT_NE(next_loan.generation, old_loan.generation);
  // A client that released at the very moment when its lease ended.
  SharedLayout& layout = client_page_->layout();
  layout.released[old_loan.slot] = old_loan.generation;
  layout.released_bits[0].fetch_or(1);
  board_->Collect();
  EXPECT_EQ(pins_[1], 1);
  EXPECT_TRUE(Take(next_loan)->Intact());
}

TEST_F(LeaseBoardTest, NoGenerationOfASlotComesTwice) {
  board_ = std::make_unique<LeaseBoard>(page_, time_.scheduler(), LeaseBudget{counters_, 1 << 20},
                                        LeaseBudget{device_counters_, 1 << 20},
                                        std::numeric_limits<std::uint32_t>::max() - 2);
  std::vector<std::unique_ptr<LentMemory>> ended;
  std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
  for (int lease = 0; lease < 10; ++lease) {
    const Loan loan = *Lend(0, 60 * kSecond);
    EXPECT_TRUE(seen.emplace(loan.slot, loan.generation).second) << "lease " << lease;
    EXPECT_NE(loan.generation, 0u);
    ended.push_back(Take(loan));
    EXPECT_TRUE(ended.back()->Intact());
    LentMemory::GiveBack(client_page_->layout(), loan.slot, loan.generation);
    board_->Collect();
    for (const auto& lent : ended) EXPECT_FALSE(lent->Intact());
  }
  EXPECT_EQ(pins_[0], 0);
}

TEST_F(LeaseBoardTest, RubbishOnThePageEndsNothingThatWasNotReleased) {
  const Loan loan = *Lend(2, 60 * kSecond);
  SharedLayout& layout = client_page_->layout();
  for (auto& bits : layout.released_bits) bits = ~std::uint64_t{0};
  for (auto& released : layout.released) released = 0xabcdef;
  board_->Collect();
  EXPECT_EQ(pins_[2], 1);
  EXPECT_TRUE(Take(loan)->Intact());
}

TEST_F(LeaseBoardTest, BytesAndSlotsAreBounded) {
  MakeBoard(4 * kBlockBytes);
  std::vector<std::unique_ptr<LentMemory>> lent;
  for (std::size_t frame = 0; frame < 4; ++frame) lent.push_back(Take(*Lend(frame, kSecond)));
  EXPECT_EQ(Lend(4, kSecond).code(), StatusCode::kRetry);
  EXPECT_EQ(pins_[4], 0) << "what was refused is not held";
  lent.front()->Release();
  EXPECT_TRUE(Lend(4, kSecond).ok()) << "a release is seen when more is asked for";
  EXPECT_EQ(counters_.refused, 1u);
}

TEST_F(LeaseBoardTest, MemoryOfGpusHasABoundOfItsOwn) {
  MakeBoard(2 * kBlockBytes);
  const auto lend_of_gpu = [&](std::size_t frame) {
    ++pins_[frame];
    return board_->Lend(Hold(Frame(frame), this, frame),
                        {.extent = kDeviceExtentFirst + 3, .edition = 1, .offset = frame},
                        time_.Now() + kSecond);
  };
  ASSERT_TRUE(Lend(0, kSecond).ok());
  ASSERT_TRUE(Lend(1, kSecond).ok());
  EXPECT_EQ(Lend(2, kSecond).code(), StatusCode::kRetry);
  ASSERT_TRUE(lend_of_gpu(3).ok());
  ASSERT_TRUE(lend_of_gpu(4).ok());
  EXPECT_EQ(lend_of_gpu(5).code(), StatusCode::kRetry);
  EXPECT_EQ(counters_.now, 2u);
  EXPECT_EQ(device_counters_.now, 2u);
  EXPECT_EQ(device_counters_.refused, 1u);
  board_ = std::make_unique<LeaseBoard>(page_, time_.scheduler(),
                                        LeaseBudget{counters_, 4 * kBlockBytes},
                                        LeaseBudget{device_counters_, 0});
  EXPECT_EQ(device_counters_.expired, 2u);
  EXPECT_EQ(device_counters_.bytes_now, 0u);
  EXPECT_EQ(lend_of_gpu(3).code(), StatusCode::kUnsupported) << "of GPUs nothing is lent";
  EXPECT_TRUE(Lend(3, kSecond).ok());
}

TEST_F(LeaseBoardTest, WhatIsOfNoUseIsExpiredForItsReadersAlone) {
  const auto lend_at = [&](std::size_t frame, std::uint32_t extent) {
    ++pins_[frame];
    return *board_->Lend(Hold(Frame(frame), this, frame),
                         {.extent = extent, .edition = 1, .offset = frame * kBlockBytes},
                         time_.Now() + kSecond);
  };
  const auto host = Take(lend_at(0, 0));
  const auto first = Take(lend_at(1, kDeviceExtentFirst));
  const auto beside = Take(lend_at(2, kDeviceExtentFirst));
  const auto second = Take(lend_at(3, kDeviceExtentFirst + 65'536));
  board_->EndAt({.extent = kDeviceExtentFirst, .edition = 1, .offset = kBlockBytes});
  EXPECT_FALSE(first->Intact());
  EXPECT_TRUE(beside->Intact()) << "another frame";
  board_->EndIn(kDeviceExtentFirst, kDeviceExtentFirst + 65'535);
  EXPECT_FALSE(beside->Intact());
  EXPECT_TRUE(second->Intact()) << "another GPU's";
  EXPECT_TRUE(host->Intact());
  EXPECT_EQ(pins_[1] + pins_[2], 0);
}

TEST_F(LeaseBoardTest, ALoanThatLiesOutsideItsExtentIsRefusedByTheClient) {
  const Loan good = *Lend(0, kSecond);
  Loan bad = good;
  bad.place.offset = kFrames * kBlockBytes;
  EXPECT_EQ(LentMemory::Make(bad, client_page_, mapping_).code(), StatusCode::kInvalid);
  bad.place.offset = ~std::uint64_t{0} - 100;
  EXPECT_EQ(LentMemory::Make(bad, client_page_, mapping_).code(), StatusCode::kInvalid);
  bad = good;
  bad.slot = kLeaseSlots;
  EXPECT_EQ(LentMemory::Make(bad, client_page_, mapping_).code(), StatusCode::kInvalid);
  bad = good;
  bad.bytes = 0;
  EXPECT_EQ(LentMemory::Make(bad, client_page_, mapping_).code(), StatusCode::kInvalid);
}

TEST_F(LeaseBoardTest, AChildOfTheReaderGivesNothingBack) {
  const Loan loan = *Lend(5, 60 * kSecond);
  const auto lent = Take(loan);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(lent->Release() ? 1 : 0);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "it was told that it may use the block";
  board_->Collect();
  EXPECT_EQ(pins_[5], 1);
  EXPECT_TRUE(lent->Release()) << "the parent still has it";
}

// Readers of random patience against frames that are written as soon as they are free: whoever is
// told that the lease held has read the block.
TEST_F(LeaseBoardTest, AReaderThatWasToldIntactHasReadTheBlock) {
  SeededRandom random(7);
  struct Reader {
    std::unique_ptr<LentMemory> lent;
    std::byte content{};
    Nanos ends = 0;
  };
  std::vector<Reader> readers;
  std::uint64_t intact = 0;
  std::uint64_t expired = 0;
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t frame = random.Below(kFrames);
    if (pins_[frame] == 0 && readers.size() < 32) {
      const auto content = static_cast<std::byte>(random.Below(200));
      std::memset(Frame(frame).data(), std::to_integer<int>(content), kBlockBytes);
      const auto loan = Lend(frame, static_cast<Nanos>(random.Below(50)) * kMillisecond);
      if (loan.ok()) {
        readers.push_back({Take(*loan), content,
                           time_.Now() + static_cast<Nanos>(random.Below(60)) * kMillisecond});
      }
    }
    std::erase_if(readers, [&](Reader& reader) {
      if (reader.ends > time_.Now()) return false;
      bool same = true;
      for (const std::byte byte : reader.lent->bytes()) same = same && byte == reader.content;
      if (reader.lent->Release()) {
        EXPECT_TRUE(same);
        ++intact;
      } else {
        ++expired;
      }
      return true;
    });
    if (random.Below(4) == 0) time_.RunUntil(time_.Now() + kMillisecond);
  }
  EXPECT_GT(intact, 100u);
  EXPECT_GT(expired, 100u);
}

}  // namespace
}  // namespace terrace
