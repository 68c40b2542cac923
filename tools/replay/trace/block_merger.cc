#include "tools/replay/trace/block_merger.h"

#include <algorithm>
#include <string>

namespace terrace::replay {

Status CheckMerging(std::uint32_t from, std::uint32_t to) {
  if (to == 0 || (to % from == 0 && to <= kBlockTokensMax)) return Status::Ok();
  return Status::Invalid("--block-tokens is " + std::to_string(to) +
                         ", must be a multiple of the trace's " + std::to_string(from) +
                         " tokens, at most " + std::to_string(kBlockTokensMax));
}

std::uint64_t InputTokensMax(std::uint32_t from, std::uint32_t to) noexcept {
  return std::min<std::uint64_t>(kTokensMax, std::uint64_t{kChainBlocksMax} * std::max(from, to));
}

void BlockMerger::MergeLast(Trace& trace) {
  if (to_ == 0 || to_ == trace.block_tokens) return;
  TraceRequest& request = trace.requests.back();
  const std::uint32_t group = to_ / trace.block_tokens;
  const std::size_t first = request.first_reference;
  BlockKey key = RootKey(0);
  std::uint32_t merged = 0;
  for (std::uint32_t position = 0; position < request.block_count; ++position) {
    key = NextKey(key, trace.hash_ids[first + position]);
    if ((position + 1) % group != 0 && position + 1 != request.block_count) continue;
    const BlockKey name = NextKey(key, ValidTokens(request.input_tokens, merged, to_));
    // Never overtakes what is still to be read: a group has at least one block.
    trace.hash_ids[first + merged] = known_.try_emplace(name, known_.size()).first->second;
    ++merged;
  }
  request.block_count = merged;
  trace.hash_ids.resize(first + merged);
}

void BlockMerger::Finish(Trace& trace) const {
  if (to_ != 0) trace.block_tokens = to_;
}

}  // namespace terrace::replay
