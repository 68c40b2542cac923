// What every Device promises, run over all of them; then what the real ones refuse to open.
#include "base/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "base/device_faulty.h"
#include "base/device_file.h"
#include "base/device_sim.h"
#include "base/device_threads.h"
#include "base/device_uring.h"
#include "base/random.h"
#include "base/reactor.h"
#include "base/wait.h"

namespace terrace {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kDeviceBytes = 32 * kMiB;

struct FreeBytes {
  void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
};

/// Memory fit for O_DIRECT.
class Buffer {
 public:
  explicit Buffer(std::size_t size)
      : bytes_(static_cast<std::byte*>(std::aligned_alloc(4096, size))), size_(size) {
    std::memset(bytes_.get(), 0xa5, size);
  }
  [[nodiscard]] std::span<std::byte> span() const { return {bytes_.get(), size_}; }
  void Fill(std::uint64_t seed) const {
    SeededRandom random(seed);
    for (std::size_t at = 0; at < size_; at += 8) {
      const std::uint64_t word = random.Next();
      std::memcpy(bytes_.get() + at, &word, 8);
    }
  }
  friend bool operator==(const Buffer& left, const Buffer& right) {
    return left.size_ == right.size_ &&
           std::memcmp(left.bytes_.get(), right.bytes_.get(), left.size_) == 0;
  }

 private:
  std::unique_ptr<std::byte, FreeBytes> bytes_;
  std::size_t size_;
};

/// A path in the build folder (TMPDIR may be a tmpfs without O_DIRECT), removed at the end.
class TemporaryPath {
 public:
  TemporaryPath() {
    const auto* const info = testing::UnitTest::GetInstance()->current_test_info();
    path_ = "device_test." + std::to_string(getpid()) + "." + info->name();
    for (char& letter : path_) {
      if (letter == '/') letter = '_';
    }
    unlink(path_.c_str());
  }
  ~TemporaryPath() { unlink(path_.c_str()); }
  TemporaryPath(const TemporaryPath&) = delete;
  TemporaryPath& operator=(const TemporaryPath&) = delete;
  [[nodiscard]] const std::string& str() const { return path_; }

 private:
  std::string path_;
};

enum class Way { kUring, kThreads, kThreadsOnEpoll, kSimulated, kFaultyWithoutFaults };

class DeviceTest : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    auto reactor = Reactor::Create({.use_io_uring = GetParam() != Way::kThreadsOnEpoll}, clock_);
    ASSERT_TRUE(reactor.ok());
    reactor_ = std::move(reactor).value();
    if (GetParam() == Way::kUring && reactor_->ring() == nullptr) {
      GTEST_SKIP() << "the kernel refuses io_uring";
    }
    const DeviceOptions options{.path = path_.str(), .size_bytes = kDeviceBytes};
    switch (GetParam()) {
      case Way::kUring: Keep(UringDevice::Open(*reactor_, options)); break;
      case Way::kThreads:
      case Way::kThreadsOnEpoll: Keep(ThreadDevice::Open(*reactor_, options)); break;
      case Way::kSimulated: device_ = MakeSimulated(); break;
      case Way::kFaultyWithoutFaults:
        wrapped_ = MakeSimulated();
        device_ = std::make_unique<FaultyDevice>(*wrapped_, random_, FaultyDeviceOptions{});
        break;
    }
  }

  template <typename Opened>
  void Keep(Result<std::unique_ptr<Opened>> opened) {
    if (opened.code() == StatusCode::kUnsupported) GTEST_SKIP() << opened.status().ToString();
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    device_ = std::move(opened).value();
  }
  std::unique_ptr<Device> MakeSimulated() {
    return std::make_unique<SimulatedDevice>(
        SimulatedDeviceOptions{.size_bytes = kDeviceBytes, .latency_min = 0, .latency_max = 1000},
        random_);
  }

  static Task<void> ThenStop(Task<void> task, Reactor* reactor) {
    co_await std::move(task);
    reactor->Stop();
  }
  /// Runs the task to its end on the reactor.
  void Run(Task<void> task) {
    TaskScope scope;
    {
      const Scheduler::CurrentScope current(reactor_->scheduler());
      scope.Spawn(ThenStop(std::move(task), reactor_.get()));
    }
    reactor_->Run();
  }

  SteadyClock clock_;
  SeededRandom random_{1};
  TemporaryPath path_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<Device> wrapped_;
  std::unique_ptr<Device> device_;
};

std::string WayName(const testing::TestParamInfo<Way>& info) {
  switch (info.param) {
    case Way::kUring: return "io_uring";
    case Way::kThreads: return "threads";
    case Way::kThreadsOnEpoll: return "threads_on_epoll";
    case Way::kSimulated: return "simulated";
    case Way::kFaultyWithoutFaults: return "faulty_without_faults";
  }
  return "unknown";
}
INSTANTIATE_TEST_SUITE_P(Ways, DeviceTest,
                         testing::Values(Way::kUring, Way::kThreads, Way::kThreadsOnEpoll,
                                         Way::kSimulated, Way::kFaultyWithoutFaults),
                         WayName);

Task<void> WriteAndRead(Device* device, std::uint64_t offset, std::size_t length,
                        std::uint64_t seed) {
  const Buffer written(length);
  written.Fill(seed);
  const Status write = co_await device->Write(offset, written.span());
  EXPECT_TRUE(write.ok()) << write.ToString();
  const Buffer read(length);
  const Status status = co_await device->Read(offset, read.span());
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(read == written) << length << " bytes at " << offset;
}

Task<void> WriteAndReadLengths(Device* device) {
  // Shorter and longer than a chunk (1 MiB) and than all chunks in flight (4 MiB).
  for (const std::size_t length :
       {4096UL, 65536UL, kMiB, kMiB + 4096, 5 * kMiB + 8192, 16 * kMiB}) {
    co_await WriteAndRead(device, device->size() - length, length, length);
    co_await WriteAndRead(device, 0, length, length + 1);
  }
}

TEST_P(DeviceTest, ReadsWhatWasWrittenAtAnyLength) { Run(WriteAndReadLengths(device_.get())); }

Task<void> ManyAtOnce(Device* device) {
  // More calls than the ring and the threads' queue have places.
  constexpr std::uint64_t kCalls = 400;
  TaskScope scope;
  for (std::uint64_t i = 0; i < kCalls; ++i) {
    scope.Spawn(WriteAndRead(device, i * 65536, 65536, i));
  }
  co_await scope.Join();
  for (std::uint64_t i = 0; i < kCalls; ++i) {
    const Buffer expected(65536);
    expected.Fill(i);
    const Buffer read(65536);
    EXPECT_TRUE((co_await device->Read(i * 65536, read.span())).ok());
    EXPECT_TRUE(read == expected) << "block " << i;
  }
}

TEST_P(DeviceTest, ManyCallsAtOnceAllEndAndNeverMix) { Run(ManyAtOnce(device_.get())); }

Task<void> SyncAfterWrite(Device* device) {
  co_await WriteAndRead(device, 8192, 4096, 3);
  const Status synced = co_await device->Sync();
  EXPECT_TRUE(synced.ok()) << synced.ToString();
  // A fresh device is readable everywhere: zeros.
  const Buffer read(4096);
  EXPECT_TRUE((co_await device->Read(0, read.span())).ok());
  EXPECT_EQ(read.span()[0], std::byte{0});
  EXPECT_TRUE((co_await device->Read(0, {})).ok());
}

TEST_P(DeviceTest, SyncsAndReadsZerosWhereNothingWasWritten) {
  Run(SyncAfterWrite(device_.get()));
  EXPECT_EQ(device_->size(), kDeviceBytes);
  EXPECT_GE(device_->alignment(), 512U);
}

Task<void> ReadPastCut(Device* device, const char* path) {
  co_await WriteAndRead(device, 0, 2 * kMiB, 9);
  EXPECT_EQ(truncate(path, kMiB), 0);
  const Buffer read(2 * kMiB);
  const Status status = co_await device->Read(0, read.span());
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find(path), std::string::npos) << status.ToString();
}

TEST_P(DeviceTest, FileCutBehindItsBackIsAnErrorNotAHang) {
  if (GetParam() == Way::kSimulated || GetParam() == Way::kFaultyWithoutFaults) {
    GTEST_SKIP() << "no file";
  }
  Run(ReadPastCut(device_.get(), path_.str().c_str()));
}

TEST(DeviceFileTest, SaysWhyItCannotOpen) {
  const TemporaryPath path;
  const auto refusal = [](const DeviceOptions& options) {
    const Result<DeviceFile> opened = DeviceFile::Open(options);
    EXPECT_FALSE(opened.ok());
    return opened.status().ToString();
  };
  using testing::HasSubstr;
  EXPECT_THAT(refusal({.path = path.str()}), HasSubstr("No such file"));
  EXPECT_THAT(refusal({.path = "/"}), HasSubstr("neither a regular file nor a block device"));
  EXPECT_THAT(refusal({.path = "/dev/null"}), HasSubstr("neither"));
  EXPECT_THAT(refusal({.path = path.str() + "/x/y", .size_bytes = kMiB}),
              HasSubstr("No such file"));
  EXPECT_THAT(refusal({.path = path.str(), .size_bytes = 4096}), HasSubstr("too small"));
  EXPECT_THAT(refusal({.path = path.str(), .size_bytes = 2 * kMiB + 1}),
              HasSubstr("not a multiple of 4096"));
  EXPECT_THAT(refusal({.path = path.str(), .size_bytes = 1ULL << 43}), HasSubstr("bytes"));
}

TEST(DeviceFileTest, SecondDaemonOnTheSameFileIsRefused) {
  const TemporaryPath path;
  const DeviceOptions options{.path = path.str(), .size_bytes = kMiB};
  {
    const Result<DeviceFile> first = DeviceFile::Open(options);
    if (first.code() == StatusCode::kUnsupported) GTEST_SKIP() << first.status().ToString();
    ASSERT_TRUE(first.ok()) << first.status().ToString();
    const Result<DeviceFile> second = DeviceFile::Open(options);
    EXPECT_EQ(second.code(), StatusCode::kInvalid);
    EXPECT_THAT(second.status().message(), testing::HasSubstr("in use"));
  }
  EXPECT_TRUE(DeviceFile::Open(options).ok()) << "the lock ends with its holder";
}

TEST(DeviceFileTest, FileIsPreallocatedAndKeepsItsBytes) {
  const TemporaryPath path;
  {
    const Result<DeviceFile> made = DeviceFile::Open({.path = path.str(), .size_bytes = 2 * kMiB});
    if (made.code() == StatusCode::kUnsupported) GTEST_SKIP() << made.status().ToString();
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    struct stat found{};
    ASSERT_EQ(stat(path.str().c_str(), &found), 0);
    EXPECT_GE(static_cast<std::uint64_t>(found.st_blocks) * 512, 2 * kMiB);
    const Buffer bytes(4096);
    ASSERT_EQ(pwrite(made->descriptor(), bytes.span().data(), 4096, 0), 4096);
  }
  const Result<DeviceFile> grown = DeviceFile::Open({.path = path.str(), .size_bytes = 4 * kMiB});
  ASSERT_TRUE(grown.ok()) << grown.status().ToString();
  EXPECT_EQ(grown->size(), 4 * kMiB);
  const Buffer bytes(4096);
  std::memset(bytes.span().data(), 0, 4096);
  ASSERT_EQ(pread(grown->descriptor(), bytes.span().data(), 4096, 0), 4096);
  EXPECT_EQ(bytes.span()[17], std::byte{0xa5});
}

TEST(UringDeviceTest, ReactorWithoutRingIsUnsupported) {
  SteadyClock clock;
  auto reactor = Reactor::Create({.use_io_uring = false}, clock);
  ASSERT_TRUE(reactor.ok());
  const auto device = UringDevice::Open(**reactor, {.path = "unused", .size_bytes = kMiB});
  EXPECT_EQ(device.code(), StatusCode::kUnsupported);
}

}  // namespace
}  // namespace terrace
