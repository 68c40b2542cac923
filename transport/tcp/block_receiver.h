// BlockReceiver: copies the data messages of one block to where the block belongs, in one place or
// scattered over many.
//
// Each is copied out of the hot receive buffer and hashed on the way, then compared with the
// checksum that came along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "transport/piece_memory.h"
#include "transport/tcp/data_message.h"

namespace terrace {

class BlockReceiver {
 public:
  enum class State : std::uint8_t { kWaiting, kWhole, kCorrupt };

  /// `destination` outlives the receiver. `checksums`: where to keep them, one per piece of the
  /// block, or empty.
  explicit BlockReceiver(std::span<const PieceMemory::Piece> destination,
                         std::span<std::uint64_t> checksums = {}) noexcept
      : walk_(destination), bytes_(BytesOfPieces(destination)), checksums_(checksums) {}

  [[nodiscard]] State state() const noexcept { return state_; }
  /// Takes one message that ReadDataHeader accepted. A gap, a repeated part, another block length
  /// than the destination's, or a wrong checksum make the block kCorrupt for good.
  State Take(const DataHeader& header, std::span<const std::byte> payload) noexcept;

 private:
  PieceWalk walk_;  // over the destination, as far as it was received
  std::uint64_t bytes_;
  std::span<std::uint64_t> checksums_;
  std::uint64_t received_ = 0;  // bytes, from the block's start
  State state_ = State::kWaiting;
};

}  // namespace terrace
