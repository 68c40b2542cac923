// PieceMemory: where the blocks of one request lie in the client's memory, each in one or more
// pieces, which follow each other. Neighbours are one piece. Thread: its owner's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace terrace {

class PieceMemory {
 public:
  using Piece = std::span<std::byte>;

  PieceMemory() = default;
  /// Blocks of one piece each.
  PieceMemory(std::vector<Piece> blocks) noexcept  // NOLINT(google-explicit-constructor)
      : pieces_(std::move(blocks)) {}

  PieceMemory(std::initializer_list<Piece> blocks) : pieces_(blocks) {}

  /// Begins a block; Add gives it its pieces, at least one. REQUIRES: made empty, by the default.
  void BeginBlock() { begins_.push_back(static_cast<std::uint32_t>(pieces_.size())); }
  void Add(Piece piece) {
    if (pieces_.size() > begins_.back()) {
      Piece& last = pieces_.back();
      if (last.data() + last.size() == piece.data()) {
        last = {last.data(), last.size() + piece.size()};
        return;
      }
    }
    pieces_.push_back(piece);
  }
  /// Appends a block of another memory.
  void Append(std::span<const Piece> block) {
    BeginBlock();
    pieces_.insert(pieces_.end(), block.begin(), block.end());
  }

  [[nodiscard]] bool empty() const noexcept { return pieces_.empty(); }
  /// Blocks.
  [[nodiscard]] std::size_t size() const noexcept {
    return begins_.empty() ? pieces_.size() : begins_.size();
  }
  /// The pieces of a block. REQUIRES: block < size(). Valid until the memory is changed.
  [[nodiscard]] std::span<const Piece> operator[](std::size_t block) const noexcept {
    if (begins_.empty()) return {&pieces_[block], 1};
    const std::size_t end = block + 1 < begins_.size() ? begins_[block + 1] : pieces_.size();
    return std::span(pieces_).subspan(begins_[block], end - begins_[block]);
  }

 private:
  std::vector<Piece> pieces_;
  std::vector<std::uint32_t> begins_;  // per block; empty while every block is one piece
};

/// Bytes of a block's pieces together.
[[nodiscard]] std::uint64_t BytesOfPieces(std::span<const PieceMemory::Piece> pieces) noexcept;
/// VerifyBlock of a block that lies in pieces.
[[nodiscard]] bool VerifyPieces(std::span<const PieceMemory::Piece> pieces,
                                std::span<const std::uint64_t> checksums) noexcept;

/// A walk over the bytes of a block's pieces, which outlive it.
class PieceWalk {
 public:
  PieceWalk() = default;
  explicit PieceWalk(std::span<const PieceMemory::Piece> pieces) noexcept : pieces_(pieces) {}

  /// Copies `source` to the next bytes and returns Checksum64 of what then stands there.
  /// REQUIRES: so many are left; likewise below.
  std::uint64_t ScatterAndChecksum(std::span<const std::byte> source) noexcept;
  /// Copies the next bytes to `target` and returns Checksum64 of what then stands there.
  std::uint64_t GatherAndChecksum(std::span<std::byte> target) noexcept;
  void Gather(std::span<std::byte> target) noexcept;
  /// Checksum64 of the next bytes.
  std::uint64_t Checksum(std::uint64_t bytes) noexcept;

 private:
  /// At most `most` of the next bytes that lie together; the walk goes past them.
  std::span<std::byte> Next(std::uint64_t most) noexcept;
  /// `copy`, of a list of parts, until `target` is full.
  template <typename Copy>
  void GatherParts(std::span<std::byte> target, const Copy& copy) noexcept;
  std::span<const PieceMemory::Piece> pieces_;
  std::size_t piece_ = 0;
  std::size_t inside_ = 0;
};

}  // namespace terrace
