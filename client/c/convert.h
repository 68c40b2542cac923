// The structs of terrace.h as those of types.hpp, and back.
//
// Says kInvalid, naming the field, for what only C can get wrong: null pointers, sizes of structs,
// numbers that name no constant, reserved fields that are not 0. The rest the C++ calls check.
// Pure functions, any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "client/terrace.h"
#include "client/terrace.hpp"

namespace terrace::c {

Result<ClientOptions> ToOptions(const terrace_client_options* options);
Result<NamespaceDescriptor> ToDescriptor(const terrace_descriptor* descriptor);
Result<MatchQuery> ToQuery(const terrace_match_query* query);
/// `name`: what the caller calls it.
Result<GroupPolicy> ToPolicy(const terrace_group_policy& policy, const std::string& name);
Result<PlanRequest> ToPlanRequest(const terrace_plan_request* request);
/// kInvalid unless the struct is there and at least that of version 1.2.
Status CheckLoadPlan(const terrace_load_plan* plan);
/// Copies as much as the caller's struct_size names. REQUIRES: CheckLoadPlan was ok.
Status FillLoadPlan(const terrace_load_plan& from, terrace_load_plan* plan);
/// Null: the defaults.
Result<PrefetchOptions> ToPrefetchOptions(const terrace_prefetch_options* options);
Result<RetainOptions> ToRetainOptions(const terrace_retain_options* options);
Result<Ack> ToAck(std::uint32_t ack);
Result<HandoffOptions> ToHandoffOptions(const terrace_handoff_options* options);
/// Null: none.
Result<RequestHints> ToHints(const terrace_hints* hints);
Result<PutToken> ToToken(const terrace_put_token* token);
Result<HandoffToken> ToHandoffToken(const terrace_handoff_token* token);

Result<std::vector<BlockBuffer>> ToBlocks(const terrace_block* blocks, std::uint64_t count);
/// `argument`: what the caller calls the array.
Result<std::vector<MemoryPiece>> ToPieces(const terrace_piece* pieces, std::uint64_t count,
                                          const char* argument);

/// What a call about pieces names. The spans of `blocks` and `fragments` point into `pieces`.
template <typename Part>
struct Gathered {
  std::vector<MemoryPiece> pieces;
  std::vector<Part> parts;
};
Result<Gathered<BlockPieces>> ToBlockPieces(const terrace_block_pieces* blocks, std::uint64_t count,
                                            const terrace_piece* pieces, std::uint64_t piece_count);
Result<Gathered<BlockFragment>> ToFragments(const terrace_fragment* fragments, std::uint64_t count,
                                            const terrace_piece* pieces, std::uint64_t piece_count);

inline BlockKind ToKind(terrace_kind kind) noexcept { return {kind.group, kind.shard}; }
inline Deadline ToDeadline(terrace_deadline deadline) noexcept {
  return Deadline(std::chrono::nanoseconds(deadline));
}

terrace_block_result FromBlockResult(const BlockResult& result) noexcept;
/// Copies as much as the caller's struct_size names; kInvalid when that is less than version 1.0.
Status FillAnswer(const terrace_answer& from, terrace_answer* answer);

}  // namespace terrace::c
