// DeviceFile: an open, locked file or raw block device, with the size and alignment for O_DIRECT.
// Shared by the devices that do real I/O.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace terrace {

struct DeviceOptions {
  std::string path;
  /// Bytes to use, a multiple of 4 KiB. A regular file is created and preallocated up to this
  /// size (one that is longer keeps its end); of a block device so much is used. 0: all of an
  /// existing file or device.
  std::uint64_t size_bytes = 0;
};

class DeviceFile {
 public:
  /// Opens, locks (flock, against a second daemon) and preallocates. Blocks: before the reactor
  /// runs. kInvalid: not a file or block device, too small, size not aligned, in use by another
  /// process. kUnsupported: no O_DIRECT or no preallocation there. kIo: anything else, by errno.
  static Result<DeviceFile> Open(const DeviceOptions& options);
  DeviceFile(DeviceFile&& other) noexcept;
  DeviceFile& operator=(DeviceFile&& other) noexcept;
  DeviceFile(const DeviceFile&) = delete;
  DeviceFile& operator=(const DeviceFile&) = delete;
  ~DeviceFile();

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint32_t alignment() const noexcept { return alignment_; }

 private:
  DeviceFile(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}
  Status MeasureFile(std::uint64_t wanted, std::uint64_t found);
  Status MeasureBlockDevice(std::uint64_t wanted);
  Status Preallocate(std::uint64_t bytes);

  int descriptor_;
  std::string name_;
  std::uint64_t size_ = 0;
  std::uint32_t alignment_ = 4096;
};

}  // namespace terrace
