#include "transport/piece_memory.h"

#include <algorithm>
#include <cstring>

#include "base/checksum.h"

namespace terrace {
namespace {

// Of a copy that is hashed: source and destination fit a first-level cache of 48 KiB.
constexpr std::uint64_t kStepBytes = 16 << 10;

}  // namespace

std::uint64_t BytesOfPieces(std::span<const PieceMemory::Piece> pieces) noexcept {
  std::uint64_t bytes = 0;
  for (const PieceMemory::Piece& piece : pieces) bytes += piece.size();
  return bytes;
}

bool VerifyPieces(std::span<const PieceMemory::Piece> pieces,
                  std::span<const std::uint64_t> checksums) noexcept {
  std::uint64_t left = BytesOfPieces(pieces);
  if (checksums.size() != ChecksumPieceCount(left)) return false;
  PieceWalk walk(pieces);
  for (const std::uint64_t checksum : checksums) {
    const std::uint64_t length = std::min<std::uint64_t>(kChecksumPieceBytes, left);
    if (walk.Checksum(length) != checksum) return false;
    left -= length;
  }
  return true;
}

std::span<std::byte> PieceWalk::Next(std::uint64_t most) noexcept {
  const PieceMemory::Piece& piece = pieces_[piece_];
  const std::span<std::byte> part =
      piece.subspan(inside_, std::min<std::uint64_t>(most, piece.size() - inside_));
  inside_ += part.size();
  if (inside_ == piece.size()) {
    ++piece_;
    inside_ = 0;
  }
  return part;
}

std::uint64_t PieceWalk::ScatterAndChecksum(std::span<const std::byte> source) noexcept {
  if (pieces_[piece_].size() - inside_ >= source.size()) {
    return CopyAndChecksum64(Next(source.size()), source);
  }
  ChecksumStream stream;
  while (!source.empty()) {
    const std::span<std::byte> part = Next(std::min<std::uint64_t>(kStepBytes, source.size()));
    std::memcpy(part.data(), source.data(), part.size());
    stream.Update(part);
    source = source.subspan(part.size());
  }
  return stream.Digest();
}

std::uint64_t PieceWalk::GatherAndChecksum(std::span<std::byte> target) noexcept {
  ChecksumStream stream;
  while (!target.empty()) {
    const std::span<std::byte> part = Next(std::min<std::uint64_t>(kStepBytes, target.size()));
    std::memcpy(target.data(), part.data(), part.size());
    stream.Update(target.first(part.size()));
    target = target.subspan(part.size());
  }
  return stream.Digest();
}

void PieceWalk::Gather(std::span<std::byte> target) noexcept {
  while (!target.empty()) {
    const std::span<std::byte> part = Next(target.size());
    std::memcpy(target.data(), part.data(), part.size());
    target = target.subspan(part.size());
  }
}

std::uint64_t PieceWalk::Checksum(std::uint64_t bytes) noexcept {
  std::span<std::byte> part = Next(bytes);
  if (part.size() == bytes) return Checksum64(part);
  ChecksumStream stream;
  for (;;) {
    stream.Update(part);
    bytes -= part.size();
    if (bytes == 0) return stream.Digest();
    part = Next(bytes);
  }
}

}  // namespace terrace
