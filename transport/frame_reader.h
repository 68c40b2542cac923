// FrameReader: cuts a stream of bytes into the frames of control messages.
//
//   frame = magic "TRRF" (4 bytes), length of the message (4 bytes, little-endian), the message
//
// A frame with another magic, or longer than the limit of the moment, ends the stream. Memory is
// taken as bytes arrive, never by what a length claims. Thread: one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/status.h"

namespace terrace {

inline constexpr std::size_t kFrameHeaderBytes = 8;
/// What stands before a message of `bytes` bytes.
std::array<std::byte, kFrameHeaderBytes> FrameHeaderFor(std::size_t bytes) noexcept;

class FrameReader {
 public:
  explicit FrameReader(std::size_t frame_bytes_max) : frame_bytes_max_(frame_bytes_max) {}
  void SetLimit(std::size_t frame_bytes_max) noexcept { frame_bytes_max_ = frame_bytes_max; }

  /// Hands each whole message to `frame`, which returns false to stop at once: the reader may be
  /// gone by then. Not ok: why this is no frame; the reader is of no use any more.
  Status Take(std::span<const std::byte> bytes,
              const std::function<bool(std::vector<std::byte>)>& frame);

 private:
  std::size_t frame_bytes_max_;
  std::array<std::byte, kFrameHeaderBytes> header_{};
  std::size_t header_bytes_ = 0;  // of header_ received so far
  std::uint32_t frame_bytes_ = 0;
  std::vector<std::byte> frame_;
};

}  // namespace terrace
