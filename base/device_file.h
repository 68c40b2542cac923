// DeviceFile: an open, locked file or raw block device, or a slice of one, with the size and
// alignment for O_DIRECT. Shared by the devices that do real I/O.
//
// A slice is a DeviceFile of its own: its offsets count from its start, its lock is the whole
// file's and is held until the last of them is destroyed. Slices may overlap; who writes where is
// the caller's business.
//
// Thread: any, one at a time; ReadNow, WriteNow and SyncNow also at once. All calls block: they
// are for what happens before a reactor runs (superblocks), and for tools.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"
#include "base/status.h"

namespace terrace {

struct DeviceOptions {
  std::string path;
  /// Bytes to use, a multiple of 4 KiB. A regular file is created and preallocated up to this
  /// size (one that is longer keeps its end); of a block device so much is used. 0: all of an
  /// existing file or device.
  std::uint64_t size_bytes = 0;
  /// False: what is there is opened as it is, neither created nor enlarged nor preallocated.
  bool create = true;
  /// For tools that look: nothing is changed (as without `create`), and the lock is shared with
  /// other readers. A daemon that holds the file still refuses it, and the other way round.
  bool read_only = false;
};

class DeviceFile {
 public:
  /// Opens, locks (flock, against a second daemon) and preallocates. kInvalid: not a file or block
  /// device, too small, size not aligned. kRetry: in use by another process, or by one that was
  /// killed: the kernel ends what its io_uring has under way before it lets go of the file.
  /// kUnsupported: no O_DIRECT or no preallocation there. kIo: anything else, by errno, and a full
  /// file system by its bytes left. A failure leaves no new file, and what was there at its old
  /// length.
  static Result<DeviceFile> Open(const DeviceOptions& options);
  DeviceFile(DeviceFile&& other) noexcept;
  DeviceFile& operator=(DeviceFile&& other) noexcept;
  DeviceFile(const DeviceFile&) = delete;
  DeviceFile& operator=(const DeviceFile&) = delete;
  ~DeviceFile();

  /// A part of this one. kInvalid: empty, not aligned, or beyond size(). kIo: by errno.
  [[nodiscard]] Result<DeviceFile> Slice(std::uint64_t offset, std::uint64_t bytes) const;

  /// Move all the bytes, or fail: kInvalid beyond size(), or a write to a file opened read_only;
  /// kIo with the errno, or when no bytes move. Messages name the offset on the whole device.
  /// REQUIRES: offset, length and memory are multiples of alignment().
  [[nodiscard]] Status ReadNow(std::uint64_t offset, std::span<std::byte> destination) const;
  [[nodiscard]] Status WriteNow(std::uint64_t offset, std::span<const std::byte> source);
  /// See Device::Sync; of the whole file, also from a slice.
  [[nodiscard]] Status SyncNow();

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Bytes on descriptor() before this slice; 0 for a whole file.
  [[nodiscard]] std::uint64_t start() const noexcept { return start_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint32_t alignment() const noexcept { return alignment_; }

 private:
  struct Transfer;

  DeviceFile(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)) {}
  static Result<DeviceFile> OpenDescriptor(const DeviceOptions& options, int flags);
  [[nodiscard]] Status Lock(bool shared) const;
  [[nodiscard]] Status Measure(const DeviceOptions& options, std::uint64_t file_bytes,
                               bool block_device);
  [[nodiscard]] Status MoveNow(const Transfer& transfer) const;
  [[nodiscard]] Status Preallocate(std::uint64_t bytes) const;

  int descriptor_;
  std::string name_;
  std::uint64_t start_ = 0;
  std::uint64_t size_ = 0;
  bool read_only_ = false;
  std::uint32_t alignment_ = 4096;
};

}  // namespace terrace
