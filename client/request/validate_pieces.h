// What is wrong with lists of pieces, parts of blocks and tokens, said before anything is sent.
//
// Every kInvalid names the argument as the caller wrote it, with its index. Pure functions, any
// thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "base/frame_range.h"
#include "base/handoff_token.h"
#include "base/put_token.h"
#include "base/result.h"
#include "client/request/request.h"
#include "client/terrace.hpp"

namespace terrace {

/// Most pieces of one call, over all its blocks or fragments, and of one of them.
inline constexpr std::size_t kPiecesMax = 65'536;
inline constexpr std::size_t kPiecesOfOneMax = 65'535;

[[nodiscard]] FrameRange ToFrameRange(const BlockRange& range) noexcept;

/// Each range lies in its block, and the pieces of it are together as long as the range; of a put
/// the range is the whole block. Positions and tokens are ValidateBlocks' to look at, the regions
/// RegionTable's.
Status ValidatePieces(std::span<const BlockPieces> blocks, std::uint64_t block_bytes,
                      const TransferKind& transfer);
/// At least one fragment and at most kPiecesMax, each with pieces that have bytes. Whether one fits
/// its block is the daemon's to say.
Status ValidateFragments(std::span<const BlockFragment> fragments);
/// No two pieces have a byte in common. `memory[i]`: of the call's pieces, one after the other, in
/// the order of `blocks`. n log n.
Status CheckDisjoint(std::span<const BlockPieces> blocks,
                     std::span<const std::span<std::byte>> memory);
/// The same of a get of whole blocks: `memory[i]` is where blocks[i] goes.
Status CheckDisjoint(std::span<const std::span<std::byte>> memory);
/// The token's parts. kInvalid unless it is of this version, and of one of `shards` reactors.
Result<PutTokenParts> ReadToken(const PutToken& token, std::uint32_t shards);
/// 0 (the daemon's default) to 60 s.
Status ValidatePatience(std::chrono::milliseconds patience);
/// A hand-off's token and options; `block_tokens` of its namespace.
Status ValidateHandoffToken(const HandoffToken& token);
Status ValidateHandoff(const HandoffOptions& options, std::uint32_t block_tokens);

}  // namespace terrace
