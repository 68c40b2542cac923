// Calls of a PagedCache that wait for a GPU, here one that ends its moves when it is told to: what
// a cancel and a fence promise of pages, whatever is late, out of order or fails.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

#include "client/paged/setup.h"
#include "tests/client/paged/slow_mover.h"
#include "tests/tools/paged_rank.h"
#include "tests/tools/shards_host.h"

namespace terrace::paged {
namespace {

using terrace::testing::ShardsHost;

constexpr auto kShort = 30ms;

/// A rank whose pages a SlowMover moves, with all blocks stored.
class Slow : public ::testing::Test {
 protected:
  void SetUp() override { Make(64 << 20, false); }
  void Make(std::uint64_t staging_bytes, bool refuse_shared) {
    const auto make_mover = [&](const PaperCache& paper) {
      slow_ = std::make_shared<SlowMover>(CpuMover::Make(layout_, kStored, paper.bases()).value());
      slow_->SetBlockPages(2);
      if (refuse_shared) slow_->RefuseSharedFrames();
      return slow_;
    };
    PagedCacheOptions options;
    options.staging_bytes = staging_bytes;
    rank_.reset();
    rank_ = std::make_unique<Rank>(host_.address(), layout_, kStored, LinkChoice::kAuto, options, 0,
                                   make_mover);
    SeededRandom random(1);
    rank_->paper.Fill(random);
    const auto pages = RandomPages(64, 48, random);
    from_.assign(pages.begin(), pages.begin() + 24);
    to_.assign(pages.begin() + 24, pages.end());
    const auto put = rank_->cache->Put(rank_->space, rank_->chain, rank_->On(from_), {}, Soon());
    ASSERT_TRUE(put.ok()) << put.status().ToString();
    wanted_ = rank_->Bytes(from_);
  }
  Ticket SubmitGet(Deadline deadline = Soon()) {
    const auto ticket =
        rank_->cache->SubmitGet(rank_->space, rank_->chain, rank_->On(to_), {}, deadline);
    EXPECT_TRUE(ticket.ok()) << ticket.status().ToString();
    return ticket.ok() ? ticket.value() : 0;
  }
  PagedCompletion Next() {
    EXPECT_TRUE(rank_->cache->WaitForCompletion(Soon()).ok());
    auto completions = rank_->cache->Poll(1);
    EXPECT_EQ(completions.size(), 1u);
    return completions.empty() ? PagedCompletion{} : std::move(completions.front());
  }
  void AwaitHeld(std::size_t moves) {
    for (int i = 0; i < 20'000 && slow_->Held() < moves; ++i) std::this_thread::sleep_for(1ms);
    ASSERT_GE(slow_->Held(), moves);
  }
  void ExpectBlocks(const PagedCompletion& completion, StatusCode code) {
    ASSERT_TRUE(completion.status.ok()) << completion.status.ToString();
    ASSERT_EQ(completion.blocks.size(), kBlocks);
    for (const BlockResult& block : completion.blocks) {
      EXPECT_EQ(block.status, code) << StatusCodeName(block.status);
    }
  }
  bool Readable() const {
    pollfd fd{.fd = rank_->cache->CompletionFd(), .events = POLLIN, .revents = 0};
    return ::poll(&fd, 1, 0) == 1;
  }

  const CacheLayout layout_ = PartsFirst(kShape, PageOrder::kHnd);
  const ShardsHost host_{2};
  std::shared_ptr<SlowMover> slow_;
  std::unique_ptr<Rank> rank_;
  std::vector<std::uint32_t> from_;
  std::vector<std::uint32_t> to_;
  std::vector<std::byte> wanted_;
};

TEST_F(Slow, ACallEndsWhenItsBytesAreThere) {
  slow_->Hold(true);
  const Ticket ticket = SubmitGet();
  AwaitHeld(1);
  EXPECT_EQ(rank_->cache->WaitForCompletion(In(kShort)).code(), StatusCode::kTimeout);
  EXPECT_FALSE(Readable());
  EXPECT_EQ(rank_->cache->Drain(In(kShort)).code(), StatusCode::kTimeout);
  slow_->Hold(false);
  slow_->Release();
  EXPECT_TRUE(rank_->cache->Drain(Soon()).ok());
  EXPECT_TRUE(Readable());
  const PagedCompletion completion = Next();
  EXPECT_EQ(completion.ticket, ticket);
  ExpectBlocks(completion, StatusCode::kOk);
  EXPECT_EQ(rank_->Bytes(to_), wanted_);
  EXPECT_FALSE(Readable());
}

TEST_F(Slow, ChunksThatEndOutOfOrderAllArrive) {
  Make(100'000, false);  // two frames: a block at a time, two under way
  slow_->Hold(true);
  SubmitGet();
  for (int i = 0; i < 20'000 && !Readable(); ++i) {
    if (slow_->Held() == 2 || i > 10'000) slow_->Release();  // the later one first
    std::this_thread::sleep_for(1ms);
    if (i == 500) slow_->Hold(false), slow_->Release();
  }
  ExpectBlocks(Next(), StatusCode::kOk);
  EXPECT_EQ(rank_->Bytes(to_), wanted_);
}

TEST_F(Slow, AFenceReturnsNotBeforeTheMoveHasEnded) {
  slow_->Hold(true);
  SubmitGet();
  AwaitHeld(1);
  const std::span<const std::uint32_t> one = std::span(to_).first(1);
  EXPECT_EQ(rank_->cache->Fence(one, In(kShort)).code(), StatusCode::kTimeout);
  std::vector<std::uint32_t> others;
  for (std::uint32_t page = 0; page < 64; ++page) {
    if (std::find(to_.begin(), to_.end(), page) == to_.end()) others.push_back(page);
  }
  EXPECT_TRUE(rank_->cache->Fence(others, In(kShort)).ok()) << "no call names those";
  slow_->Release();
  EXPECT_TRUE(rank_->cache->Fence(one, Soon()).ok());
  const auto after = rank_->Bytes(to_);
  std::this_thread::sleep_for(kShort);
  EXPECT_EQ(rank_->Bytes(to_), after);
  EXPECT_EQ(Next().blocks.size(), kBlocks);
  EXPECT_EQ(rank_->cache->Fence(std::vector<std::uint32_t>{64}, Soon()).code(),
            StatusCode::kInvalid);
}

TEST_F(Slow, ACancelledCallThatHadNotBegunNeverDoes) {
  slow_->Hold(true);
  const Ticket first = SubmitGet();
  AwaitHeld(1);
  const Ticket second = SubmitGet();
  EXPECT_TRUE(rank_->cache->Cancel(second, In(kShort)).ok());
  PagedCompletion ended = Next();
  EXPECT_EQ(ended.ticket, second);
  EXPECT_EQ(ended.status.code(), StatusCode::kCancelled);
  EXPECT_EQ(rank_->cache->Cancel(first, In(kShort)).code(), StatusCode::kTimeout);
  slow_->Release();
  EXPECT_TRUE(rank_->cache->Cancel(first, Soon()).ok());
  EXPECT_EQ(Next().ticket, first);
  EXPECT_TRUE(rank_->cache->Cancel(first, Soon()).ok()) << "it has ended";
  EXPECT_EQ(rank_->cache->Cancel(99, Soon()).code(), StatusCode::kInvalid);
  EXPECT_EQ(rank_->cache->Cancel(0, Soon()).code(), StatusCode::kInvalid);
}

TEST_F(Slow, AMoveThatFailsIsNoHit) {
  slow_->Hold(true);
  SubmitGet();
  AwaitHeld(1);
  slow_->Hold(false);
  slow_->Release(Status(StatusCode::kIo, "the GPU is gone"));
  ExpectBlocks(Next(), StatusCode::kIo);
  SubmitGet();
  ExpectBlocks(Next(), StatusCode::kOk);
  EXPECT_EQ(rank_->Bytes(to_), wanted_);
}

TEST_F(Slow, AMoveThatOutlivesItsCallIsInDoubtUntilItEnds) {
  slow_->Hold(true);
  SubmitGet(In(3s));  // by then the move has begun
  AwaitHeld(1);
  const PagedCompletion completion = Next();  // a second later
  ExpectBlocks(completion, StatusCode::kInDoubt);
  EXPECT_EQ(rank_->cache->Fence(to_, In(kShort)).code(), StatusCode::kTimeout);
  slow_->Hold(false);
  slow_->Release();
  EXPECT_TRUE(rank_->cache->Fence(to_, Soon()).ok());
  SubmitGet();
  ExpectBlocks(Next(), StatusCode::kOk);
}

TEST_F(Slow, AMoverThatIsBusyIsAskedAgain) {
  Make(100'000, false);
  for (int i = 0; i < 8; ++i) SubmitGet();
  for (int i = 0; i < 8; ++i) ExpectBlocks(Next(), StatusCode::kOk);
}

TEST_F(Slow, EveryPointInTheEnginesStreamIsUsedOrGivenBack) {
  PagedCallOptions options;
  options.stream = &options;
  const auto get = [&](const Chain& chain, Deadline deadline) {
    return rank_->cache->Get(rank_->space, chain, rank_->On(to_), {}, deadline, options);
  };
  ASSERT_TRUE(get(rank_->chain, Soon()).ok());
  Chain strangers;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    ASSERT_TRUE(strangers.Append("stranger/" + std::to_string(i)).ok());
  }
  ASSERT_TRUE(get(strangers, Soon()).ok());
  ASSERT_FALSE(get({}, Soon()).ok());
  EXPECT_EQ(slow_->PointsOut(), 0u);
  slow_->Hold(true);
  SubmitGet();
  AwaitHeld(1);
  const auto queued =
      rank_->cache->SubmitGet(rank_->space, rank_->chain, rank_->On(to_), {}, Soon(), options);
  ASSERT_TRUE(queued.ok());
  EXPECT_EQ(slow_->PointsOut(), 1u);
  EXPECT_TRUE(rank_->cache->Cancel(queued.value(), In(kShort)).ok());
  EXPECT_EQ(slow_->PointsOut(), 0u);
  slow_->Hold(false);
  slow_->Release();
}

TEST_F(Slow, FramesThatADriverRefusesAreAllocatedOtherwise) {
  Make(1 << 20, true);
  SubmitGet();
  ExpectBlocks(Next(), StatusCode::kOk);
  EXPECT_EQ(rank_->Bytes(to_), wanted_);
}

TEST_F(Slow, ManyThreadsGetPutAndFenceAtOnce) {
  Make(400'000, false);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 15; ++i) {
        if (thread == 2) {
          EXPECT_TRUE(rank_->cache->Fence(std::span(to_).first(8), Soon()).ok());
          continue;
        }
        const auto got =
            thread == 0
                ? rank_->cache->Get(rank_->space, rank_->chain, rank_->On(to_), {}, Soon())
                : rank_->cache->Put(rank_->space, rank_->chain, rank_->On(from_), {}, Soon());
        ASSERT_TRUE(got.ok()) << got.status().ToString();
        for (const BlockResult& block : got.value()) {
          EXPECT_TRUE(block.status == (thread == 0 ? StatusCode::kOk : StatusCode::kExists) ||
                      block.status == StatusCode::kCancelled)
              << StatusCodeName(block.status);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  SubmitGet();
  ExpectBlocks(Next(), StatusCode::kOk);
  EXPECT_EQ(rank_->Bytes(to_), wanted_);
}

TEST_F(Slow, DestructionEndsWhatIsUnderWay) {
  slow_->Hold(true);
  SubmitGet();
  SubmitGet();
  AwaitHeld(1);
  std::thread engine([&] {
    std::this_thread::sleep_for(kShort);
    slow_->Hold(false);
    slow_->Release();
  });
  rank_->cache.reset();
  EXPECT_EQ(slow_->Held(), 0u);
  engine.join();
}

}  // namespace
}  // namespace terrace::paged
