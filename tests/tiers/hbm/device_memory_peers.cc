// Device memory between two processes: this program starts itself again as the one that exports,
// and takes the part of the one that opens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "tests/tiers/hbm/device_memory_fixture.h"

extern char** environ;

namespace terrace {
namespace {

constexpr std::size_t kBytes = (3 << 20) + 4096;
constexpr CopyUrgency kDemand = CopyUrgency::kDemand;
constexpr const char* kChildVariable = "TERRACE_TEST_EXPORTER";

bool ReadAll(int fd, void* to, std::size_t bytes) {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::read(fd, at, bytes);
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

/// Another process, whose device memory holds FillRandom(.., 1). It lives until Finish or Kill.
class Exporter {
 public:
  /// `filter`: the test that is the child's part.
  explicit Exporter(const std::string& filter) {
    int out[2];
    int in[2];
    TERRACE_CHECK(::pipe(out) == 0 && ::pipe(in) == 0);
    posix_spawn_file_actions_t actions;
    TERRACE_CHECK(::posix_spawn_file_actions_init(&actions) == 0);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], kChildReads);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], kChildWrites);
    for (const int fd : {in[1], out[0]}) ::posix_spawn_file_actions_addclose(&actions, fd);
    std::string program = "/proc/self/exe";
    std::string argument = "--gtest_filter=" + filter;
    char* arguments[] = {program.data(), argument.data(), nullptr};
    std::string variable = std::string(kChildVariable) + "=1";
    std::vector<char*> environment;
    for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
    environment.push_back(variable.data());
    environment.push_back(nullptr);
    TERRACE_CHECK(::posix_spawn(&process_, program.c_str(), &actions, nullptr, arguments,
                                environment.data()) == 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    to_child_ = in[1];
    from_child_ = out[0];
  }
  ~Exporter() {
    if (process_ > 0) Kill();
    ::close(to_child_);
    ::close(from_child_);
  }
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  std::optional<ExportedMemory> Exported() {
    ExportedMemory exported;
    if (!ReadAll(from_child_, exported.handle.data(), exported.handle.size())) return {};
    if (!ReadAll(from_child_, &exported.bytes, sizeof exported.bytes)) return {};
    return exported;
  }
  /// Lets the child look at its memory and end; its exit code.
  int Finish() {
    const char go = 'g';
    EXPECT_EQ(::write(to_child_, &go, 1), 1);
    return Wait();
  }
  void Kill() {
    ::kill(process_, SIGKILL);
    Wait();
  }

  static constexpr int kChildReads = 80;
  static constexpr int kChildWrites = 81;

 private:
  int Wait() {
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
  }
  pid_t process_ = 0;
  int to_child_ = -1;
  int from_child_ = -1;
};

std::string ChildFilter() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string suite = info->test_suite_name();
  const std::string name = info->name();
  return suite + ".TheExporter" + name.substr(name.find('/'));
}

Task<void> Move(DeviceMemory* memory, DeviceAddress device, std::span<std::byte> host, bool in) {
  const Status status = in ? co_await memory->CopyIn(device, host, {}, kDemand)
                           : co_await memory->CopyOut(host, device, {}, kDemand);
  EXPECT_TRUE(status.ok()) << status.ToString();
}

// The child's part. It fails when what the parent wrote is not there.
TEST_P(DeviceMemoryTest, TheExporter) {
  if (std::getenv(kChildVariable) == nullptr) GTEST_SKIP() << "only as the other tests' child";
  const auto memory = memory_->Allocate(kBytes);
  ASSERT_TRUE(memory.ok()) << memory.status().ToString();
  const auto host = host_.part(0, kBytes);
  FillRandom(host, 1);
  Run(Move(memory_.get(), memory.value(), host, true));
  const auto exported = memory_->Export(memory.value());
  ASSERT_TRUE(exported.ok()) << exported.status().ToString();
  EXPECT_EQ(exported->bytes, kBytes);
  ASSERT_EQ(::write(Exporter::kChildWrites, exported->handle.data(), exported->handle.size()),
            static_cast<ssize_t>(exported->handle.size()));
  ASSERT_EQ(::write(Exporter::kChildWrites, &exported->bytes, sizeof exported->bytes),
            static_cast<ssize_t>(sizeof exported->bytes));
  char go = 0;
  ASSERT_TRUE(ReadAll(Exporter::kChildReads, &go, 1));
  const auto back = host_.part(8 << 20, kBytes);
  Run(Move(memory_.get(), memory.value(), back, false));
  FillRandom(host, 2);
  EXPECT_TRUE(std::ranges::equal(host.first(kBytes / 2), back.first(kBytes / 2)));
  FillRandom(host, 1);
  EXPECT_TRUE(std::ranges::equal(host.subspan(kBytes / 2), back.subspan(kBytes / 2)));
  memory_->Free(memory.value());
}

/// From the peer's memory to ours, and other bytes to its first half.
Task<void> UseOpened(DeviceMemory* memory, DeviceAddress pool, DeviceAddress opened,
                     std::span<std::byte> host) {
  const auto expected = host.first(kBytes);
  const auto back = host.subspan(8 << 20, kBytes);
  FillRandom(expected, 1);
  std::vector<std::uint64_t> checksums(ChecksumPieceCount(kBytes));
  Status status = co_await memory->CopyWithin(pool, opened, kBytes, checksums, kDemand);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(checksums, HostChecksums(expected));
  status = co_await memory->CopyOut(back, pool, {}, kDemand);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(std::ranges::equal(expected, back));
  FillRandom(expected, 2);
  EXPECT_TRUE((co_await memory->CopyIn(pool, expected, {}, kDemand)).ok());
  status = co_await memory->CopyWithin(opened, pool, kBytes / 2, {}, kDemand);
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST_P(DeviceMemoryTest, BytesOfAnotherProcessAreItsOwnAndSoIsWhatIsWrittenThere) {
  Exporter exporter(ChildFilter());
  const auto exported = exporter.Exported();
  ASSERT_TRUE(exported.has_value());
  const auto opened = memory_->OpenExported(*exported);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  Run(UseOpened(memory_.get(), pool_, opened.value(), host_.all()));
  memory_->CloseExported(opened.value());
  EXPECT_EQ(exporter.Finish(), 0) << "the child does not see what was written to it";
}

TEST_P(DeviceMemoryTest, APeerThatSaysItHasMoreThanItHasIsRefused) {
  Exporter exporter(ChildFilter());
  auto exported = exporter.Exported();
  ASSERT_TRUE(exported.has_value());
  exported->bytes += std::uint64_t{64} << 20;
  const auto opened = memory_->OpenExported(*exported);
  EXPECT_EQ(opened.code(), StatusCode::kInvalid) << opened.status().ToString();
  EXPECT_TRUE(memory_->State().ok());
}

TEST_P(DeviceMemoryTest, TheHandleOfADeadProcessIsAnErrorAndNoHang) {
  Exporter exporter(ChildFilter());
  const auto exported = exporter.Exported();
  ASSERT_TRUE(exported.has_value());
  exporter.Kill();
  const auto opened = memory_->OpenExported(*exported);
  EXPECT_EQ(opened.code(), StatusCode::kPeerDead) << opened.status().ToString();
  EXPECT_TRUE(memory_->State().ok()) << memory_->State().ToString();
}

TEST_P(DeviceMemoryTest, APeerThatDiesLeavesWhatIsMappedReadableUntilItIsClosed) {
  Exporter exporter(ChildFilter());
  const auto exported = exporter.Exported();
  ASSERT_TRUE(exported.has_value());
  const auto opened = memory_->OpenExported(*exported);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  exporter.Kill();
  Run(UseOpened(memory_.get(), pool_, opened.value(), host_.all()));
  memory_->CloseExported(opened.value());
  EXPECT_TRUE(memory_->State().ok()) << memory_->State().ToString();
}

TEST_P(DeviceMemoryTest, AHandleOfNobodyOrOfThisProcessIsRefused) {
  EXPECT_EQ(memory_->OpenExported({}).code(), StatusCode::kInvalid);
  ExportedMemory garbage{.bytes = 4096};
  garbage.handle.fill(std::byte{0x5a});
  const auto opened = memory_->OpenExported(garbage);
  EXPECT_FALSE(opened.ok());
  const auto own = memory_->Export(pool_);
  ASSERT_TRUE(own.ok()) << own.status().ToString();
  const auto again = memory_->OpenExported(own.value());
  EXPECT_EQ(again.code(), StatusCode::kInvalid) << again.status().ToString();
  EXPECT_TRUE(memory_->State().ok()) << memory_->State().ToString();
}

}  // namespace
}  // namespace terrace
