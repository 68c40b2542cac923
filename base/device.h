// Device: a file or raw block device read and written at offsets, past the page cache.
//
// A call has two buffers, which lie one behind the other on the device: a record's header and its
// payload, whose memory is in two places. Either may be empty. Where it can, the device moves both
// in one operation.
//
// Offsets, lengths and buffers are multiples of alignment() bytes. A call moves all of its bytes
// or answers kIo: an implementation resubmits what a short read or write left, and retries EAGAIN
// and EINTR, at most 8 times together, then gives up with the errno in the message.
// Every call ends; a buffer belongs to the device until its call has ended (there is no cancel).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"
#include "base/task.h"

namespace terrace {

class Device {
 public:
  virtual ~Device() = default;
  /// For messages and metrics: the path, or "sim:0".
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  /// Bytes. REQUIRES of callers: offset + both lengths <= size().
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  /// Bytes, a power of two, at least 512.
  [[nodiscard]] virtual std::uint32_t alignment() const noexcept = 0;

  /// Fills `first` from `offset`, and `second` from where `first` ends.
  virtual Task<Status> Read(std::uint64_t offset, std::span<std::byte> first,
                            std::span<std::byte> second) = 0;
  virtual Task<Status> Write(std::uint64_t offset, std::span<const std::byte> first,
                             std::span<const std::byte> second) = 0;
  /// With one buffer. (An implementation says `using Device::Read`: its own Read hides this one.)
  Task<Status> Read(std::uint64_t offset, std::span<std::byte> destination) {
    return Read(offset, destination, {});
  }
  Task<Status> Write(std::uint64_t offset, std::span<const std::byte> source) {
    return Write(offset, source, {});
  }
  /// What was written before the call survives power loss after it. A failure means that what was
  /// written since the last success is unknown: never retried as if nothing had happened.
  virtual Task<Status> Sync() = 0;
};

}  // namespace terrace
