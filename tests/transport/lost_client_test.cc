// A client process that is killed, or stopped, while its bytes move.

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <thread>

#include "tests/transport/harness.h"
#include "tests/transport/raw_client.h"

extern char** environ;

namespace terrace::test {
namespace {

constexpr std::size_t kMiB = 1 << 20;

/// A link_client; killed at the end.
class ClientProcess {
 public:
  ClientProcess(std::uint16_t port, LinkKind kind, std::size_t bytes, bool wait = true) {
    const std::string program =
        (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "transport_link_client")
            .string();
    std::string arguments[] = {program, std::to_string(port), std::string(LinkKindName(kind)),
                               std::to_string(bytes)};
    char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(),
                    arguments[3].data(), nullptr};
    int out[2];
    EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    EXPECT_EQ(posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    if (!wait) {
      close(out[0]);
      return;
    }
    char ready[6] = {};
    ssize_t got = 0;
    while ((got = read(out[0], ready, 6)) < 0 && errno == EINTR) {
    }
    EXPECT_EQ(got, 6) << "link_client did not come up";
    close(out[0]);
  }
  ~ClientProcess() { Kill(); }
  ClientProcess(const ClientProcess&) = delete;
  ClientProcess& operator=(const ClientProcess&) = delete;
  void Signal(int signal) { kill(pid_, signal); }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
};

/// A Pair whose `peer` is a process of its own.
class LostClientTest : public testing::TestWithParam<LinkKind> {
 protected:
  static constexpr std::size_t kBytes = 64 * kMiB;
  void SetUp() override {
    ASSERT_TRUE(pair.connect_status.ok());
    client.emplace(pair.server->port(), GetParam(), kBytes);
    ASSERT_TRUE(
        pair.handler.log.WaitFor([](const auto& log) { return log.connected.size() == 2; }));
    pair.peer = pair.handler.log.Get().connected[1];
    EXPECT_EQ(pair.peer->link().kind(), GetParam());
    // Regions travel behind Hello; a pull that answers shows that they have come.
    std::vector<std::uint64_t> sums;
    for (int i = 0; i < 1000; ++i) {
      const Status status =
          Runner::Take(pair.Pull(frame, 2, 0, {{1, 0, kBytes}}, &sums), Status::Internal("hang"));
      if (status.ok()) break;
      ASSERT_EQ(status.code(), StatusCode::kInvalid) << status.ToString();
    }
    used = pair.holds.released.Get().size();
  }
  void TearDown() override {
    client.reset();
    // The other client goes on.
    pair.peer = pair.handler.log.Get().connected[0];
    pair.RoundTrip();
  }
  std::vector<std::byte> frame = std::vector<std::byte>(kBytes);
  std::size_t used = 0;  // Holds that SetUp has used
  Pair pair{LinkKind::kShm};
  std::optional<ClientProcess> client;
};

TEST_P(LostClientTest, KilledInMidTransferEndsTheTransfersAndNothingElse) {
  std::vector<std::future<Status>> pushes;
  for (int i = 0; i < 4; ++i) pushes.push_back(pair.Push(frame, 1, 0));
  std::vector<std::uint64_t> sums;
  auto pull = pair.Pull(frame, 2, 0, {{1, 0, kBytes}}, &sums);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  client->Kill();
  for (auto& push : pushes) {
    const Status status = Runner::Take(std::move(push), Status::Internal("hang"));
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kPeerDead) << status.ToString();
  }
  const Status pulled = Runner::Take(std::move(pull), Status::Internal("hang"));
  EXPECT_TRUE(pulled.ok() || pulled.code() == StatusCode::kPeerDead) << pulled.ToString();
  EXPECT_TRUE(pair.handler.log.WaitFor([](const auto& log) { return !log.disconnected.empty(); }));
  EXPECT_TRUE(
      pair.holds.released.WaitFor([&](const auto& tokens) { return tokens.size() == used + 5; }));
  EXPECT_EQ(Runner::Take(pair.Push(frame, 1, 0), Status()).code(), StatusCode::kPeerDead);
  EXPECT_EQ(pair.handler.log.Get().disconnected.size(), 1u);
  EXPECT_EQ(pair.counters().quarantined.load(), 0u);
}

TEST_P(LostClientTest, StoppedInMidTransferEndsItAtTheDeadline) {
  client->Signal(SIGSTOP);
  std::vector<std::future<Status>> pushes;
  for (int i = 0; i < 3; ++i) pushes.push_back(pair.Push(frame, 1, 0, 300 * kMillisecond));
  std::vector<std::uint64_t> sums;
  auto pull = pair.Pull(frame, 2, 0, {{1, 0, kBytes}}, &sums, 300 * kMillisecond);
  for (auto& push : pushes) {
    const Status status = Runner::Take(std::move(push), Status::Internal("hang"));
    if (GetParam() == LinkKind::kShm) {
      // Copies need no client; only the machine's speed decides.
      EXPECT_TRUE(status.ok() || status.code() == StatusCode::kTimeout) << status.ToString();
    } else {
      EXPECT_EQ(status.code(), StatusCode::kTimeout) << status.ToString();
    }
  }
  const Status pulled = Runner::Take(std::move(pull), Status::Internal("hang"));
  if (GetParam() == LinkKind::kTcp) {
    EXPECT_EQ(pulled.code(), StatusCode::kTimeout) << pulled.ToString();
    // The socket keeps copies: nothing refers to a frame any more (L2).
    EXPECT_EQ(pair.counters().quarantined.load(), 0u);
    EXPECT_EQ(pair.holds.released.Get().size(), used + 4);
  }
  client->Signal(SIGCONT);
  EXPECT_TRUE(
      pair.holds.released.WaitFor([&](const auto& tokens) { return tokens.size() == used + 4; }));
  // The count falls right after the hold has gone: on the next call the reactor is past both.
  pair.server_runner.Call([] {});
  EXPECT_EQ(pair.counters().quarantined.load(), 0u);
}

TEST_P(LostClientTest, StoppedForGoodIsClosedAndItsFramesComeBack) {
  client->Signal(SIGSTOP);
  auto push = pair.Push(frame, 1, 0, 200 * kMillisecond);
  (void)Runner::Take(std::move(push), Status::Internal("hang"));
  pair.server_runner.Call([&] { pair.peer->link().Close(); });
  EXPECT_TRUE(
      pair.holds.released.WaitFor([&](const auto& tokens) { return tokens.size() == used + 1; }));
  EXPECT_TRUE(pair.handler.log.WaitFor([](const auto& log) { return !log.disconnected.empty(); }));
}

TEST(KilledClientTest, KilledWhileItConnectsDoesNotDisturbTheDaemon) {
  Pair pair(LinkKind::kTcp);
  ASSERT_TRUE(pair.connect_status.ok());
  SeededRandom random(31);
  for (int i = 0; i < 60; ++i) {
    ClientProcess client(pair.server->port(), LinkKind::kTcp, 4096, false);
    std::this_thread::sleep_for(std::chrono::microseconds(8000 + random.Below(25'000)));
    client.Kill();
  }
  pair.RoundTrip();
  EXPECT_TRUE(pair.handler.log.WaitFor(
      [](const auto& log) { return log.disconnected.size() + 1 == log.connected.size(); }));
}

INSTANTIATE_TEST_SUITE_P(All, LostClientTest, testing::Values(LinkKind::kTcp, LinkKind::kShm),
                         [](const auto& info) { return std::string(LinkKindName(info.param)); });

TEST(LostServerTest, ADaemonThatIsGoneClosesTheChannelAtOnce) {
  for (const LinkKind kind : {LinkKind::kTcp, LinkKind::kShm}) {
    Pair pair(kind);
    ASSERT_TRUE(pair.connect_status.ok());
    std::vector<std::byte> memory(kMiB);
    pair.Register(1, memory);
    pair.Expect(1, {memory});
    pair.server_runner.Await<bool>(
        [&]() -> Task<bool> {
          EXPECT_TRUE((co_await pair.server->Shutdown()).ok());
          co_return true;
        },
        false);
    EXPECT_TRUE(
        pair.channel_handler.log.WaitFor([](const auto& log) { return log.closed.size() == 1; }));
    EXPECT_EQ(pair.Withdraw(1), StatusCode::kOk);
    EXPECT_FALSE(pair.channel->Alive());
    pair.client_runner.Call([&] { pair.channel->Send({}); });
  }
}

}  // namespace
}  // namespace terrace::test
