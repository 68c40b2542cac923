// BlockMerger: makes one block of several small ones, so that a trace of 16-token blocks can be
// replayed with blocks of a size that is worth moving.
//
// Model. A group of consecutive blocks of a request becomes one block; the last group of a request
// may be partial. Two merged blocks are the same exactly when all tokens up to their end are the
// same as far as the ids tell, and they end at the same token: the name of a merged block is made
// of all ids up to it and the tokens in it. So it does not matter whether the ids of a format name
// a prefix (Mooncake) or only what a block contains (Bailian hashes each block alone), and a
// partial group never passes for a full one. New ids are numbers, in the order of first use.
//
// Thread: one. Memory: about 56 bytes for each distinct merged block.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "base/result.h"
#include "tools/replay/trace/block_keys.h"
#include "tools/replay/trace/trace.h"

namespace terrace::replay {

/// kInvalid unless blocks of `from` tokens can be merged to blocks of `to` tokens (0: they stay).
Status CheckMerging(std::uint32_t from, std::uint32_t to);
/// Longest input whose blocks fit in one chain, after merging to `to` tokens (0: as they are).
[[nodiscard]] std::uint64_t InputTokensMax(std::uint32_t from, std::uint32_t to) noexcept;

class BlockMerger {
 public:
  /// @param to 0: blocks stay as they are.
  explicit BlockMerger(std::uint32_t to) : to_(to) {}
  /// Merges the blocks of the request that was appended last. REQUIRES: CheckMerging of the
  /// trace's block_tokens; no other request was appended since the last call.
  void MergeLast(Trace& trace);
  /// After the last request: the trace has blocks of the new size.
  void Finish(Trace& trace) const;

 private:
  std::uint32_t to_;
  std::unordered_map<BlockKey, std::uint64_t, BlockKeyHash> known_;
};

}  // namespace terrace::replay
