// Cancel, fence, drain and regions made on the side, over the real transport; and handles that are
// none of this Client.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "tests/client/client_fixture.h"

namespace terrace {
namespace {

class ClientCancelTest : public ::testing::TestWithParam<LinkChoice> {
 protected:
  void SetUp() override {
    ClientOptions options;
    options.address = daemon_.address();
    options.name = "test";
    options.link = GetParam();
    options.connect_timeout = 20s;
    auto client = Client::Connect(options);
    ASSERT_TRUE(client.ok()) << client.status().ToString();
    client_ = std::move(client.value());
    const auto space = client_->OpenNamespace(SpaceNamed("space"), Soon());
    ASSERT_TRUE(space.ok()) << space.status().ToString();
    space_ = space.value();
  }
  std::map<Ticket, Completion> Take(std::size_t count) {
    std::map<Ticket, Completion> taken;
    while (taken.size() < count && client_->WaitForCompletion(Soon()).ok()) {
      for (Completion& completion : client_->Poll()) {
        taken.emplace(completion.ticket, std::move(completion));
      }
    }
    return taken;
  }

  FakeDaemon daemon_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
};
INSTANTIATE_TEST_SUITE_P(Links, ClientCancelTest,
                         ::testing::Values(LinkChoice::kAuto, LinkChoice::kTcp),
                         [](const auto& info) {
                           return info.param == LinkChoice::kAuto ? "SameHost" : "Tcp";
                         });

TEST_P(ClientCancelTest, CancelledCallsComeBackOnceAndLetGoOfTheirMemory) {
  daemon_.behaviour().drop = true;
  BlockMemory memory(*client_, 8);
  const Chain chain = ChainNamed("cancelled", 8);
  const Ticket get = client_->SubmitGet(space_, chain, memory.All(), {}, In(60s)).value();
  const Ticket put = client_->SubmitPut(space_, chain, memory.All(), {}, In(60s)).value();
  const Ticket match = client_->SubmitMatch(space_, chain, {}, In(60s)).value();
  for (const Ticket ticket : {get, put, match, get}) {
    EXPECT_TRUE(client_->Cancel(ticket, Soon()).ok()) << "the last one had ended";
  }
  auto done = Take(3);
  ASSERT_EQ(done.size(), 3U);
  ExpectCodes(done[get].blocks, StatusCode::kCancelled);
  ExpectCodes(done[put].blocks, StatusCode::kCancelled);
  EXPECT_EQ(done[match].status.code(), StatusCode::kCancelled);
  EXPECT_TRUE(client_->DeregisterMemory(memory.region()).ok()) << "nothing uses it any more";
  EXPECT_TRUE(client_->Poll().empty());
}

TEST_P(ClientCancelTest, FenceEndsTheCallsOfOtherThreadsAndOnlyThoseOfItsBytes) {
  daemon_.behaviour().drop = true;
  BlockMemory memory(*client_, 8);
  const Chain chain = ChainNamed("fenced", 8);
  Result<std::vector<BlockResult>> waited = Status(StatusCode::kInternal);
  std::thread other([&] { waited = client_->Get(space_, chain, {{memory.At(2)}}, {}, In(60s)); });
  const Ticket apart = client_->SubmitGet(space_, chain, {{memory.At(3)}}, {}, In(60s)).value();
  const MemoryPiece inside{.region = memory.region(), .offset = 3 * kBlockBytes - 10, .length = 10};
  // Until the other thread's call has come so far that a fence meets it.
  std::atomic<bool> ended{false};
  std::thread watcher([&] {
    other.join();
    ended = true;
  });
  while (!ended) {
    EXPECT_TRUE(client_->Fence({{inside}}, Soon()).ok());
    std::this_thread::sleep_for(1ms);
  }
  watcher.join();
  ExpectCodes(waited, StatusCode::kCancelled);
  EXPECT_TRUE(client_->Poll().empty()) << "its neighbour goes on";
  EXPECT_TRUE(client_->Cancel(apart, Soon()).ok());
  EXPECT_EQ(Take(1).size(), 1U);
}

TEST_P(ClientCancelTest, DrainLeavesTheCompletions) {
  daemon_.behaviour().delay = 50 * kMillisecond;
  BlockMemory memory(*client_, 8);
  memory.Fill(3);
  const Chain chain = ChainNamed("drained", 8);
  for (std::uint32_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(client_->SubmitPut(space_, chain, {{memory.At(i)}}, {}, Soon()).ok());
  }
  EXPECT_EQ(client_->Drain(In(0s)).code(), StatusCode::kTimeout);
  EXPECT_TRUE(client_->Drain(Soon()).ok());
  const auto done = client_->Poll(100);
  ASSERT_EQ(done.size(), 8U);
  for (const Completion& completion : done) ExpectCodes(completion.blocks, StatusCode::kOk);
  // Nothing is under way: told without waiting, as soon as no other thread is in the loop.
  const Deadline end = Soon();
  while (!client_->Drain(In(-1s)).ok()) ASSERT_LT(std::chrono::steady_clock::now(), end);
}

TEST_P(ClientCancelTest, RegionsAreMadeOnTheSide) {
  std::vector<std::byte> own(3 * kBlockBytes);
  const Ticket registered = client_->SubmitRegisterMemory(own.data(), own.size()).value();
  const Ticket allocated = client_->SubmitAllocateRegion(5 * kBlockBytes).value();
  EXPECT_TRUE(client_->Drain(Soon()).ok());
  auto done = Take(2);
  ASSERT_TRUE(done[registered].status.ok()) << done[registered].status.ToString();
  ASSERT_TRUE(done[allocated].status.ok()) << done[allocated].status.ToString();
  const RegionId mine = done[registered].region;
  const RegionId theirs = done[allocated].region;
  EXPECT_EQ(client_->RegionMemory(mine).data(), own.data());
  ASSERT_EQ(client_->RegionMemory(theirs).size(), 5 * kBlockBytes);
  const Chain chain = ChainNamed("regions", 1);
  std::fill(own.begin(), own.end(), std::byte{7});
  ExpectCodes(client_->Put(space_, chain, {{{.position = 0, .region = mine}}}, {}, Soon()),
              StatusCode::kOk);
  ExpectCodes(client_->Get(space_, chain, {{{.position = 0, .region = theirs}}}, {}, Soon()),
              StatusCode::kOk);
  EXPECT_EQ(client_->RegionMemory(theirs)[kBlockBytes - 1], std::byte{7});
  EXPECT_TRUE(client_->DeregisterMemory(theirs).ok());

  EXPECT_NE(client_->SubmitRegisterMemory(nullptr, 1).status().message().find("base"),
            std::string::npos);
  EXPECT_NE(client_->SubmitRegisterMemory(own.data(), 0).status().message().find("length"),
            std::string::npos);
  EXPECT_NE(client_->SubmitAllocateRegion(0).status().message().find("length"), std::string::npos);
}

TEST_P(ClientCancelTest, RegionThatIsBeingMadeIsCancelledAndHoldsUpNobody) {
  // Some 0.5 s of touching: a cancel comes in the middle, at the latest at the fifth try.
  constexpr std::uint64_t kLarge = std::uint64_t{2} << 30;
  bool cancelled = false;
  for (int attempt = 0; attempt < 5 && !cancelled; ++attempt) {
    const Ticket large = client_->SubmitAllocateRegion(kLarge).value();
    const Ticket behind = client_->SubmitAllocateRegion(kBlockBytes).value();
    EXPECT_TRUE(client_->Cancel(behind, Soon()).ok());
    EXPECT_TRUE(client_->Cancel(large, Soon()).ok());
    auto done = Take(2);
    ASSERT_EQ(done.size(), 2U);
    cancelled = done[large].status.code() == StatusCode::kCancelled &&
                done[behind].status.code() == StatusCode::kCancelled;
    if (done[large].status.ok()) {
      EXPECT_TRUE(client_->DeregisterMemory(done[large].region).ok());
    }
  }
  EXPECT_TRUE(cancelled);
  const Ticket again = client_->SubmitAllocateRegion(kBlockBytes).value();
  auto done = Take(1);
  EXPECT_TRUE(done[again].status.ok());

  ASSERT_TRUE(client_->SubmitAllocateRegion(kLarge).ok());
  const auto begin = std::chrono::steady_clock::now();
  client_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s) << "1 s expected at most";
}

TEST_P(ClientCancelTest, AfterCloseEveryTicketHasComeBackAndEveryCallIsTold) {
  daemon_.behaviour().drop = true;
  BlockMemory memory(*client_, 1);
  const Chain chain = ChainNamed("closed", 1);
  std::set<Ticket> given;
  given.insert(client_->SubmitGet(space_, chain, memory.All(), {}, In(60s)).value());
  for (int i = 0; i < 4; ++i) {
    given.insert(client_->SubmitAllocateRegion(std::uint64_t{1} << 30).value());
  }
  client_->Close();
  std::set<Ticket> taken;
  for (const Completion& completion : client_->Poll(100)) {
    EXPECT_TRUE(taken.insert(completion.ticket).second) << "twice";
  }
  EXPECT_EQ(taken, given);

  const auto told = [](const auto& result, const char* call) {
    EXPECT_TRUE(result.code() == StatusCode::kCancelled || result.code() == StatusCode::kPeerDead)
        << call << ": " << StatusCodeName(result.code());
  };
  const MemoryPiece piece{.region = memory.region(), .offset = 0, .length = 1};
  told(client_->Cancel(*given.begin(), Soon()), "Cancel");
  told(client_->Fence({{piece}}, Soon()), "Fence");
  told(client_->Drain(Soon()), "Drain");
  told(client_->Prefetch(space_, chain, 0, 1, {}, {}, Soon()), "Prefetch");
  told(client_->SubmitPrefetch(space_, chain, 0, 1, {}, {}, Soon()), "SubmitPrefetch");
  told(client_->Touch(space_, chain, 0, 1, {}, Soon()), "Touch");
  told(client_->Retain(space_, chain, 0, 1, {}, {.label = "l"}, Soon()), "Retain");
  told(client_->ReleaseRetained("l", Soon()), "ReleaseRetained");
  told(client_->RemovePrefix(space_, chain, 0, Soon()), "RemovePrefix");
  told(client_->ClearTenant(Soon()), "ClearTenant");
  told(client_->SubmitAllocateRegion(1), "SubmitAllocateRegion");
}

TEST_P(ClientCancelTest, HandlesOfAnotherClientAreUnknownHere) {
  auto other = ConnectTo(daemon_.address());
  ASSERT_NE(other, nullptr);
  const NamespaceId space = other->OpenNamespace(SpaceNamed("space"), Soon()).value();
  BlockMemory memory(*other, 1);
  const Chain chain = ChainNamed("other", 1);
  const Ticket ticket = other->SubmitMatch(space, chain, {}, Soon()).value();
  const auto expect_invalid = [&](const char* when) {
    EXPECT_EQ(client_->Match(space, chain, {}, Soon()).code(), StatusCode::kInvalid) << when;
    EXPECT_EQ(client_->Get(space_, chain, memory.All(), {}, Soon()).code(), StatusCode::kInvalid)
        << when;
    EXPECT_EQ(client_->DeregisterMemory(memory.region()).code(), StatusCode::kInvalid) << when;
    EXPECT_EQ(client_->Quiesce(memory.region(), Soon()).code(), StatusCode::kInvalid) << when;
    EXPECT_TRUE(client_->RegionMemory(memory.region()).empty()) << when;
    EXPECT_EQ(client_->Cancel(ticket, Soon()).code(), StatusCode::kInvalid) << when;
    const MemoryPiece piece{.region = memory.region(), .offset = 0, .length = 1};
    const Status fenced = client_->Fence({{piece}}, Soon());
    EXPECT_EQ(fenced.code(), StatusCode::kInvalid) << when;
    EXPECT_NE(fenced.message().find("memory[0].region"), std::string::npos) << fenced.message();
  };
  expect_invalid("while it lives");
  other.reset();
  expect_invalid("once it is gone");
}

TEST_P(ClientCancelTest, WrongArgumentsAreNamed) {
  BlockMemory memory(*client_, 2);
  const auto fence = [&](std::uint64_t offset, std::uint64_t length) {
    const MemoryPiece good{.region = memory.region(), .offset = 0, .length = 1};
    const MemoryPiece piece{.region = memory.region(), .offset = offset, .length = length};
    return client_->Fence({{good, piece}}, Soon()).message();
  };
  EXPECT_EQ(fence(0, 2 * kBlockBytes), "");
  EXPECT_NE(fence(0, 0).find("memory[1].length"), std::string::npos);
  EXPECT_NE(fence(1, 2 * kBlockBytes).find("memory[1]: offset 1"), std::string::npos);
  EXPECT_NE(fence(~std::uint64_t{0}, 2).find("memory[1]: offset"), std::string::npos);
  EXPECT_EQ(client_->Fence({}, Soon()).code(), StatusCode::kInvalid);
  EXPECT_EQ(client_->Cancel(0, Soon()).code(), StatusCode::kInvalid);
  EXPECT_EQ(client_->Cancel(~Ticket{0}, Soon()).code(), StatusCode::kInvalid);

  const Chain chain = ChainNamed("x", 4);
  const auto says = [](const auto& result, const char* what) {
    EXPECT_EQ(result.code(), StatusCode::kInvalid);
    EXPECT_NE(result.status().message().find(what), std::string::npos) << result.status().message();
  };
  says(client_->Prefetch(space_, chain, 0, 4, {}, {.target = Tier::kNvme}, Soon()), "target");
  says(client_->Prefetch(space_, chain, 3, 2, {}, {}, Soon()), "first 3 and count 2");
  says(client_->Touch(space_, chain, 0, 0, {}, Soon()), "count");
  says(client_->Touch(space_, chain, 0, 1, {.group = 9}, Soon()), "kind.group");
  says(client_->Retain(space_, chain, 0, 4, {}, {.label = ""}, Soon()), "options.label");
  says(client_->Retain(space_, chain, 0, 4, {}, {.label = std::string(129, 'x')}, Soon()),
       "options.label");
  says(client_->Retain(space_, chain, 0, 4, {}, {.label = "l", .time = 0ms}, Soon()),
       "options.time");
  says(client_->Retain(space_, chain, 0, 4, {}, {.label = "l", .time = 25h}, Soon()),
       "options.time");
  says(client_->ReleaseRetained("", Soon()), "label");
  says(client_->RemovePrefix(space_, chain, 4, Soon()), "first");
  says(client_->RemovePrefix(space_, Chain(), 0, Soon()), "chain");
  says(client_->RemovePrefix(NamespaceId{}, chain, 0, Soon()), "namespace");
}

TEST_P(ClientCancelTest, ForkedChildIsToldByEveryCall) {
  BlockMemory memory(*client_, 1);
  const Chain chain = ChainNamed("fork", 1);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const MemoryPiece piece{.region = memory.region(), .offset = 0, .length = 1};
    std::byte byte{};
    const bool told =
        client_->Cancel(1, Soon()).code() == StatusCode::kInvalid &&
        client_->Fence({{piece}}, Soon()).code() == StatusCode::kInvalid &&
        client_->Drain(Soon()).code() == StatusCode::kInvalid &&
        client_->Prefetch(space_, chain, 0, 1, {}, {}, Soon()).code() == StatusCode::kInvalid &&
        client_->SubmitPrefetch(space_, chain, 0, 1, {}, {}, Soon()).code() ==
            StatusCode::kInvalid &&
        client_->Touch(space_, chain, 0, 1, {}, Soon()).code() == StatusCode::kInvalid &&
        client_->Retain(space_, chain, 0, 1, {}, {.label = "l"}, Soon()).code() ==
            StatusCode::kInvalid &&
        client_->ReleaseRetained("l", Soon()).code() == StatusCode::kInvalid &&
        client_->RemovePrefix(space_, chain, 0, Soon()).code() == StatusCode::kInvalid &&
        client_->ClearTenant(Soon()).code() == StatusCode::kInvalid &&
        client_->SubmitRegisterMemory(&byte, 1).code() == StatusCode::kInvalid &&
        client_->SubmitAllocateRegion(1).code() == StatusCode::kInvalid;
    ::_exit(told ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_TRUE(client_->Ping(Soon()).ok());
}

}  // namespace
}  // namespace terrace
