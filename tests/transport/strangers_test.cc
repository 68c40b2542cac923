// What anybody on the host may pass to the daemon, or become, stops and harms nobody else.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/transport/harness.h"
#include "tests/transport/raw_client.h"
#include "transport/shm/client_process.h"
#include "transport/shm/shared_region.h"

namespace terrace::test {
namespace {

/// Both ends of a TCP connection that nobody reads. Who closes the first one last waits for 10
/// minutes.
std::array<UniqueFd, 2> Lingering() {
  const auto address = *NumericAddress("127.0.0.1", 0);
  const UniqueFd listener = std::move(ListenTcp(address).value());
  UniqueFd one = std::move(BeginConnectTcp(LocalAddress(listener.get())).value());
  UniqueFd other;
  while (!other) other = UniqueFd(::accept(listener.get(), nullptr, nullptr));
  const std::vector<std::byte> bytes(1 << 20);
  while (::send(one.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
  }
  const linger wait{.l_onoff = 1, .l_linger = 600};
  EXPECT_EQ(::setsockopt(one.get(), SOL_SOCKET, SO_LINGER, &wait, sizeof(wait)), 0);
  return {std::move(one), std::move(other)};
}

/// False: the system does not let strangers pass any (Linux 6.16).
bool Pass(int socket, std::span<const std::byte> bytes, int descriptor, std::size_t times = 1) {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(253 * sizeof(int))> space{};
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = space.data();
  message.msg_controllen = CMSG_SPACE(times * sizeof(int));
  cmsghdr* const control = CMSG_FIRSTHDR(&message);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(times * sizeof(int));
  for (std::size_t i = 0; i < times; ++i) {
    std::memcpy(CMSG_DATA(control) + i * sizeof(int), &descriptor, sizeof(int));
  }
  const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  EXPECT_TRUE(sent == std::ssize(bytes) || (sent < 0 && errno == EPERM)) << std::strerror(errno);
  return sent > 0;
}

/// Passes it, and keeps no copy.
void PassOn(int socket, std::span<const std::byte> bytes, UniqueFd lingering) {
  if (Pass(socket, bytes, lingering.get())) return;
  const linger none{};
  ::setsockopt(lingering.get(), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

std::ptrdiff_t OpenDescriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

/// Waits for what is done elsewhere.
bool ComesDownTo(std::ptrdiff_t descriptors) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (OpenDescriptors() > descriptors) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// A server with one well-behaved client, which must not notice anything.
class StrangersTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString(); }
  void TearDown() override {
    pair.RoundTrip();
    EXPECT_TRUE(pair.channel_handler.log.Get().closed.empty());
  }
  /// A connection that has said Hello, or that has not, as a same-host client.
  RawClient Stranger() {
    RawClient client(pair.server->port(), true);
    if (GetParam()) {
      HelloText text;
      text.probe = probe_;
      text.probe_value = probe_[0];
      client.SendFrame(BuildHello(text));
      EXPECT_EQ(client.ReadError(), "HelloReply");
    }
    return client;
  }
  /// The daemon's thread does nothing from now on until the result is set.
  std::shared_ptr<std::promise<void>> FreezeServer() {
    auto thaw = std::make_shared<std::promise<void>>();
    const auto frozen = std::make_shared<std::promise<void>>();
    pair.server_runner.reactor().Post([thaw, frozen] {
      frozen->set_value();
      thaw->get_future().wait();
    });
    frozen->get_future().wait();
    return thaw;
  }
  const std::array<std::byte, 12> half_frame_ = [] {
    std::array<std::byte, 12> bytes{};
    const auto header = FrameHeaderFor(100);
    std::copy(header.begin(), header.end(), bytes.begin());
    return bytes;
  }();
  alignas(16) std::uint64_t probe_[2] = {0x1234567890abcdef, 0};
  Pair pair{LinkKind::kShm};
};
INSTANTIATE_TEST_SUITE_P(Hello, StrangersTest, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "Said" : "NotSaid");
});

TEST_P(StrangersTest, AFileThatIsSlowToCloseHoldsNobodyUpWhenItIsRead) {
  RawClient stranger = Stranger();
  auto [slow, other_end] = Lingering();
  const auto thaw = FreezeServer();
  PassOn(stranger.fd(), half_frame_, std::move(slow));
  thaw->set_value();
  pair.RoundTrip();
  stranger.Close();
  for (int i = 0; i < 10; ++i) pair.RoundTrip();
}

TEST_P(StrangersTest, AFileThatIsSlowToCloseHoldsNobodyUpWhenItIsNotRead) {
  RawClient stranger = Stranger();
  auto [slow, other_end] = Lingering();
  const auto thaw = FreezeServer();
  stranger.SendBytes(std::array<std::byte, 8>{});  // no frame: the connection ends
  PassOn(stranger.fd(), half_frame_, std::move(slow));
  thaw->set_value();
  EXPECT_TRUE(stranger.WaitForClose());
  pair.RoundTrip();
}

TEST_P(StrangersTest, AFileThatIsSlowToCloseHoldsNobodyUpWhenItsClientIsNotAccepted) {
  std::vector<RawClient> waiting;
  for (int i = 0; i < 256; ++i) waiting.emplace_back(pair.server->port(), true);
  const auto thaw = FreezeServer();
  RawClient stranger(pair.server->port(), true);
  auto [slow, other_end] = Lingering();
  PassOn(stranger.fd(), half_frame_, std::move(slow));
  thaw->set_value();
  pair.RoundTrip();
}

TEST_P(StrangersTest, DescriptorsThatNobodyAskedForAreNotKept) {
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  RawClient stranger = Stranger();
  pair.RoundTrip();
  for (int turn = 0; turn < 2; ++turn) pair.server_runner.Call([] {});  // it is accepted by then
  const std::ptrdiff_t before = OpenDescriptors();
  Pass(stranger.fd(), half_frame_, null.get(), 253);
  for (int i = 0; i < 20; ++i) Pass(stranger.fd(), std::array<std::byte, 1>{}, null.get());
  pair.RoundTrip();
  const std::ptrdiff_t wanted = GetParam() ? 1 : 0;  // a region may follow
  EXPECT_TRUE(ComesDownTo(before + wanted)) << OpenDescriptors() << ", not " << before;
  stranger.Close();
}

/// The top of a file system whose process answers nothing, or nothing (no right to make one).
class DeafFileSystem {
 public:
  DeafFileSystem() : channel_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    const std::string options =
        "fd=" + std::to_string(channel_.get()) + ",rootmode=40000,user_id=0,group_id=0";
    if (!channel_ || ::mount("test", folder_.c_str(), "fuse", 0, options.c_str()) != 0) return;
    top_ = UniqueFd(::open(folder_.c_str(), O_PATH | O_CLOEXEC));
    ::umount2(folder_.c_str(), MNT_DETACH);
  }
  ~DeafFileSystem() { std::filesystem::remove(folder_); }
  DeafFileSystem(const DeafFileSystem&) = delete;
  DeafFileSystem& operator=(const DeafFileSystem&) = delete;
  [[nodiscard]] int top() const { return top_.get(); }
  /// Whoever waits for an answer gets an error.
  void HangUp() { channel_.Reset(); }

 private:
  std::string folder_ = [] {
    std::string name = testing::TempDir() + "terrace-deaf-XXXXXX";
    return std::string(::mkdtemp(name.data()));
  }();
  UniqueFd channel_;
  UniqueFd top_;
};

TEST(SharedRegionTest, AFileWhoseProcessAnswersNothingIsRefusedWithoutAskingIt) {
  DeafFileSystem deaf;
  if (deaf.top() < 0) GTEST_SKIP() << "FUSE is not to be had";
  auto refused = std::async(std::launch::async, [&deaf] {
    return SharedRegion::Map(deaf.top(), 4096, SharedMemoryUse::OfOneClient()).status().code();
  });
  EXPECT_EQ(refused.wait_for(kPatience), std::future_status::ready);
  deaf.HangUp();
  EXPECT_EQ(refused.get(), StatusCode::kInvalid);
}

/// Made by root, a copy of a program that waits, whoever starts it.
class SetUserId {
 public:
  SetUserId() {
    std::filesystem::copy_file("/bin/sleep", path);
    ::chmod(folder.c_str(), 0755);
    ::chmod(path.c_str(), 04755);
  }
  ~SetUserId() { std::filesystem::remove_all(folder); }
  SetUserId(const SetUserId&) = delete;
  SetUserId& operator=(const SetUserId&) = delete;
  [[nodiscard]] bool counts() const {
    struct statvfs about{};
    return ::statvfs(path.c_str(), &about) == 0 && (about.f_flag & ST_NOSUID) == 0;
  }
  std::string folder = [] {
    std::string name = testing::TempDir() + "terrace-suid-XXXXXX";
    return std::string(::mkdtemp(name.data()));
  }();
  std::string path = folder + "/program";
};

/// Child: connects as nobody, and becomes `program` when it is told.
[[noreturn]] void ConnectThenBecome(const sockaddr_un& address, socklen_t length,
                                    const char* command) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0 ||
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      ::dup2(fd, 9) != 9) {
    ::_exit(1);
  }
  ::execl("/bin/sh", "sh", "-c", command, nullptr);
  ::_exit(1);
}

TEST(ClientProcessTest, AClientThatBecomesAnotherUsersProgramIsTouchedNoMore) {
  if (::geteuid() != 0) GTEST_SKIP() << "takes root";
  const SetUserId program;
  if (!program.counts()) GTEST_SKIP() << "set-user-ID does not count in " << program.folder;
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t length = sizeof(address);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const std::string command = "echo here >&9; read word <&9; exec " + program.path + " 600";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ConnectThenBecome(address, length, command.c_str());
  const UniqueFd client(::accept(listener.get(), nullptr, nullptr));
  std::array<char, 8> word{};
  ASSERT_GT(::recv(client.get(), word.data(), word.size(), 0), 0);

  const auto process = ClientProcess::Behind(client.get());
  ASSERT_TRUE(process.ok()) << process.status().ToString();
  EXPECT_EQ(process->pid(), child);
  EXPECT_TRUE(process->CheckOwner().ok()) << process->CheckOwner().ToString();
  ASSERT_EQ(::send(client.get(), "go\n", 3, MSG_NOSIGNAL), 3);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (process->CheckOwner().ok() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(process->CheckOwner().code(), StatusCode::kPeerDead);
  EXPECT_TRUE(process->CheckLife().ok());
  EXPECT_FALSE(ClientProcess::Behind(client.get()).ok()) << "nor is it trusted afresh";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(process->CheckLife().code(), StatusCode::kPeerDead);
}

}  // namespace
}  // namespace terrace::test
