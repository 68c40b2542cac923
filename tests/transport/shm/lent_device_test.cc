// Memory of GPUs that a daemon lends: what a client believes of it, and when it stops asking.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "transport/shm/lent_extents.h"

namespace terrace {
namespace {

constexpr std::uint32_t kExtent = kDeviceExtentFirst + 7;

class Mapping final : public DeviceMapping {
 public:
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept override { return bytes_; }
  [[nodiscard]] const std::string& gpu() const noexcept override { return gpu_; }

 private:
  const std::string gpu_ = "GPU-1";
  std::array<std::byte, 4096> bytes_{};
};

/// Maps, or says why not, and notes what is refused.
class Mapper final : public DeviceMapper {
 public:
  Result<std::shared_ptr<const DeviceMapping>> Map(const DeviceExport& /*exported*/) override {
    if (!answer.ok()) return answer;
    return std::shared_ptr<const DeviceMapping>(std::make_shared<Mapping>());
  }
  void Refuse(const std::string& /*gpu*/, const Status& why) override { refused.push_back(why); }
  Status answer;
  std::vector<Status> refused;
};

/// A process that listens as a daemon does, and a connection to it. Its first thread ends when it
/// is told to, another lives on: it is about to exit, and has not.
class HalfDead {
 public:
  HalfDead() {
    const sockaddr_un address = Address();
    listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    child_ = ::fork();
    if (child_ == 0) Serve(address);
    socket_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto* at = reinterpret_cast<const sockaddr*>(&address);
    connected_ = false;
    for (int i = 0; i < 2000 && !connected_; ++i) {
      connected_ = ::connect(socket_.get(), at, sizeof(address)) == 0;
      if (!connected_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  ~HalfDead() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  HalfDead(const HalfDead&) = delete;
  HalfDead& operator=(const HalfDead&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] int socket() const { return socket_.get(); }
  void EndFirstThread() const { EXPECT_EQ(::write(socket_.get(), "x", 1), 1); }

 private:
  /// Of no file: it goes with the process.
  static sockaddr_un Address() {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    const std::string name = "terrace-half-dead-" + std::to_string(::getpid());
    name.copy(&address.sun_path[1], name.size());
    return address;
  }
  [[noreturn]] void Serve(const sockaddr_un& address) const {
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) !=
            0 ||
        ::listen(listener_.get(), 1) != 0) {
      ::_exit(1);
    }
    const int peer = ::accept(listener_.get(), nullptr, nullptr);
    char byte = 0;
    if (::read(peer, &byte, 1) != 1) ::_exit(1);
    std::thread([] {
      std::this_thread::sleep_for(std::chrono::seconds(60));
      ::_exit(0);
    }).detach();
    ::syscall(SYS_exit, 0);
    ::_exit(1);
  }

  UniqueFd listener_;
  UniqueFd socket_;
  pid_t child_ = 0;
  bool connected_ = false;
};

class LentDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.connected());
    auto process = DaemonProcess::Behind(daemon_.socket());
    ASSERT_TRUE(process.ok()) << process.status().ToString();
    process_ = std::move(*process);
    extents_.HasDevicesOf(process_);
  }
  void Offer() {
    extents_.OfferDevice(kExtent, 1, UniqueFd(),
                         {.gpu = "GPU-1", .handle = {}, .offset = 0, .bytes = 4096}, mapper_);
  }
  /// It takes its time.
  bool AwaitExiting() {
    for (int i = 0; i < 2000 && !process_->Exiting(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return process_->Exiting() && !process_->Exited();
  }

  HalfDead daemon_;
  std::shared_ptr<const DaemonProcess> process_;
  LentExtents extents_;
  Mapper mapper_;
};

TEST_F(LentDeviceTest, ADaemonThatIsDyingVouchesForNothing) {
  Offer();
  UniqueFd page_fd;
  const std::shared_ptr<SharedPage> page = std::move(SharedPage::Create(&page_fd)).value();
  page->layout().generations[3] = 4;
  const auto lent = extents_.Take({.place = {.extent = kExtent, .edition = 1, .offset = 0},
                                   .bytes = 16,
                                   .slot = 3,
                                   .generation = 4},
                                  page);
  ASSERT_NE(lent, nullptr);
  EXPECT_TRUE(lent->Intact());
  daemon_.EndFirstThread();
  ASSERT_TRUE(AwaitExiting());
  EXPECT_FALSE(lent->Intact()) << "its GPU may be gone before its process is";
  EXPECT_FALSE(lent->Release());
}

TEST_F(LentDeviceTest, WhatALivingDaemonLendsInVainIsAskedForNoMore) {
  mapper_.answer = Status(StatusCode::kPeerDead, "no such memory");
  Offer();
  ASSERT_EQ(mapper_.refused.size(), 1U);
  EXPECT_EQ(mapper_.refused[0].code(), StatusCode::kPeerDead);
  EXPECT_FALSE(extents_.Knows({.extent = kExtent, .edition = 1, .offset = 0}));
  daemon_.EndFirstThread();
  ASSERT_TRUE(AwaitExiting());
  Offer();
  EXPECT_EQ(mapper_.refused.size(), 1U) << "a daemon that goes is no such reason";
}

}  // namespace
}  // namespace terrace
