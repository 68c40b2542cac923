#include "transport/block_receiver.h"

#include <algorithm>

namespace terrace {

BlockReceiver::State BlockReceiver::Take(const DataHeader& header,
                                         std::span<const std::byte> payload) noexcept {
  if (state_ != State::kWaiting) return state_;
  if (header.block_bytes != bytes_ || header.offset != received_) {
    return state_ = State::kCorrupt;
  }
  const std::size_t first_piece = received_ / kChecksumPieceBytes;
  for (std::size_t done = 0; done < payload.size(); done += kChecksumPieceBytes) {
    const std::size_t length = std::min(kChecksumPieceBytes, payload.size() - done);
    const std::size_t piece = done / kChecksumPieceBytes;
    const std::uint64_t checksum = walk_.ScatterAndChecksum(payload.subspan(done, length));
    if (checksum != header.checksums[piece]) return state_ = State::kCorrupt;
    if (!checksums_.empty()) checksums_[first_piece + piece] = checksum;
  }
  received_ += payload.size();
  if (received_ == bytes_) state_ = State::kWhole;
  return state_;
}

}  // namespace terrace
