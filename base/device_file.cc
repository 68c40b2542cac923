#include "base/device_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace terrace {

namespace {

constexpr std::uint64_t kDeviceBytesMin = 1 << 20;
constexpr std::uint32_t kInterruptionsMax = 8;  // of one call, as Device says

Status Failed(StatusCode code, const std::string& path, const std::string& what) {
  return {code, "device " + path + ": " + what};
}
Status FailedBy(StatusCode code, const std::string& path, const std::string& call, int error) {
  return Failed(code, path, call + ": " + std::strerror(error));
}
std::string Range(std::uint64_t bytes, std::uint64_t offset) {
  return std::to_string(bytes) + " bytes at " + std::to_string(offset);
}

/// Takes back what a failed Open did to a regular file. The file is still locked, and it is
/// removed only while it is empty: another process may have made it after we had looked.
void Undo(const std::string& path, int descriptor, bool existed, std::uint64_t bytes_before) {
  struct stat now{};
  if (::fstat(descriptor, &now) != 0) return;
  // Best effort: the failure that is being reported is the one to know about.
  if (static_cast<std::uint64_t>(now.st_size) > bytes_before) {
    (void)!::ftruncate(descriptor, static_cast<off_t>(bytes_before));
  }
  if (!existed && bytes_before == 0) ::unlink(path.c_str());
}

}  // namespace

/// A blocking call: reads, or (as source) writes; one of the two pointers is null.
struct DeviceFile::Transfer {
  std::uint64_t offset;
  std::byte* destination;
  const std::byte* source;
  std::size_t length;
};

DeviceFile::DeviceFile(DeviceFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      name_(std::move(other.name_)),
      start_(other.start_),
      size_(other.size_),
      read_only_(other.read_only_),
      alignment_(other.alignment_) {}

DeviceFile& DeviceFile::operator=(DeviceFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(name_, other.name_);
  start_ = other.start_;
  size_ = other.size_;
  read_only_ = other.read_only_;
  alignment_ = other.alignment_;
  return *this;
}

DeviceFile::~DeviceFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<DeviceFile> DeviceFile::Open(const DeviceOptions& options) {
  const std::string& path = options.path;
  struct stat found{};
  const bool exists = ::stat(path.c_str(), &found) == 0;
  const bool block_device = exists && S_ISBLK(found.st_mode);
  if (exists && !block_device && !S_ISREG(found.st_mode)) {
    return Failed(StatusCode::kInvalid, path, "neither a regular file nor a block device");
  }
  const bool may_change = options.create && !options.read_only;
  int flags = (options.read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC;
  // O_EXCL without O_CREAT refuses a block device that is mounted. Who only looks may look there.
  if (block_device && !options.read_only) flags |= O_EXCL;
  if (!exists && may_change && options.size_bytes > 0) flags |= O_CREAT;
  Result<DeviceFile> opened = OpenDescriptor(options, flags);
  if (!opened.ok()) {
    // Linux creates the file first and refuses O_DIRECT then.
    if (opened.code() == StatusCode::kUnsupported && (flags & O_CREAT) != 0 &&
        ::stat(path.c_str(), &found) == 0 && found.st_size == 0) {
      ::unlink(path.c_str());
    }
    return opened;
  }
  const Status locked = opened->Lock(options.read_only);
  if (!locked.ok()) return locked;
  if (::fstat(opened->descriptor_, &found) != 0) {
    return FailedBy(StatusCode::kIo, path, "fstat", errno);
  }
  const auto file_bytes = static_cast<std::uint64_t>(found.st_size);
  Status ready = opened->Measure(options, file_bytes, block_device);
  const bool regular = !block_device && may_change;
  if (ready.ok() && regular && options.size_bytes > 0) {
    ready = opened->Preallocate(options.size_bytes);
  }
  if (ready.ok()) return opened;
  if (regular) Undo(path, opened->descriptor_, exists, file_bytes);
  return ready;
}

Result<DeviceFile> DeviceFile::OpenDescriptor(const DeviceOptions& options, int flags) {
  const int descriptor = ::open(options.path.c_str(), flags, 0600);
  if (descriptor >= 0) {
    DeviceFile file(descriptor, options.path);
    file.read_only_ = options.read_only;
    return file;
  }
  const int error = errno;
  if (error == EINVAL) {
    return Failed(StatusCode::kUnsupported, options.path,
                  "this file system does not support O_DIRECT (tmpfs?): choose another place");
  }
  if (error == EBUSY) {
    return Failed(StatusCode::kRetry, options.path,
                  "in use: mounted, or opened by another process");
  }
  return FailedBy(StatusCode::kIo, options.path, "open", error);
}

Status DeviceFile::Lock(bool shared) const {
  if (::flock(descriptor_, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return Status::Ok();
  return errno == EWOULDBLOCK
             ? Failed(StatusCode::kRetry, name_, "in use by another process (flock)")
             : FailedBy(StatusCode::kIo, name_, "flock", errno);
}

Status DeviceFile::Measure(const DeviceOptions& options, std::uint64_t file_bytes,
                           bool block_device) {
  const std::uint64_t wanted = options.size_bytes;
  std::uint64_t found = file_bytes;
  if (block_device) {
    int sector_bytes = 0;
    if (::ioctl(descriptor_, BLKGETSIZE64, &found) != 0 ||
        ::ioctl(descriptor_, BLKSSZGET, &sector_bytes) != 0) {
      return FailedBy(StatusCode::kIo, name_, "asking for its size", errno);
    }
    alignment_ = std::max<std::uint32_t>(alignment_, static_cast<std::uint32_t>(sector_bytes));
  }
  const bool grows = !block_device && options.create && !options.read_only;
  if (wanted > found && !grows) {
    return Failed(
        StatusCode::kInvalid, name_,
        "too small: " + std::to_string(found) + " bytes, " + std::to_string(wanted) + " asked");
  }
  size_ = wanted == 0 ? found / alignment_ * alignment_ : wanted;
  if (size_ % alignment_ != 0) {
    return Failed(StatusCode::kInvalid, name_,
                  "size of " + std::to_string(size_) + " bytes is not a multiple of " +
                      std::to_string(alignment_));
  }
  if (size_ < kDeviceBytesMin) {
    return Failed(StatusCode::kInvalid, name_,
                  "too small: " + std::to_string(size_) + " bytes, at least " +
                      std::to_string(kDeviceBytesMin));
  }
  return Status::Ok();
}

Status DeviceFile::Preallocate(std::uint64_t bytes) const {
  // Also on a file that is long enough already: it may have holes, and a write into a hole of a
  // full file system fails in the middle of a put.
  for (std::uint32_t attempt = 0; attempt < kInterruptionsMax; ++attempt) {
    if (::fallocate(descriptor_, 0, 0, static_cast<off_t>(bytes)) == 0) return Status::Ok();
    if (errno != EINTR) break;
  }
  const int error = errno;
  if (error == EOPNOTSUPP || error == ENOSYS) {
    return Failed(StatusCode::kUnsupported, name_, "this file system cannot preallocate files");
  }
  if (error == ENOSPC) {
    struct statvfs space{};
    const std::uint64_t left =
        ::fstatvfs(descriptor_, &space) == 0 ? space.f_bavail * space.f_frsize : 0;
    return Failed(StatusCode::kIo, name_,
                  std::to_string(bytes) + " bytes asked, " + std::to_string(left) +
                      " bytes left on its file system");
  }
  return FailedBy(StatusCode::kIo, name_, "fallocate", error);
}

Result<DeviceFile> DeviceFile::Slice(std::uint64_t offset, std::uint64_t bytes) const {
  const std::string what = "slice of " + Range(bytes, offset);
  if (bytes == 0 || offset % alignment_ != 0 || bytes % alignment_ != 0) {
    return Failed(StatusCode::kInvalid, name_,
                  what + ": empty, or not multiples of " + std::to_string(alignment_));
  }
  if (bytes > size_ || offset > size_ - bytes) {
    return Failed(StatusCode::kInvalid, name_,
                  what + " of a device of " + std::to_string(size_) + " bytes");
  }
  // A duplicate shares the lock, which ends when the last of them is closed.
  const int descriptor = ::fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) return FailedBy(StatusCode::kIo, name_, what, errno);
  DeviceFile slice(descriptor, name_);
  slice.start_ = start_ + offset;
  slice.size_ = bytes;
  slice.read_only_ = read_only_;
  slice.alignment_ = alignment_;
  return slice;
}

Status DeviceFile::MoveNow(const Transfer& transfer) const {
  const bool reads = transfer.destination != nullptr;
  const char* const call = reads ? "read of " : "write of ";
  TERRACE_CHECK(transfer.offset % alignment_ == 0 && transfer.length % alignment_ == 0);
  if (transfer.length > size_ || transfer.offset > size_ - transfer.length) {
    return Failed(StatusCode::kInvalid, name_,
                  call + Range(transfer.length, transfer.offset) + ", beyond the end of " +
                      (start_ == 0 ? "its " : "a slice of ") + std::to_string(size_) + " bytes");
  }
  std::size_t done = 0;
  std::uint32_t interruptions = 0;
  while (done < transfer.length) {
    const std::size_t rest = transfer.length - done;
    const std::uint64_t offset = start_ + transfer.offset + done;
    const auto at = static_cast<off_t>(offset);
    const ssize_t moved = reads ? ::pread(descriptor_, transfer.destination + done, rest, at)
                                : ::pwrite(descriptor_, transfer.source + done, rest, at);
    if (moved < 0) {
      const int error = errno;
      if (error == EINTR && interruptions++ < kInterruptionsMax) continue;
      return FailedBy(StatusCode::kIo, name_, call + Range(rest, offset), error);
    }
    if (moved == 0) {
      return Failed(StatusCode::kIo, name_,
                    call + Range(rest, offset) + ": no bytes moved: has the file been cut?");
    }
    done += static_cast<std::size_t>(moved);
  }
  return Status::Ok();
}

Status DeviceFile::ReadNow(std::uint64_t offset, std::span<std::byte> destination) const {
  if (destination.empty()) return Status::Ok();
  TERRACE_CHECK(reinterpret_cast<std::uintptr_t>(destination.data()) % alignment_ == 0);
  return MoveNow({.offset = offset,
                  .destination = destination.data(),
                  .source = nullptr,
                  .length = destination.size()});
}

Status DeviceFile::WriteNow(std::uint64_t offset, std::span<const std::byte> source) {
  if (read_only_) return Failed(StatusCode::kInvalid, name_, "write: it was opened read-only");
  if (source.empty()) return Status::Ok();
  TERRACE_CHECK(reinterpret_cast<std::uintptr_t>(source.data()) % alignment_ == 0);
  return MoveNow(
      {.offset = offset, .destination = nullptr, .source = source.data(), .length = source.size()});
}

Status DeviceFile::SyncNow() {
  // Never retried, not even after EINTR: a failed sync may have dropped what it could not write.
  if (::fdatasync(descriptor_) == 0) return Status::Ok();
  return FailedBy(StatusCode::kIo, name_, "sync", errno);
}

}  // namespace terrace
