// Submitted calls, the completion queue, and the end of a Client with calls in flight.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <thread>

#include "client/request/call_limit.h"
#include "tests/client/client_fixture.h"

namespace terrace {
namespace {

class ClientAsyncTest : public ::testing::Test {
 protected:
  void SetUp() override {
    client_ = ConnectTo(daemon_.address());
    ASSERT_NE(client_, nullptr);
    const auto space = client_->OpenNamespace(SpaceNamed("space"), Soon());
    ASSERT_TRUE(space.ok()) << space.status().ToString();
    space_ = space.value();
  }
  bool Readable(int timeout_ms) const {
    pollfd file{.fd = client_->CompletionFd(), .events = POLLIN, .revents = 0};
    return ::poll(&file, 1, timeout_ms) == 1;
  }

  FakeDaemon daemon_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
};

TEST_F(ClientAsyncTest, EveryTicketComesBackOnceWithItsOwnAnswer) {
  BlockMemory memory(*client_, 8);
  memory.Fill(4);
  const Chain chain = ChainNamed("async", 8);
  std::map<Ticket, int> kinds;
  const auto put = client_->SubmitPut(space_, chain, memory.All(), {}, Soon(), Ack::kDurable);
  ASSERT_TRUE(put.ok());
  EXPECT_TRUE(client_->WaitForCompletion(Soon()).ok());
  ASSERT_TRUE(Readable(20'000));
  auto first = client_->Poll();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].ticket, *put);
  ExpectCodes(first[0].blocks, StatusCode::kOk);
  for (const BlockResult& block : first[0].blocks) EXPECT_EQ(block.ack, Ack::kDurable);
  EXPECT_FALSE(Readable(0));

  memory.Poison();
  kinds[*client_->SubmitMatch(space_, chain, {}, Soon())] = 1;
  kinds[*client_->SubmitGet(space_, chain, memory.All(), {}, Soon())] = 2;
  kinds[*client_->SubmitRemove(space_, ChainNamed("none", 3), 0, 3, {}, Soon())] = 3;
  ASSERT_EQ(kinds.size(), 3U);
  while (!kinds.empty()) {
    ASSERT_TRUE(Readable(20'000));
    for (const Completion& completion : client_->Poll(1)) {
      const auto kind = kinds.find(completion.ticket);
      ASSERT_NE(kind, kinds.end()) << "twice, or never submitted";
      EXPECT_TRUE(completion.status.ok()) << completion.status.ToString();
      if (kind->second == 1) EXPECT_EQ(completion.match.matched, 8U);
      if (kind->second == 2) ExpectCodes(completion.blocks, StatusCode::kOk);
      if (kind->second == 3) ExpectCodes(completion.blocks, StatusCode::kMiss);
      kinds.erase(kind);
    }
  }
  for (std::uint32_t i = 0; i < 8; ++i) EXPECT_TRUE(memory.Holds(4, i));
  EXPECT_FALSE(Readable(0));
  EXPECT_EQ(client_->WaitForCompletion(In(1ms)).code(), StatusCode::kTimeout);
}

TEST_F(ClientAsyncTest, SubmittedCallEndsAtItsDeadline) {
  daemon_.behaviour().drop = true;
  const auto ticket = client_->SubmitMatch(space_, ChainNamed("late", 4), {}, In(50ms));
  ASSERT_TRUE(ticket.ok());
  ASSERT_TRUE(client_->WaitForCompletion(Soon()).ok());
  const auto done = client_->Poll();
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].status.code(), StatusCode::kTimeout);
}

TEST_F(ClientAsyncTest, OneCallMoreThanTheLimitIsRefused) {
  daemon_.behaviour().drop = true;
  const Chain chain = ChainNamed("many", 1);
  for (std::uint32_t i = 0; i < kCallsMax; ++i) {
    const auto ticket = client_->SubmitMatch(space_, chain, {}, In(2s));
    ASSERT_TRUE(ticket.ok()) << i << ": " << ticket.status().ToString();
  }
  EXPECT_EQ(client_->SubmitMatch(space_, chain, {}, In(2s)).code(), StatusCode::kRetry);
  EXPECT_EQ(client_->Match(space_, chain, {}, In(2s)).code(), StatusCode::kRetry);
  std::size_t taken = 0;
  while (taken < kCallsMax && client_->WaitForCompletion(Soon()).ok()) {
    taken += client_->Poll(1000).size();
  }
  EXPECT_EQ(taken, kCallsMax);
  daemon_.behaviour().drop = false;
  EXPECT_TRUE(client_->Match(space_, chain, {}, Soon()).ok());
}

TEST_F(ClientAsyncTest, ClientIsDestroyedWithinASecondWithCallsInFlight) {
  daemon_.behaviour().drop = true;
  BlockMemory memory(*client_, 8);
  const Chain chain = ChainNamed("destroyed", 8);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(client_->SubmitGet(space_, chain, memory.All(), {}, In(60s)).ok());
  }
  // A caller that waits in another thread is let go with kCancelled. It must be inside its call
  // by then: the daemon has seen it, and the call after it went through the same door.
  Status waited;
  std::thread waiter([client = client_.get(), &chain, &waited, space = space_] {
    waited = client->Match(space, chain, {}, In(60s)).status();
  });
  while (daemon_.behaviour().matches_dropped == 0) Readable(5);  // a pause
  EXPECT_TRUE(client_->SubmitMatch(space_, chain, {}, In(60s)).ok());
  const auto begin = std::chrono::steady_clock::now();
  client_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  waiter.join();
  EXPECT_EQ(waited.code(), StatusCode::kCancelled) << waited.ToString();
}

TEST_F(ClientAsyncTest, ForkedChildIsToldAndHurtsNobody) {
  BlockMemory memory(*client_, 2);
  const Chain chain = ChainNamed("fork", 2);
  const pid_t child = ::fork();
  if (child == 0) {
    bool right = client_->Match(space_, chain, {}, Soon()).code() == StatusCode::kInvalid;
    right &= client_->Ping(Soon()).code() == StatusCode::kInvalid;
    right &= client_->RegisterMemory(&right, 1).code() == StatusCode::kInvalid;
    right &= client_->Poll().empty() && !client_->Connected();
    client_.reset();
    ::_exit(right ? 0 : 1);
  }
  ASSERT_GT(child, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  ExpectCodes(client_->Put(space_, chain, memory.All(), {}, Soon()), StatusCode::kOk);
}

}  // namespace
}  // namespace terrace
