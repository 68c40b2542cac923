#include "tests/peers/piece_layout.h"

#include <algorithm>
#include <utility>

namespace terrace::peers {

PieceLayout::PieceLayout(RegionId region, std::uint32_t blocks, Random& random) : region_(region) {
  for (std::uint64_t i = 0; i < blocks * kPieces; ++i) {
    pieces_.push_back({.region = region,
                       .offset = i * (kPieceBytes + kGuardBytes) + kGuardBytes,
                       .length = kPieceBytes});
  }
  for (std::size_t i = pieces_.size(); i > 1; --i) {
    std::swap(pieces_[i - 1], pieces_[random.Below(i)]);
  }
}

std::vector<BlockPieces> PieceLayout::Blocks(std::uint32_t first, std::uint32_t count) const {
  std::vector<BlockPieces> blocks;
  for (std::uint32_t i = 0; i < count; ++i) {
    blocks.push_back({.position = first + i, .pieces = (*this)[i], .range = {}, .valid_tokens = 0});
  }
  return blocks;
}

void PieceLayout::Scatter(std::span<const std::byte> bytes, std::uint32_t block,
                          std::span<std::byte> memory) const {
  for (const MemoryPiece& piece : (*this)[block]) {
    std::copy_n(bytes.begin(), piece.length, memory.subspan(piece.offset).begin());
    bytes = bytes.subspan(piece.length);
  }
}

std::vector<std::byte> PieceLayout::Gather(std::uint32_t block,
                                           std::span<const std::byte> memory) const {
  std::vector<std::byte> bytes;
  bytes.reserve(kBlockBytes);
  for (const MemoryPiece& piece : (*this)[block]) {
    const auto part = memory.subspan(piece.offset, piece.length);
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  return bytes;
}

std::vector<MemoryPiece> PieceLayout::Guards() const {
  std::vector<MemoryPiece> guards;
  for (std::uint64_t i = 0; i <= pieces_.size(); ++i) {
    guards.push_back(
        {.region = region_, .offset = i * (kPieceBytes + kGuardBytes), .length = kGuardBytes});
  }
  return guards;
}

}  // namespace terrace::peers
