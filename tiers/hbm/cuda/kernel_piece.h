// KernelPiece: what one thread block of the checksum kernel works on. Any thread; a value.
#pragma once

#include <cstddef>
#include <cstdint>

namespace terrace {

/// At most 256 KiB of device memory, at an address that is a multiple of 16, and so is `to`; at
/// most 240 bytes that stay where they are may lie anywhere.
struct KernelPiece {
  const std::byte* at = nullptr;
  std::byte* to = nullptr;  ///< where the bytes are copied to as they are summed; null: nowhere
  std::uint32_t bytes = 0;
};

}  // namespace terrace
