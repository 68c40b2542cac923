// DeviceBuffers: the two buffers of a Device call, one behind the other on the device, and how a
// long call is cut into operations. For the devices that do real I/O.
//
// A value that does not own the memory; nothing here fails.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace terrace {

/// Bytes of one operation: long enough for an NVMe drive's full speed, short enough that one long
/// block does not hold up what comes behind it.
inline constexpr std::size_t kDeviceOperationBytesMax = 1 << 20;
/// A call may be so much longer and still be one operation, so that a block of 1 MiB and the
/// record header in front of it are.
inline constexpr std::size_t kDeviceHeaderBytes = 4096;

/// Bytes of the next operation when `left` bytes of a call are to go.
constexpr std::size_t DeviceOperationBytes(std::size_t left) noexcept {
  return left <= kDeviceOperationBytesMax + kDeviceHeaderBytes ? left : kDeviceOperationBytesMax;
}

struct DeviceBuffers {
  std::span<std::byte> first;
  std::span<std::byte> second;

  /// A write operation only reads its buffers, but iovec knows one kind of pointer.
  static DeviceBuffers OfWrite(std::span<const std::byte> first,
                               std::span<const std::byte> second) {
    return {.first = {const_cast<std::byte*>(first.data()), first.size()},
            .second = {const_cast<std::byte*>(second.data()), second.size()}};
  }

  [[nodiscard]] std::size_t size() const noexcept { return first.size() + second.size(); }

  /// Takes `bytes` off the front. REQUIRES: bytes <= size().
  DeviceBuffers Take(std::size_t bytes) noexcept {
    const std::size_t of_first = std::min(bytes, first.size());
    const DeviceBuffers taken{.first = first.first(of_first),
                              .second = second.first(bytes - of_first)};
    first = first.subspan(of_first);
    second = second.subspan(bytes - of_first);
    return taken;
  }

  /// The parts that are not empty, for readv and its relatives: how many there are.
  unsigned ToVectors(std::array<iovec, 2>& vectors) const noexcept {
    unsigned count = 0;
    for (const std::span<std::byte> part : {first, second}) {
      if (!part.empty()) vectors[count++] = {.iov_base = part.data(), .iov_len = part.size()};
    }
    return count;
  }

  /// Whether a device of `size` bytes may be asked for them at `offset` (bytes; see Device).
  [[nodiscard]] bool Fit(std::uint64_t offset, std::uint64_t size,
                         std::uint32_t alignment) const noexcept {
    for (const std::span<std::byte> part : {first, second}) {
      if (part.size() % alignment != 0 || part.size() > size) return false;
      if (reinterpret_cast<std::uintptr_t>(part.data()) % alignment != 0) return false;
    }
    return offset % alignment == 0 && this->size() <= size && offset <= size - this->size();
  }
};

}  // namespace terrace
