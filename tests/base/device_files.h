// What tests of devices on real files need: memory, paths, and a file system that cuts a write.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "base/random.h"

namespace terrace {

inline constexpr std::uint64_t kMiB = 1 << 20;

/// Memory fit for O_DIRECT.
class Buffer {
 public:
  explicit Buffer(std::size_t size)
      : bytes_(
            static_cast<std::byte*>(std::aligned_alloc(4096, std::max(size, std::size_t{4096})))),
        size_(size) {
    std::memset(bytes_.get(), 0xa5, size);
  }
  [[nodiscard]] std::size_t size() const { return size_; }
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
  struct FreeBytes {
    void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
  };
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

/// While it lives, the kernel cuts writes of this process at so many bytes of a file, and refuses
/// (EFBIG) those that begin there.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::uint64_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before_), 0);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    (void)std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

}  // namespace terrace
