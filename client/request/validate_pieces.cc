#include "client/request/validate_pieces.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace terrace {
namespace {

std::string Named(const char* list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

/// The pieces of list[index]. `room`: bytes that they may have together, `bytes` gets how many they
/// have; `total` counts the pieces of the call.
Status CheckPieces(const char* list, std::size_t index, std::span<const MemoryPiece> pieces,
                   std::uint64_t room, std::size_t& total, std::uint64_t& bytes) {
  if (pieces.empty()) return Status::Invalid(Named(list, index) + ".pieces is empty");
  total += pieces.size();
  if (pieces.size() > kPiecesOfOneMax || total > kPiecesMax) {
    return Status::Invalid(Named(list, index) + ".pieces has " + std::to_string(pieces.size()) +
                           " pieces and brings the call to " + std::to_string(total) +
                           ": at most " + std::to_string(kPiecesOfOneMax) + " and " +
                           std::to_string(kPiecesMax));
  }
  bytes = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::uint64_t length = pieces[i].length;
    if (length == 0 || length > room - bytes) {
      return Status::Invalid(Named(list, index) + ".pieces[" + std::to_string(i) + "].length is " +
                             std::to_string(length) + ", not 1 to the " +
                             std::to_string(room - bytes) + " bytes that are left");
    }
    bytes += length;
  }
  return {};
}

/// True when pieces of one length lie on a grid of that length, no two in one place: what caches of
/// pages give, told without sorting them. False: anything.
bool OnGrid(std::span<const std::span<std::byte>> memory) {
  constexpr std::uint64_t kPlacesEach = 64;  // at most so many on the grid for each piece: 8 bytes
  if (memory.empty()) return true;
  const std::size_t length = memory.front().size();
  std::uintptr_t lowest = ~std::uintptr_t{0};
  std::uintptr_t highest = 0;
  for (const std::span<std::byte> piece : memory) {
    if (piece.size() != length) return false;
    const auto at = reinterpret_cast<std::uintptr_t>(piece.data());
    lowest = std::min(lowest, at);
    highest = std::max(highest, at);
  }
  if (length == 0 || (highest - lowest) / length >= kPlacesEach * memory.size()) return false;
  std::vector<std::uint64_t> taken((highest - lowest) / length / 64 + 1);
  for (const std::span<std::byte> piece : memory) {
    const std::uintptr_t distance = reinterpret_cast<std::uintptr_t>(piece.data()) - lowest;
    const std::uintptr_t place = distance / length;
    const std::uint64_t bit = std::uint64_t{1} << place % 64;
    if (place * length != distance || (taken[place / 64] & bit) != 0) return false;
    taken[place / 64] |= bit;
  }
  return true;
}

/// Two stretches with a byte in common: their places in the list.
struct Overlap {
  std::uint32_t first = 0;
  std::uint32_t second = 0;  // behind `first`
};

/// n log n at most.
std::optional<Overlap> FindOverlap(std::span<const std::span<std::byte>> memory) {
  if (OnGrid(memory)) return std::nullopt;
  struct Place {
    const std::byte* begin;
    std::uint32_t index;  // into `memory`
  };
  std::vector<Place> places;
  places.reserve(memory.size());
  for (std::uint32_t i = 0; i < memory.size(); ++i) places.push_back({memory[i].data(), i});
  const auto before = [](const Place& left, const Place& right) {
    return std::less<>()(left.begin, right.begin);
  };
  // Callers often name them in the order in which they lie.
  if (!std::is_sorted(places.begin(), places.end(), before)) {
    std::sort(places.begin(), places.end(), before);
  }
  // Of sorted pieces, each starts where the one before ends, or later: else some two overlap.
  for (std::size_t i = 1; i < places.size(); ++i) {
    const std::span<std::byte> last = memory[places[i - 1].index];
    if (!std::less<>()(places[i].begin, last.data() + last.size())) continue;
    const auto [first, second] = std::minmax(places[i - 1].index, places[i].index);
    return Overlap{first, second};
  }
  return std::nullopt;
}

}  // namespace

FrameRange ToFrameRange(const BlockRange& range) noexcept {
  return {
      .offset = range.offset, .bytes = range.bytes, .stride = range.stride, .count = range.count};
}

Status ValidatePieces(std::span<const BlockPieces> blocks, std::uint64_t block_bytes,
                      const TransferKind& transfer) {
  const bool puts = transfer.kind == RequestKind::kPut && !transfer.handoff;
  const bool sends = transfer.kind == RequestKind::kPut && transfer.handoff;
  std::size_t total = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const FrameRange range = ToFrameRange(blocks[i].range);
    if (Status status = CheckFrameRange(range, block_bytes); !status.ok()) {
      return Status::Invalid(Named("blocks", i) + "." + status.message());
    }
    const std::uint64_t wanted =
        range.bytes == 0 ? block_bytes - range.offset : range.bytes * range.count;
    if (puts && (wanted != block_bytes || range.count != 1)) {
      return Status::Invalid(Named("blocks", i) +
                             ".range is a part of the block: a put stores whole ones (Reserve)");
    }
    if (sends && range.count != 1) {
      return Status::Invalid(Named("blocks", i) + ".range.count is " + std::to_string(range.count) +
                             ": one stretch is sent at a time");
    }
    std::uint64_t bytes = 0;
    Status status = CheckPieces("blocks", i, blocks[i].pieces, wanted, total, bytes);
    if (!status.ok()) return status;
    if (bytes != wanted) {
      return Status::Invalid(Named("blocks", i) + ".pieces have " + std::to_string(bytes) +
                             " bytes together, its range has " + std::to_string(wanted));
    }
  }
  return {};
}

Status ValidateFragments(std::span<const BlockFragment> fragments) {
  if (fragments.empty() || fragments.size() > kPiecesMax) {
    return Status::Invalid("the number of fragments is " + std::to_string(fragments.size()) +
                           ", not 1 to " + std::to_string(kPiecesMax));
  }
  std::size_t total = 0;
  for (std::size_t i = 0; i < fragments.size(); ++i) {
    if (fragments[i].offset >= kBlockBytesMax) {
      return Status::Invalid(Named("fragments", i) + ".offset is " +
                             std::to_string(fragments[i].offset) + ", a block has at most " +
                             std::to_string(kBlockBytesMax) + " bytes");
    }
    std::uint64_t bytes = 0;
    Status status = CheckPieces("fragments", i, fragments[i].pieces,
                                kBlockBytesMax - fragments[i].offset, total, bytes);
    if (!status.ok()) return status;
  }
  return {};
}

Status CheckDisjoint(std::span<const BlockPieces> blocks,
                     std::span<const std::span<std::byte>> memory) {
  const std::optional<Overlap> overlap = FindOverlap(memory);
  if (!overlap) return {};
  const auto name = [blocks](std::uint32_t piece) {
    std::size_t block = 0;
    while (piece >= blocks[block].pieces.size()) {
      piece -= static_cast<std::uint32_t>(blocks[block++].pieces.size());
    }
    return Named("blocks", block) + ".pieces[" + std::to_string(piece) + "]";
  };
  return Status::Invalid(name(overlap->second) + " overlaps " + name(overlap->first));
}

Status CheckDisjoint(std::span<const std::span<std::byte>> memory) {
  const std::optional<Overlap> overlap = FindOverlap(memory);
  if (!overlap) return {};
  return Status::Invalid("the memory of " + Named("blocks", overlap->second) +
                         " overlaps that of " + Named("blocks", overlap->first));
}

Result<PutTokenParts> ReadToken(const PutToken& token, std::uint32_t shards) {
  const PutTokenParts parts = UnpackPutToken(token.bytes);
  if (parts.version != kPutTokenVersion) {
    return Status::Invalid("token is of version " + std::to_string(parts.version) + ", not " +
                           std::to_string(kPutTokenVersion));
  }
  if (parts.reactor >= shards) {
    return Status::Invalid("token names reactor " + std::to_string(parts.reactor) +
                           ", the daemon has " + std::to_string(shards));
  }
  return parts;
}

Status ValidatePatience(std::chrono::milliseconds patience) {
  constexpr std::chrono::milliseconds kMost{60'000};
  if (patience.count() >= 0 && patience <= kMost) return {};
  return Status::Invalid("patience is " + std::to_string(patience.count()) + " ms, not 0 to " +
                         std::to_string(kMost.count()));
}

Status ValidateHandoffToken(const HandoffToken& token) {
  const HandoffTokenParts parts = UnpackHandoffToken(token.bytes);
  if (parts.version != kHandoffTokenVersion) {
    return Status::Invalid("token is of version " + std::to_string(parts.version) + ", not " +
                           std::to_string(kHandoffTokenVersion));
  }
  if (!parts.number) return Status::Invalid("token names no hand-off (NewHandoff)");
  return {};
}

Status ValidateHandoff(const HandoffOptions& options, std::uint32_t block_tokens) {
  constexpr std::chrono::milliseconds kMost{600'000};
  const auto check = [kMost](const char* name, std::chrono::milliseconds time) -> Status {
    if (time.count() >= 0 && time <= kMost) return {};
    return Status::Invalid(std::string("options.") + name + " is " + std::to_string(time.count()) +
                           " ms, not 0 to " + std::to_string(kMost.count()));
  };
  if (Status status = check("patience", options.patience); !status.ok()) return status;
  if (Status status = check("keep", options.keep); !status.ok()) return status;
  if (options.receivers == 0) return Status::Invalid("options.receivers is 0");
  if (options.last_valid_tokens <= block_tokens) return {};
  return Status::Invalid("options.last_valid_tokens is " +
                         std::to_string(options.last_valid_tokens) + ", a block holds " +
                         std::to_string(block_tokens));
}

}  // namespace terrace
