// A PagedCache and a daemon that does not answer: calls still end when they are fenced, cancelled
// or their deadline has passed, and say so.
#include <gtest/gtest.h>

#include <thread>

#include "client/paged.hpp"
#include "tests/client/client_fixture.h"
#include "tests/client/paged/paper_cache.h"

namespace terrace::paged {
namespace {

class PagedCalls : public ::testing::Test {
 protected:
  void SetUp() override {
    client_ = ConnectTo(daemon_.address());
    ASSERT_NE(client_, nullptr);
    PagedCacheOptions options;
    options.cache = paper_.layout();
    options.stored.block_tokens = 16;
    options.layer_bases.assign(paper_.bases().begin(), paper_.bases().end());
    auto cache = PagedCache::Open(*client_, options);
    ASSERT_TRUE(cache.ok()) << cache.status().ToString();
    cache_ = std::move(cache.value());
    NamespaceDescriptor descriptor;
    descriptor.name = "calls";
    descriptor.model = "test";
    const auto space = cache_->OpenNamespace(descriptor, 0, Soon());
    ASSERT_TRUE(space.ok()) << space.status().ToString();
    space_ = space.value();
  }
  Ticket Submit(bool put, Deadline deadline) {
    const PagedBlock block{.position = 0, .pages = pages_};
    const auto ticket = put ? cache_->SubmitPut(space_, chain_, {&block, 1}, {}, deadline)
                            : cache_->SubmitGet(space_, chain_, {&block, 1}, {}, deadline);
    EXPECT_TRUE(ticket.ok()) << ticket.status().ToString();
    return ticket.ok() ? ticket.value() : 0;
  }
  StatusCode Ended(Ticket ticket) {
    EXPECT_TRUE(cache_->WaitForCompletion(Soon()).ok());
    const auto ended = cache_->Poll();
    EXPECT_EQ(ended.size(), 1u);
    if (ended.size() != 1) return StatusCode::kInternal;
    EXPECT_EQ(ended[0].ticket, ticket);
    return ended[0].status.ok() ? ended[0].blocks.at(0).status : ended[0].status.code();
  }
  FakeDaemon daemon_;
  PaperCache paper_{PartsFirst(
      {.layers = 2, .pages = 4, .page_tokens = 16, .heads = 2, .head_dim = 64}, PageOrder::kNhd)};
  std::unique_ptr<Client> client_;
  std::unique_ptr<PagedCache> cache_;
  NamespaceId space_;
  const Chain chain_ = ChainNamed("paged", 1);
  const std::vector<std::uint32_t> pages_ = {2};
};

TEST_F(PagedCalls, AFenceEndsAGetThatTheDaemonDoesNotAnswer) {
  daemon_.behaviour().drop = true;
  const Ticket ticket = Submit(false, Soon());
  std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(cache_->Fence(pages_, In(10s)).ok());
  EXPECT_EQ(Ended(ticket), StatusCode::kCancelled);
}

TEST_F(PagedCalls, ACancelEndsAPutThatTheDaemonDoesNotAnswer) {
  daemon_.behaviour().drop = true;
  const Ticket ticket = Submit(true, Soon());
  std::this_thread::sleep_for(100ms);  // it is under way, or not yet: both must end
  EXPECT_TRUE(cache_->Cancel(ticket, In(10s)).ok());
  EXPECT_EQ(Ended(ticket), StatusCode::kCancelled);
}

TEST_F(PagedCalls, ADeadlineEndsACall) {
  daemon_.behaviour().drop = true;
  EXPECT_EQ(Ended(Submit(false, In(100ms))), StatusCode::kTimeout);
  EXPECT_EQ(Ended(Submit(true, In(100ms))), StatusCode::kTimeout);
  daemon_.behaviour().drop = false;
  EXPECT_EQ(Ended(Submit(true, Soon())), StatusCode::kOk);
  EXPECT_EQ(Ended(Submit(false, Soon())), StatusCode::kOk);
}

TEST_F(PagedCalls, DestructionDoesNotWaitForTheDaemon) {
  daemon_.behaviour().drop = true;
  Submit(false, In(60s));
  Submit(true, In(60s));
  std::this_thread::sleep_for(50ms);
  const auto before = std::chrono::steady_clock::now();
  cache_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, 30s);
}

}  // namespace
}  // namespace terrace::paged
