// What a DeviceFile refuses and why, what it leaves alone, its slices, and its blocking calls.
#include "base/device_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "tests/base/device_files.h"

namespace terrace {
namespace {

using testing::HasSubstr;

TEST(DeviceFileTest, SaysWhyItCannotOpen) {
  const TemporaryPath path;
  const auto refusal = [](const DeviceOptions& options) {
    const Result<DeviceFile> opened = DeviceFile::Open(options);
    EXPECT_FALSE(opened.ok());
    return opened.status().ToString();
  };
  using testing::AnyOf;
  EXPECT_THAT(refusal({.path = path.str()}), HasSubstr("No such file"));
  EXPECT_THAT(refusal({.path = "/"}), HasSubstr("neither a regular file nor a block device"));
  EXPECT_THAT(refusal({.path = "/dev/null"}), HasSubstr("neither"));
  EXPECT_THAT(refusal({.path = path.str() + "/x/y", .size_bytes = kMiB}),
              HasSubstr("No such file"));
  EXPECT_THAT(refusal({.path = path.str(), .size_bytes = 4096}), HasSubstr("too small"));
  EXPECT_THAT(refusal({.path = path.str(), .size_bytes = 2 * kMiB + 1}),
              HasSubstr("not a multiple of 4096"));
  EXPECT_THAT(refusal({.path = path.str(), .size_bytes = 1ULL << 43}),
              AnyOf(HasSubstr("bytes left on its file system"), HasSubstr("fallocate")));
  EXPECT_EQ(access(path.str().c_str(), F_OK), -1) << "a refused file stays behind";
  EXPECT_THAT(refusal({.path = path.str(), .size_bytes = kMiB, .create = false}),
              HasSubstr("No such file"));
  EXPECT_THAT(refusal({.path = path.str(), .size_bytes = kMiB, .read_only = true}),
              HasSubstr("No such file"));
}

TEST(DeviceFileTest, SecondDaemonOnTheSameFileIsRefused) {
  const TemporaryPath path;
  const DeviceOptions options{.path = path.str(), .size_bytes = kMiB};
  {
    const Result<DeviceFile> first = DeviceFile::Open(options);
    if (first.code() == StatusCode::kUnsupported) GTEST_SKIP() << first.status().ToString();
    ASSERT_TRUE(first.ok()) << first.status().ToString();
    const Result<DeviceFile> second = DeviceFile::Open(options);
    EXPECT_EQ(second.code(), StatusCode::kRetry);
    EXPECT_THAT(second.status().message(), HasSubstr("in use"));
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

TEST(DeviceFileTest, FileSystemWithoutDirectIoIsNamed) {
  // Files of procfs are regular ones, and none of them can be opened with O_DIRECT.
  const Result<DeviceFile> opened = DeviceFile::Open({.path = "/proc/version", .read_only = true});
  EXPECT_EQ(opened.code(), StatusCode::kUnsupported);
  EXPECT_THAT(opened.status().message(), HasSubstr("does not support O_DIRECT"));
}

/// A file made and closed again, of 2 MiB.
class MadeDeviceFileTest : public testing::Test {
 protected:
  void SetUp() override {
    const Result<DeviceFile> made = DeviceFile::Open(options_);
    if (made.code() == StatusCode::kUnsupported) GTEST_SKIP() << made.status().ToString();
    ASSERT_TRUE(made.ok()) << made.status().ToString();
  }
  [[nodiscard]] struct stat Look() const {
    struct stat found{};
    EXPECT_EQ(stat(path_.str().c_str(), &found), 0);
    return found;
  }
  [[nodiscard]] DeviceFile Open() const {
    Result<DeviceFile> file = DeviceFile::Open(options_);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    return std::move(file).value();
  }

  TemporaryPath path_;
  DeviceOptions options_{.path = path_.str(), .size_bytes = 2 * kMiB};
  Buffer buffer_{8192};
};

TEST_F(MadeDeviceFileTest, FailedOpenLeavesItsLength) {
  const Result<DeviceFile> huge = DeviceFile::Open({.path = path_.str(), .size_bytes = 1ULL << 43});
  EXPECT_EQ(huge.code(), StatusCode::kIo);
  const Result<DeviceFile> odd =
      DeviceFile::Open({.path = path_.str(), .size_bytes = 4 * kMiB + 512});
  EXPECT_EQ(odd.code(), StatusCode::kInvalid);
  EXPECT_EQ(static_cast<std::uint64_t>(Look().st_size), 2 * kMiB);
}

TEST_F(MadeDeviceFileTest, ToolChangesNothing) {
  // With a hole at its end, which a daemon would fill.
  ASSERT_EQ(truncate(path_.str().c_str(), kMiB), 0);
  ASSERT_EQ(truncate(path_.str().c_str(), 2 * kMiB), 0);
  const struct stat before = Look();
  for (const bool read_only : {false, true}) {
    const DeviceOptions as_it_is{.path = path_.str(), .create = false, .read_only = read_only};
    const Result<DeviceFile> file = DeviceFile::Open(as_it_is);
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    EXPECT_EQ(file->size(), 2 * kMiB);
    const Result<DeviceFile> longer = DeviceFile::Open(
        {.path = path_.str(), .size_bytes = 4 * kMiB, .create = false, .read_only = read_only});
    // Two that write share no file, whatever else is wrong.
    EXPECT_EQ(longer.code(), read_only ? StatusCode::kInvalid : StatusCode::kRetry);
  }
  EXPECT_THAT(DeviceFile::Open({.path = path_.str(), .size_bytes = 4 * kMiB, .create = false})
                  .status()
                  .message(),
              HasSubstr("too small: 2097152 bytes, 4194304 asked"));
  const struct stat after = Look();
  EXPECT_EQ(after.st_size, before.st_size);
  EXPECT_EQ(after.st_blocks, before.st_blocks);
  EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
}

TEST_F(MadeDeviceFileTest, ReadersShareTheFileAndADaemonDoesNot) {
  const DeviceOptions reader{.path = path_.str(), .read_only = true};
  {
    const DeviceFile daemon = Open();
    EXPECT_THAT(DeviceFile::Open(reader).status().message(), HasSubstr("in use"));
  }
  Result<DeviceFile> one = DeviceFile::Open(reader);
  ASSERT_TRUE(one.ok()) << one.status().ToString();
  EXPECT_TRUE(DeviceFile::Open(reader).ok());
  const Result<DeviceFile> daemon = DeviceFile::Open(options_);
  EXPECT_EQ(daemon.code(), StatusCode::kRetry);
  EXPECT_THAT(daemon.status().message(), HasSubstr("in use"));
  EXPECT_TRUE(one->ReadNow(0, buffer_.span()).ok());
  const Status written = one->WriteNow(0, buffer_.span());
  EXPECT_EQ(written.code(), StatusCode::kInvalid);
  EXPECT_THAT(written.message(), HasSubstr("read-only"));
}

TEST_F(MadeDeviceFileTest, SliceNeverReachesBeyondItsFile) {
  const DeviceFile file = Open();
  const std::pair<std::uint64_t, std::uint64_t> refused[] = {
      {0, 0},
      {0, 2 * kMiB + 4096},
      {2 * kMiB - 4096, 8192},
      {2 * kMiB, 4096},
      {~std::uint64_t{4095}, 8192},
      {4096, ~std::uint64_t{4095}},
      {512, 4096},
      {4096, 512},
  };
  for (const auto& [offset, bytes] : refused) {
    EXPECT_EQ(file.Slice(offset, bytes).code(), StatusCode::kInvalid) << offset << " " << bytes;
  }
  const Result<DeviceFile> slice = file.Slice(kMiB, 8192);
  ASSERT_TRUE(slice.ok()) << slice.status().ToString();
  EXPECT_EQ(slice->size(), 8192U);
  EXPECT_EQ(slice->Slice(4096, 8192).code(), StatusCode::kInvalid);
  const Status beyond = slice->ReadNow(4096, buffer_.span());
  EXPECT_EQ(beyond.code(), StatusCode::kInvalid);
  EXPECT_THAT(beyond.message(), HasSubstr("beyond the end of a slice of 8192 bytes"));
}

TEST_F(MadeDeviceFileTest, LockIsHeldUntilTheLastSliceIsGone) {
  DeviceFile file = Open();
  {
    Result<DeviceFile> slice = file.Slice(kMiB, kMiB);
    ASSERT_TRUE(slice.ok());
    {
      const DeviceFile closed = std::move(file);
    }
    EXPECT_THAT(DeviceFile::Open(options_).status().message(), HasSubstr("in use"));
    EXPECT_TRUE(slice->WriteNow(0, buffer_.span()).ok());
    EXPECT_TRUE(slice->SyncNow().ok());
  }
  file = Open();
  ASSERT_TRUE(file.Slice(4096, 4096).ok());
  EXPECT_EQ(DeviceFile::Open(options_).code(), StatusCode::kRetry) << "a slice ended, not all";
}

TEST_F(MadeDeviceFileTest, BlockingCallsSayWhereTheyFailed) {
  DeviceFile file = Open();
  buffer_.Fill(7);
  ASSERT_TRUE(file.WriteNow(kMiB, buffer_.span()).ok());
  EXPECT_TRUE(file.SyncNow().ok());
  const Buffer read(8192);
  ASSERT_TRUE(file.ReadNow(kMiB, read.span()).ok());
  EXPECT_TRUE(read == buffer_);
  EXPECT_TRUE(file.ReadNow(2 * kMiB, {}).ok());
  EXPECT_EQ(file.ReadNow(2 * kMiB - 4096, read.span()).code(), StatusCode::kInvalid);
  EXPECT_EQ(file.WriteNow(~std::uint64_t{4095}, read.span()).code(), StatusCode::kInvalid);

  Result<DeviceFile> slice = file.Slice(kMiB - 8192, kMiB);
  ASSERT_TRUE(slice.ok());
  {
    const FileSizeLimit limit(kMiB - 4096);  // in the middle of the write, which goes on there
    const Status written = slice->WriteNow(0, buffer_.span());
    EXPECT_EQ(written.code(), StatusCode::kIo);
    EXPECT_THAT(written.message(),
                HasSubstr("device " + path_.str() +
                          ": write of 4096 bytes at 1044480: " + std::strerror(EFBIG)));
  }
  ASSERT_EQ(truncate(path_.str().c_str(), kMiB - 4096), 0);
  const Status cut = slice->ReadNow(0, read.span());
  EXPECT_EQ(cut.code(), StatusCode::kIo);
  EXPECT_THAT(cut.message(), HasSubstr("read of 4096 bytes at 1044480: no bytes moved: has the "
                                       "file been cut?"));
}

}  // namespace
}  // namespace terrace
