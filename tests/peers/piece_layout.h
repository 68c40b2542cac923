// PieceLayout: where blocks lie in pieces that are shuffled over a region, as pages of a cache are,
// so that no block's neighbour belongs to the same call and no two pieces can be joined.
//
// Before, between and behind the pieces lie guards, which no call may touch. Thread: one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "client/terrace.hpp"

namespace terrace::peers {

inline constexpr std::uint64_t kBlockBytes = 256 << 10;

class PieceLayout {
 public:
  static constexpr std::uint64_t kPieceBytes = 8 << 10;
  static constexpr std::uint64_t kGuardBytes = 520;  // a multiple of 8; pieces begin anywhere
  static constexpr std::uint32_t kPieces = kBlockBytes / kPieceBytes;
  /// A region for so many blocks.
  [[nodiscard]] static constexpr std::uint64_t BytesFor(std::uint32_t blocks) {
    return blocks * kPieces * (kPieceBytes + kGuardBytes) + kGuardBytes;
  }
  PieceLayout() = default;
  PieceLayout(RegionId region, std::uint32_t blocks, Random& random);

  [[nodiscard]] std::span<const MemoryPiece> operator[](std::uint32_t block) const {
    return std::span(pieces_).subspan(block * kPieces, kPieces);
  }
  /// Blocks [0, count) as those of a call, the first of them at position `first`.
  [[nodiscard]] std::vector<BlockPieces> Blocks(std::uint32_t first, std::uint32_t count) const;
  /// A block's bytes to and from its pieces. `memory`: the region's.
  void Scatter(std::span<const std::byte> bytes, std::uint32_t block,
               std::span<std::byte> memory) const;
  [[nodiscard]] std::vector<std::byte> Gather(std::uint32_t block,
                                              std::span<const std::byte> memory) const;
  /// Where no piece lies: the guards.
  [[nodiscard]] std::vector<MemoryPiece> Guards() const;

 private:
  RegionId region_;
  std::vector<MemoryPiece> pieces_;
};

}  // namespace terrace::peers
