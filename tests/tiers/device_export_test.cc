// Memory of a GPU that another process has: mapped, copied from and to, refused, and what becomes
// of it when that process dies. On the double everywhere, on GPU 0 where there is one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"
#include "tests/base/simulated_time.h"
#include "tiers/hbm/copy_engine.h"
#include "tiers/hbm/gpu.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace {
namespace {

constexpr std::size_t kBytes = 4 << 20;
constexpr const char* kChildKind = "TERRACE_EXPORT_TEST_KIND";
constexpr int kToParent = 3;
constexpr int kToChild = 4;

enum class Kind { kDouble, kGpu };

std::vector<std::byte> Pattern(std::uint64_t seed) {
  std::vector<std::byte> bytes(kBytes);
  SeededRandom random(seed);
  for (std::size_t i = 0; i < kBytes; i += 8) {
    const std::uint64_t word = random.Next();
    std::memcpy(&bytes[i], &word, 8);
  }
  return bytes;
}

/// A device, pinned memory of the host, and copies between the two.
class Mover {
 public:
  explicit Mover(Kind kind) : host_(static_cast<std::byte*>(std::aligned_alloc(4096, kBytes))) {
    if (kind == Kind::kDouble) {
      device_ = std::make_unique<HostDeviceMemory>();
    } else if (auto gpu = OpenGpu(0); gpu.ok()) {
      device_ = std::move(*gpu);
    }
    if (device_ == nullptr) return;
    EXPECT_TRUE(device_->PinHost(Host()).ok());
    engine_ = std::make_unique<CopyEngine>(*device_);
  }
  ~Mover() {
    if (engine_ != nullptr) {
      time_.Run(engine_->Drain());
      engine_.reset();
      EXPECT_TRUE(device_->UnpinHost(Host()).ok());
    }
    std::free(host_);
  }
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  [[nodiscard]] bool there() const { return device_ != nullptr; }
  [[nodiscard]] DeviceMemory& device() const { return *device_; }
  [[nodiscard]] std::span<std::byte> Host() const { return {host_, kBytes}; }
  Status Copy(CopyDirection direction, std::byte* to, const std::byte* from) {
    const DeviceCopy copy = {.to = to, .from = from, .bytes = kBytes};
    return time_.Run(engine_->Run({.direction = direction,
                                   .urgency = CopyUrgency::kDemand,
                                   .copies = {&copy, 1},
                                   .pieces = {},
                                   .checksums = {}}));
  }
  Status Write(std::byte* to, const std::vector<std::byte>& bytes) {
    std::memcpy(host_, bytes.data(), kBytes);
    return Copy(CopyDirection::kIn, to, host_);
  }
  std::uint64_t ChecksumOf(const std::byte* from) {
    std::memset(host_, 0, kBytes);
    EXPECT_TRUE(Copy(CopyDirection::kOut, host_, from).ok());
    return Checksum64(Host());
  }

 private:
  testing::SimulatedTime time_;
  std::byte* const host_;
  std::unique_ptr<DeviceMemory> device_;
  std::unique_ptr<CopyEngine> engine_;
};

void Say(int fd, const void* bytes, std::size_t count) {
  EXPECT_EQ(::write(fd, bytes, count), static_cast<ssize_t>(count));
}
bool Hear(int fd, void* bytes, std::size_t count) {
  auto* at = static_cast<char*>(bytes);
  while (count > 0) {
    const ssize_t got = ::read(fd, at, count);
    if (got <= 0) return false;
    at += got;
    count -= static_cast<std::size_t>(got);
  }
  return true;
}

/// The process that exports: run by the tests below, not by itself. Says what it exports, then
/// answers each byte that it is sent: 'c' the checksum of its memory, 'f' after freeing it.
TEST(ExporterProcess, DISABLED_Runs) {
  const char* kind = std::getenv(kChildKind);
  ASSERT_NE(kind, nullptr) << "run by DeviceExportTest";
  Mover mover(std::string(kind) == "double" ? Kind::kDouble : Kind::kGpu);
  ASSERT_TRUE(mover.there());
  const auto memory = mover.device().Allocate(kBytes);
  ASSERT_TRUE(memory.ok());
  ASSERT_TRUE(mover.Write(*memory, Pattern(1)).ok());
  const auto exported = mover.device().Export({*memory, kBytes});
  ASSERT_TRUE(exported.ok()) << exported.status().ToString();
  const std::array<std::uint64_t, 4> sizes = {exported->gpu.size(), exported->handle.size(),
                                              exported->offset, exported->bytes};
  Say(kToParent, sizes.data(), sizeof(sizes));
  Say(kToParent, exported->gpu.data(), exported->gpu.size());
  Say(kToParent, exported->handle.data(), exported->handle.size());
  for (char command = 0; Hear(kToChild, &command, 1);) {
    std::uint64_t answer = 0;
    if (command == 'c') answer = mover.ChecksumOf(*memory);
    if (command == 'f') EXPECT_TRUE(mover.device().Free(*memory).ok());
    Say(kToParent, &answer, sizeof(answer));
  }
}

/// It, from outside.
class Exporter {
 public:
  explicit Exporter(Kind kind) {
    std::array<int, 2> up{};
    std::array<int, 2> down{};
    EXPECT_EQ(::pipe2(up.data(), O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(down.data(), O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    // Past each other's places first.
    posix_spawn_file_actions_adddup2(&actions, up[1], 100);
    posix_spawn_file_actions_adddup2(&actions, down[0], 101);
    posix_spawn_file_actions_adddup2(&actions, 100, kToParent);
    posix_spawn_file_actions_adddup2(&actions, 101, kToChild);
    posix_spawn_file_actions_addclose(&actions, 100);
    posix_spawn_file_actions_addclose(&actions, 101);
    std::string kind_text =
        std::string(kChildKind) + "=" + (kind == Kind::kDouble ? "double" : "gpu");
    std::string program = "/proc/self/exe";
    std::string filter = "--gtest_filter=ExporterProcess.DISABLED_Runs";
    std::string disabled = "--gtest_also_run_disabled_tests";
    std::vector<char*> arguments = {program.data(), filter.data(), disabled.data(), nullptr};
    std::vector<char*> environment = {kind_text.data()};
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.push_back(*variable);
    }
    environment.push_back(nullptr);
    EXPECT_EQ(::posix_spawn(&process_, program.c_str(), &actions, nullptr, arguments.data(),
                            environment.data()),
              0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(up[1]);
    ::close(down[0]);
    from_ = up[0];
    to_ = down[1];
    std::array<std::uint64_t, 4> sizes{};
    EXPECT_TRUE(Hear(from_, sizes.data(), sizeof(sizes)));
    exported_.gpu.resize(sizes[0]);
    exported_.handle.resize(sizes[1]);
    exported_.offset = sizes[2];
    exported_.bytes = sizes[3];
    EXPECT_TRUE(Hear(from_, exported_.gpu.data(), sizes[0]));
    EXPECT_TRUE(Hear(from_, exported_.handle.data(), sizes[1]));
  }
  ~Exporter() {
    ::close(to_);
    ::close(from_);
    if (process_ > 0) ::waitpid(process_, nullptr, 0);
  }
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  [[nodiscard]] const DeviceExport& exported() const { return exported_; }
  std::uint64_t Ask(char command) const {
    std::uint64_t answer = 0;
    Say(to_, &command, 1);
    EXPECT_TRUE(Hear(from_, &answer, sizeof(answer)));
    return answer;
  }
  void Kill() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
  }

 private:
  pid_t process_ = 0;
  int from_ = -1;
  int to_ = -1;
  DeviceExport exported_;
};

class DeviceExportTest : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    mover_ = std::make_unique<Mover>(GetParam());
    if (!mover_->there()) GTEST_SKIP() << OpenGpu(0).status().ToString();
    exporter_ = std::make_unique<Exporter>(GetParam());
  }
  [[nodiscard]] Status OpenStatus(const DeviceExport& exported) const {
    const auto opened = mover_->device().OpenExport(exported);
    if (opened.ok()) mover_->device().CloseExport(*opened);
    return opened.status();
  }
  /// The device still does what it did.
  void ExpectUnharmed() {
    EXPECT_TRUE(mover_->device().health().ok()) << mover_->device().health().ToString();
    const auto own = mover_->device().Allocate(kBytes);
    ASSERT_TRUE(own.ok()) << own.status().ToString();
    EXPECT_TRUE(mover_->Write(*own, Pattern(3)).ok());
    EXPECT_EQ(mover_->ChecksumOf(*own), Checksum64(Pattern(3)));
    EXPECT_TRUE(mover_->device().Free(*own).ok());
  }

  std::unique_ptr<Mover> mover_;
  std::unique_ptr<Exporter> exporter_;
};

TEST_P(DeviceExportTest, BytesOfAnotherProcessAreReadAndWritten) {
  const auto memory = mover_->device().OpenExport(exporter_->exported());
  ASSERT_TRUE(memory.ok()) << memory.status().ToString();
  ASSERT_EQ(memory->size(), kBytes);
  EXPECT_EQ(mover_->ChecksumOf(memory->data()), Checksum64(Pattern(1)));
  ASSERT_TRUE(mover_->Write(memory->data(), Pattern(2)).ok());
  EXPECT_EQ(exporter_->Ask('c'), Checksum64(Pattern(2))) << "what it has now";
  // Device to device, which is what this is for.
  const auto own = mover_->device().Allocate(kBytes);
  ASSERT_TRUE(own.ok());
  ASSERT_TRUE(mover_->Write(*own, Pattern(4)).ok());
  ASSERT_TRUE(mover_->Copy(CopyDirection::kWithin, memory->data(), *own).ok());
  EXPECT_EQ(exporter_->Ask('c'), Checksum64(Pattern(4)));
  EXPECT_TRUE(mover_->device().Free(*own).ok());
  mover_->device().CloseExport(*memory);
}

TEST_P(DeviceExportTest, AnAllocationIsMappedOnceAndLetGoWithItsLastUser) {
  DeviceExport half = exporter_->exported();
  half.offset += kBytes / 2;
  half.bytes = kBytes / 2;
  const auto whole = mover_->device().OpenExport(exporter_->exported());
  const auto rest = mover_->device().OpenExport(half);
  ASSERT_TRUE(whole.ok() && rest.ok());
  EXPECT_EQ(whole->data() + kBytes / 2, rest->data()) << "it was mapped twice";
  mover_->device().CloseExport(*rest);
  EXPECT_EQ(mover_->ChecksumOf(whole->data()), Checksum64(Pattern(1))) << "and is still mapped";
  mover_->device().CloseExport(*whole);
  if (const auto* twin = dynamic_cast<HostDeviceMemory*>(&mover_->device())) {
    EXPECT_EQ(twin->mapped(), 0U);
  }
}

TEST_P(DeviceExportTest, WhatIsClaimedIsComparedWithWhatIsThere) {
  const auto refused = [&](DeviceExport claimed, const std::string& field) {
    const Status status = OpenStatus(claimed);
    EXPECT_EQ(status.code(), StatusCode::kInvalid) << field << ": " << status.ToString();
    EXPECT_NE(status.message().find(field), std::string::npos) << status.message();
  };
  DeviceExport claimed = exporter_->exported();
  claimed.bytes = (4ULL << 20) + kBytes;  // a driver may round up to 2 MiB
  refused(claimed, "length");
  claimed = exporter_->exported();
  claimed.offset = 64ULL << 30;
  refused(claimed, "length");
  claimed.offset = ~std::uint64_t{0} - 10;
  refused(claimed, "overflow");
  claimed = exporter_->exported();
  claimed.bytes = 0;
  refused(claimed, "length");
  claimed = exporter_->exported();
  claimed.gpu = "GPU-00000000-0000-0000-0000-000000000000";
  refused(claimed, "gpu");
  claimed = exporter_->exported();
  claimed.handle.clear();
  refused(claimed, "handle");
  claimed.handle.assign(DeviceExport::kHandleBytesMax + 1, std::byte{1});
  refused(claimed, "handle");
  if (const auto* twin = dynamic_cast<HostDeviceMemory*>(&mover_->device())) {
    EXPECT_EQ(twin->mapped(), 0U) << "what was refused stays mapped";
  }
  ExpectUnharmed();
}

TEST_P(DeviceExportTest, BytesThatAreNoHandleHarmNobody) {
  SeededRandom random(5);
  for (int round = 0; round < 50; ++round) {
    DeviceExport claimed = exporter_->exported();
    for (int i = 0; i < (round % 2 == 0 ? 1 : 64); ++i) {
      claimed.handle[random.Below(claimed.handle.size())] ^=
          static_cast<std::byte>(1 + random.Below(255));
    }
    if (claimed.handle == exporter_->exported().handle) continue;
    // A bit of it may mean nothing, and then it is the same memory.
    const Status status = OpenStatus(claimed);
    if (!status.ok()) EXPECT_FALSE(status.message().empty());
  }
  ExpectUnharmed();
}

TEST_P(DeviceExportTest, WhatIsNoAllocationIsNotExported) {
  const auto own = mover_->device().Allocate(kBytes);
  ASSERT_TRUE(own.ok());
  EXPECT_EQ(mover_->device().Export(mover_->Host()).code(), StatusCode::kInvalid);
  const auto part = mover_->device().Export({*own + 4096, 4096});
  ASSERT_TRUE(part.ok()) << part.status().ToString();
  EXPECT_EQ(part->bytes, 4096U);
  EXPECT_TRUE(mover_->device().Free(*own).ok());
  ExpectUnharmed();
}

TEST_P(DeviceExportTest, AHandleOfADeadProcessIsRefused) {
  exporter_->Kill();
  const Status status = OpenStatus(exporter_->exported());
  EXPECT_FALSE(status.ok());
  if (GetParam() == Kind::kDouble) {
    EXPECT_EQ(status.code(), StatusCode::kPeerDead) << status.ToString();
  }
  ExpectUnharmed();
}

TEST_P(DeviceExportTest, AHandleOfFreedMemoryIsRefused) {
  (void)exporter_->Ask('f');
  EXPECT_FALSE(OpenStatus(exporter_->exported()).ok());
  ExpectUnharmed();
}

TEST_P(DeviceExportTest, WhoDiesWhileItsMemoryIsMappedHarmsNobody) {
  const auto memory = mover_->device().OpenExport(exporter_->exported());
  ASSERT_TRUE(memory.ok()) << memory.status().ToString();
  exporter_->Kill();
  EXPECT_TRUE(mover_->Write(memory->data(), Pattern(2)).ok());
  EXPECT_EQ(mover_->ChecksumOf(memory->data()), Checksum64(Pattern(2)));
  mover_->device().CloseExport(*memory);
  ExpectUnharmed();
}

INSTANTIATE_TEST_SUITE_P(Double, DeviceExportTest, ::testing::Values(Kind::kDouble));
INSTANTIATE_TEST_SUITE_P(Gpu, DeviceExportTest, ::testing::Values(Kind::kGpu));

}  // namespace
}  // namespace terrace
