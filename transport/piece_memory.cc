#include "transport/piece_memory.h"

#include <algorithm>
#include <array>

#include "base/checksum.h"
#include "base/streaming_copy.h"

namespace terrace {
namespace {

constexpr std::size_t kPartsAtOnce = 64;  // of a payload of 256 KiB: pieces of 4 KiB

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
  ChecksumCopy copy;
  std::array<CopyPart, kPartsAtOnce> parts;
  while (!source.empty()) {
    std::size_t count = 0;
    for (; count < parts.size() && !source.empty(); ++count) {
      const std::span<std::byte> part = Next(source.size());
      parts[count] = {part.data(), source.data(), part.size()};
      source = source.subspan(part.size());
    }
    copy.Copy(std::span(parts).first(count));
  }
  return copy.Finish();
}

std::uint64_t PieceWalk::GatherAndChecksum(std::span<std::byte> target) noexcept {
  ChecksumCopy copy;
  GatherParts(target, [&copy](std::span<const CopyPart> parts) { copy.CopyIntoCache(parts); });
  return copy.Finish();
}

void PieceWalk::Gather(std::span<std::byte> target) noexcept { GatherParts(target, CopyColdParts); }

template <typename Copy>
void PieceWalk::GatherParts(std::span<std::byte> target, const Copy& copy) noexcept {
  std::array<CopyPart, kPartsAtOnce> parts;
  while (!target.empty()) {
    std::size_t count = 0;
    for (; count < parts.size() && !target.empty(); ++count) {
      const std::span<std::byte> part = Next(target.size());
      parts[count] = {target.data(), part.data(), part.size()};
      target = target.subspan(part.size());
    }
    copy(std::span<const CopyPart>(parts).first(count));
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
