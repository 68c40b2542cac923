#include "transport/tcp/block_receiver.h"

namespace terrace {

BlockReceiver::State BlockReceiver::Take(const DataHeader& header,
                                         std::span<const std::byte> payload) noexcept {
  if (state_ != State::kWaiting) return state_;
  if (header.block_bytes != bytes_ || header.offset != received_) {
    return state_ = State::kCorrupt;
  }
  const std::uint64_t checksum = walk_.ScatterAndChecksum(payload);
  if (checksum != header.checksum) return state_ = State::kCorrupt;
  if (!checksums_.empty()) checksums_[received_ / kChecksumPieceBytes] = checksum;
  received_ += payload.size();
  if (received_ == bytes_) state_ = State::kWhole;
  return state_;
}

}  // namespace terrace
