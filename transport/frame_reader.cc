#include "transport/frame_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <string>
#include <utility>

namespace terrace {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");
constexpr std::uint32_t kFrameMagic = 0x46525254;  // "TRRF"

}  // namespace

std::array<std::byte, kFrameHeaderBytes> FrameHeaderFor(std::size_t bytes) noexcept {
  const std::array<std::uint32_t, 2> words = {kFrameMagic, static_cast<std::uint32_t>(bytes)};
  return std::bit_cast<std::array<std::byte, kFrameHeaderBytes>>(words);
}

Status FrameReader::Take(std::span<const std::byte> bytes,
                         const std::function<bool(std::vector<std::byte>)>& frame) {
  while (!bytes.empty()) {
    if (header_bytes_ < kFrameHeaderBytes) {
      const std::size_t part = std::min(bytes.size(), kFrameHeaderBytes - header_bytes_);
      std::memcpy(header_.data() + header_bytes_, bytes.data(), part);
      header_bytes_ += part;
      bytes = bytes.subspan(part);
      if (header_bytes_ < kFrameHeaderBytes) return {};
      const auto words = std::bit_cast<std::array<std::uint32_t, 2>>(header_);
      frame_bytes_ = words[1];
      if (words[0] != kFrameMagic) {
        return Status::Invalid("not a Terrace peer: the frame has no magic");
      }
      if (frame_bytes_ == 0 || frame_bytes_ > frame_bytes_max_) {
        return Status::Invalid("frame of " + std::to_string(frame_bytes_) + " bytes, not 1 to " +
                               std::to_string(frame_bytes_max_));
      }
    }
    const std::size_t part = std::min<std::size_t>(bytes.size(), frame_bytes_ - frame_.size());
    try {
      frame_.insert(frame_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(part));
    } catch (const std::bad_alloc&) {
      // The peer says how long a message is: it loses its connection, nobody else notices.
      return {StatusCode::kRetry, "out of memory"};
    }
    bytes = bytes.subspan(part);
    if (frame_.size() < frame_bytes_) return {};
    header_bytes_ = 0;
    if (!frame(std::exchange(frame_, {}))) return {};
  }
  return {};
}

}  // namespace terrace
