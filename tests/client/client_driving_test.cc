// Callers run the client's loop themselves: what that may not break.
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>

#include "base/random.h"
#include "tests/client/client_fixture.h"

namespace terrace {
namespace {

class ClientDrivingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    client_ = ConnectTo(daemon_.address());
    ASSERT_NE(client_, nullptr);
    const auto space = client_->OpenNamespace(SpaceNamed("space"), Soon());
    ASSERT_TRUE(space.ok()) << space.status().ToString();
    space_ = space.value();
  }
  /// Sleeps without a call into the client.
  static void Pause(std::chrono::milliseconds time = 5ms) { ::poll(nullptr, 0, int(time.count())); }

  FakeDaemon daemon_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
};

TEST_F(ClientDrivingTest, HeartbeatsAndReconnectsGoOnWhileNobodyCalls) {
  Pause(testing::kSlowness *
        1500ms);  // many heartbeats, and more than the misses that end a session
  EXPECT_TRUE(client_->Connected());
  EXPECT_EQ(client_->Reconnects(), 0U);
  daemon_.Freeze();
  const Deadline end = Soon();
  while (client_->Connected() && std::chrono::steady_clock::now() < end) Pause();
  EXPECT_FALSE(client_->Connected()) << "nobody noticed";
  daemon_.Thaw();
  while (!client_->Connected() && std::chrono::steady_clock::now() < end) Pause();
  EXPECT_TRUE(client_->Connected()) << "nobody connected again";
}

TEST_F(ClientDrivingTest, CallerThatTimesOutWhileItDrivesHarmsNobody) {
  daemon_.behaviour().drop = true;
  const Chain chain = ChainNamed("late", 2);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::atomic<int> late_calls{0};
  // One after the other drives and is late; pings, which are answered, go on among them.
  std::vector<std::thread> late;
  for (int i = 0; i < 3; ++i) {
    late.emplace_back([&] {
      while (!stop) {
        const auto begin = std::chrono::steady_clock::now();
        const auto match = client_->Match(space_, chain, {}, In(20ms));
        if (match.code() != StatusCode::kTimeout) ++wrong;
        ++late_calls;
        if (std::chrono::steady_clock::now() - begin > 5s) ++wrong;
      }
    });
  }
  bool answered = true;
  while (answered && late_calls < 30) answered = client_->Ping(Soon()).ok();
  EXPECT_TRUE(answered);
  stop = true;
  for (std::thread& thread : late) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(ClientDrivingTest, EveryWaitingCallerIsLetGoWhenTheClientIsDestroyed) {
  daemon_.behaviour().drop = true;
  const Chain chain = ChainNamed("destroyed", 2);
  std::array<StatusCode, 4> codes{};
  std::vector<std::thread> callers;
  for (StatusCode& code : codes) {
    callers.emplace_back([&code, &chain, client = client_.get(), space = space_] {
      code = client->Match(space, chain, {}, In(60s)).code();
    });
  }
  // Two keys are one run, which lies on one reactor: each call is one request.
  while (daemon_.behaviour().matches_dropped < codes.size()) Pause();
  const auto begin = std::chrono::steady_clock::now();
  client_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  for (std::thread& caller : callers) caller.join();
  for (const StatusCode code : codes) EXPECT_EQ(code, StatusCode::kCancelled);
}

TEST_F(ClientDrivingTest, CompletionOfAnothersTicketEndsEveryWait) {
  daemon_.behaviour().delay = 20 * kMillisecond;
  const Chain chain = ChainNamed("waits", 1);
  for (int round = 0; round < 10; ++round) {
    std::array<StatusCode, 3> codes{};
    std::vector<std::thread> waiters;
    for (StatusCode& code : codes) {
      waiters.emplace_back([this, &code] { code = client_->WaitForCompletion(Soon()).code(); });
    }
    ASSERT_TRUE(client_->SubmitMatch(space_, chain, {}, Soon()).ok());
    for (std::thread& waiter : waiters) waiter.join();
    for (const StatusCode code : codes) EXPECT_EQ(code, StatusCode::kOk);
    EXPECT_EQ(client_->Poll().size(), 1U);
  }
}

TEST_F(ClientDrivingTest, MixedCallsOfManyThreadsAllEnd) {
  constexpr std::uint32_t kThreads = 8;
  constexpr int kRounds = 60;
  std::mutex mutex;
  std::set<Ticket> open;  // guarded by mutex
  std::atomic<int> wrong{0};
  std::atomic<int> submitting{kThreads};
  const auto take = [&] {
    for (const Completion& completion : client_->Poll()) {
      const std::lock_guard lock(mutex);
      if (open.erase(completion.ticket) != 1) ++wrong;
      if (!completion.status.ok() && completion.status.code() != StatusCode::kTimeout) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      SeededRandom random(thread + 1);
      BlockMemory memory(*client_, 2);
      memory.Fill(thread);
      const Chain chain = ChainNamed("mixed " + std::to_string(thread), 2);
      if (!client_->Put(space_, chain, memory.All(), {}, Soon()).ok()) ++wrong;
      for (int round = 0; round < kRounds; ++round) {
        const auto some = std::chrono::microseconds(random.Below(2000));
        switch (random.Below(6)) {
          case 0: {
            const auto got = client_->Get(space_, chain, memory.All(), {}, Soon());
            if (!got.ok() || !memory.Holds(thread, 0) || !memory.Holds(thread, 1)) ++wrong;
            break;
          }
          case 1: {
            const StatusCode code = client_->Ping(In(some)).code();
            if (code != StatusCode::kOk && code != StatusCode::kTimeout) ++wrong;
            break;
          }
          case 2: {
            const auto match = client_->Match(space_, chain, {}, Soon());
            if (!match.ok() || match->matched != 2) ++wrong;
            break;
          }
          case 3:
          case 4: {
            const std::lock_guard lock(mutex);  // so that nobody polls what is not in `open` yet
            const auto ticket = client_->SubmitMatch(space_, chain, {}, Soon());
            if (!ticket.ok() || !open.insert(*ticket).second) ++wrong;
            break;
          }
          default: {
            const StatusCode code = client_->WaitForCompletion(In(some)).code();
            if (code != StatusCode::kOk && code != StatusCode::kTimeout) ++wrong;
            take();
          }
        }
        if (random.Below(10) == 0)
          daemon_.behaviour().delay = Nanos(random.Below(2)) * kMillisecond;
      }
      --submitting;
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Deadline end = Soon();
  while (!open.empty() && std::chrono::steady_clock::now() < end) {
    [[maybe_unused]] const Status waited = client_->WaitForCompletion(In(1s));
    take();
  }
  EXPECT_TRUE(open.empty()) << open.size() << " tickets never came back";
  EXPECT_EQ(wrong, 0);
}

std::atomic<int> signals_handled{0};

TEST_F(ClientDrivingTest, SignalsOfTheEngineBreakNoCall) {
  struct sigaction action{};
  struct sigaction before{};
  action.sa_handler = [](int) { ++signals_handled; };  // no SA_RESTART: every wait is interrupted
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  std::atomic<bool> stop{false};
  std::thread shooter([&stop, target = ::pthread_self()] {
    while (!stop) {
      ::pthread_kill(target, SIGUSR1);
      ::poll(nullptr, 0, 1);
    }
  });
  const Chain chain = ChainNamed("signals", 2);
  daemon_.behaviour().delay = 5 * kMillisecond;
  for (int round = 0; round < 40; ++round) {
    EXPECT_TRUE(client_->Match(space_, chain, {}, Soon()).ok());
    EXPECT_EQ(client_->WaitForCompletion(In(3ms)).code(), StatusCode::kTimeout);
  }
  stop = true;
  shooter.join();
  EXPECT_GT(signals_handled, 0);
  ASSERT_EQ(::sigaction(SIGUSR1, &before, nullptr), 0);
}

TEST(ClientDriving, DaemonThatDiesWhileACallerSendsRaisesNoSignal) {
  // SIGPIPE has its default action here: it would end this program.
  for (int round = 0; round < 5; ++round) {
    ChildDaemon daemon;
    ClientOptions options;
    options.address = daemon.address();
    options.connect_timeout = 20s;
    options.link = LinkChoice::kTcp;
    auto client = Client::Connect(options);
    ASSERT_TRUE(client.ok()) << client.status().ToString();
    const auto space = (*client)->OpenNamespace(SpaceNamed("space"), Soon());
    ASSERT_TRUE(space.ok());
    BlockMemory memory(**client, 64);
    std::atomic<bool> dead{false};
    std::thread caller([&] {
      int put = 0;
      while (!dead) {
        const Chain chain = ChainNamed("put " + std::to_string(put++), 64);
        if (!(*client)->Put(*space, chain, memory.All(), {}, Soon()).ok()) dead = true;
      }
    });
    ::poll(nullptr, 0, 20);
    daemon.Kill();
    const Deadline end = Soon();
    while ((*client)->Connected() && std::chrono::steady_clock::now() < end) ::poll(nullptr, 0, 1);
    dead = true;
    caller.join();
  }
}

}  // namespace
}  // namespace terrace
