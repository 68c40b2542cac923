// Validation: what is wrong with an argument, said before anything is sent.
//
// Every kInvalid names the argument as the caller wrote it, with its value and the limit. Pure
// functions, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "client/terrace.hpp"

namespace terrace {

Status ValidateOptions(const ClientOptions& options);
Status ValidateDescriptor(const NamespaceDescriptor& descriptor);
/// Chain not empty, group known, shard below the namespace's shard_count.
Status ValidateChain(const NamespaceDescriptor& descriptor, const Chain& chain, BlockKind kind);
/// At least one and at most kChainBlocksMax blocks, each position in the chain and named once,
/// valid_tokens at most block_tokens.
Status ValidateBlocks(const NamespaceDescriptor& descriptor, const Chain& chain,
                      std::span<const BlockBuffer> blocks);
/// At least one and at most kChainBlocksMax positions, each in the chain and named once.
Status ValidatePositions(const Chain& chain, std::span<const std::uint32_t> positions);
/// One of the levels.
Status ValidateAck(Ack ack);
/// None, or one for each of so many blocks, of at most kEventTokensMax ids.
Status ValidateTokenIds(std::span<const std::span<const std::uint32_t>> token_ids,
                        std::size_t blocks);
/// Chain not empty; groups known, each once, with what their policies need; shards known, each
/// once; a mode, a lease of at most 60 s, and not too many blocks together.
Status ValidateQuery(const NamespaceDescriptor& descriptor, const Chain& chain,
                     const MatchQuery& query);
/// 0 (10 s) to 60 s.
Status ValidateRenewal(std::chrono::milliseconds time);
/// 0 (the daemon's default) to 60 s.
Status ValidateLease(std::chrono::milliseconds lease);
/// Empty, or as long as a UUID may be.
Status ValidateLendGpu(const std::string& gpu);
/// 1 to 128 bytes. `what`: the argument.
Status ValidateLabel(const char* what, std::string_view label);
/// 1 ms to 24 h.
Status ValidateRetainTime(std::chrono::milliseconds time);
/// [first, first + count) not empty and within the chain.
Status ValidateRange(const Chain& chain, std::uint32_t first, std::uint32_t count);

}  // namespace terrace
