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

namespace terrace {

namespace {

constexpr std::uint64_t kDeviceBytesMin = 1 << 20;

Status Failed(StatusCode code, const std::string& path, const std::string& what) {
  return {code, "device " + path + ": " + what};
}
Status FailedBy(StatusCode code, const std::string& path, const std::string& call, int error) {
  return Failed(code, path, call + ": " + std::strerror(error));
}

}  // namespace

DeviceFile::DeviceFile(DeviceFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      name_(std::move(other.name_)),
      size_(other.size_),
      alignment_(other.alignment_) {}

DeviceFile& DeviceFile::operator=(DeviceFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(name_, other.name_);
  size_ = other.size_;
  alignment_ = other.alignment_;
  return *this;
}

DeviceFile::~DeviceFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<DeviceFile> DeviceFile::Open(const DeviceOptions& options) {
  const std::string& path = options.path;
  // O_EXCL without O_CREAT refuses a block device that is mounted. Linux ignores it on files.
  struct stat found{};
  const bool exists = ::stat(path.c_str(), &found) == 0;
  const bool block_device = exists && S_ISBLK(found.st_mode);
  if (exists && !block_device && !S_ISREG(found.st_mode)) {
    return Failed(StatusCode::kInvalid, path, "neither a regular file nor a block device");
  }
  int flags = O_RDWR | O_DIRECT | O_CLOEXEC;
  if (block_device) flags |= O_EXCL;
  if (!exists && options.size_bytes > 0) flags |= O_CREAT;
  const int descriptor = ::open(path.c_str(), flags, 0600);
  if (descriptor < 0) {
    const int error = errno;
    if (error == EINVAL) {
      return Failed(StatusCode::kUnsupported, path,
                    "this file system does not support O_DIRECT (tmpfs?): choose another place");
    }
    if (error == EBUSY) {
      return Failed(StatusCode::kInvalid, path, "in use: mounted, or opened by somebody else");
    }
    return FailedBy(StatusCode::kIo, path, "open", error);
  }
  DeviceFile file(descriptor, path);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK
               ? Failed(StatusCode::kInvalid, path, "in use by another process (flock)")
               : FailedBy(StatusCode::kIo, path, "flock", errno);
  }
  if (::fstat(descriptor, &found) != 0) return FailedBy(StatusCode::kIo, path, "fstat", errno);
  Status measured = block_device ? file.MeasureBlockDevice(options.size_bytes)
                                 : file.MeasureFile(options.size_bytes,
                                                    static_cast<std::uint64_t>(found.st_size));
  if (!measured.ok()) return measured;
  if (file.size_ % file.alignment_ != 0) {
    return Failed(StatusCode::kInvalid, path,
                  "size of " + std::to_string(file.size_) + " bytes is not a multiple of " +
                      std::to_string(file.alignment_));
  }
  if (file.size_ < kDeviceBytesMin) {
    return Failed(StatusCode::kInvalid, path,
                  "too small: " + std::to_string(file.size_) + " bytes, at least " +
                      std::to_string(kDeviceBytesMin));
  }
  return file;
}

Status DeviceFile::MeasureFile(std::uint64_t wanted, std::uint64_t found) {
  size_ = wanted == 0 ? found / alignment_ * alignment_ : wanted;
  if (wanted < kDeviceBytesMin) return Status::Ok();  // Open refuses what is too small
  return Preallocate(wanted);
}

Status DeviceFile::Preallocate(std::uint64_t bytes) {
  // Also on a file that is long enough already: it may have holes, and a write into a hole of a
  // full file system fails in the middle of a put.
  for (int attempt = 0; attempt < 8; ++attempt) {
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

Status DeviceFile::MeasureBlockDevice(std::uint64_t wanted) {
  std::uint64_t bytes = 0;
  int sector_bytes = 0;
  if (::ioctl(descriptor_, BLKGETSIZE64, &bytes) != 0 ||
      ::ioctl(descriptor_, BLKSSZGET, &sector_bytes) != 0) {
    return FailedBy(StatusCode::kIo, name_, "asking for its size", errno);
  }
  alignment_ = std::max<std::uint32_t>(alignment_, static_cast<std::uint32_t>(sector_bytes));
  if (wanted > bytes) {
    return Failed(
        StatusCode::kInvalid, name_,
        "too small: " + std::to_string(bytes) + " bytes, " + std::to_string(wanted) + " asked");
  }
  size_ = wanted == 0 ? bytes / alignment_ * alignment_ : wanted;
  return Status::Ok();
}

}  // namespace terrace
