#include "client/c/convert.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "client/c/call.h"
#include "client/c/sized.h"

namespace terrace::c {
namespace {

/// Most pieces of a call (terrace.hpp).
constexpr std::uint64_t kPiecesMax = 65536;

// Sizes in version 1.0: what every caller has at least. They never change.
constexpr std::uint32_t kOptionsSize = 48;
constexpr std::uint32_t kDescriptorSize = 88;
constexpr std::uint32_t kQuerySize = 48;
constexpr std::uint32_t kPrefetchSize = 16;
constexpr std::uint32_t kRetainSize = 24;
constexpr std::uint32_t kHandoffSize = 24;
constexpr std::uint32_t kAnswerSize = 184;
// Of version 1.2.
constexpr std::uint32_t kHintsSize = 32;
constexpr std::uint32_t kPlanRequestSize = 32;
constexpr std::uint32_t kLoadPlanSize = 80;
/// Most points of a rate's curve (client/plan/compute_time.cc), and one too many to be refused for.
constexpr std::uint64_t kRatePointsMax = 4097;

Status Reserved(const std::string& name, std::uint32_t value) {
  if (value == 0) return {};
  return Status::Invalid(name + ".reserved is " + std::to_string(value) + ", not 0");
}

/// `value` names one of `count` constants.
Status CheckConstant(const std::string& name, std::uint32_t value, std::uint32_t count) {
  if (value < count) return {};
  return Status::Invalid(name + " is " + std::to_string(value) + ", not 0 to " +
                         std::to_string(count - 1));
}

/// An array of at most `most`, null only when it is empty.
Status CheckArray(const void* array, std::uint64_t count, std::uint64_t most, const char* name) {
  if (Status status = NotNullUnless(count == 0, array, name); !status.ok()) return status;
  if (count <= most) return {};
  return Status::Invalid(std::string(name) + " has " + std::to_string(count) +
                         " entries, at most " + std::to_string(most));
}

std::string Entry(const char* array, std::uint64_t index) {
  return std::string(array) + "[" + std::to_string(index) + "]";
}

void SetText(std::string& field, const char* text) {
  if (text != nullptr) field = text;
}

/// Cuts `count` pieces off for part `part`.
class PieceCutter {
 public:
  explicit PieceCutter(const std::vector<MemoryPiece>& pieces) : left_(pieces) {}
  Status Cut(std::uint32_t count, const char* array, std::uint64_t part,
             std::span<const MemoryPiece>& to) {
    if (count > left_.size()) {
      return Status::Invalid(Entry(array, part) + ".piece_count is " + std::to_string(count) +
                             ", pieces has " + std::to_string(left_.size()) + " left");
    }
    to = left_.first(count);
    left_ = left_.subspan(count);
    return {};
  }
  [[nodiscard]] Status CheckNoneLeft(const char* array) const {
    if (left_.empty()) return {};
    return Status::Invalid("pieces has " + std::to_string(left_.size()) + " more than the " +
                           array + " name");
  }

 private:
  std::span<const MemoryPiece> left_;
};

std::vector<RatePoint> ToRate(const terrace_rate_point* points, std::uint64_t count) {
  std::vector<RatePoint> rate;
  for (std::uint64_t i = 0; i < count; ++i) {
    rate.push_back({.context = points[i].context, .tokens_per_s = points[i].tokens_per_s});
  }
  return rate;
}

}  // namespace

Result<ClientOptions> ToOptions(const terrace_client_options* options) {
  const auto known = ReadSized(options, kOptionsSize, "options");
  if (!known.ok()) return known.status();
  if (known->abi_version >> 16 != TERRACE_ABI_VERSION >> 16 ||
      known->abi_version > TERRACE_ABI_VERSION) {
    return Status(StatusCode::kIncompatible,
                  "options.abi_version is " + std::to_string(known->abi_version >> 16) + "." +
                      std::to_string(known->abi_version & 0xffff) + ", this library serves " +
                      std::to_string(TERRACE_ABI_VERSION >> 16) + ".0 to " +
                      std::to_string(TERRACE_ABI_VERSION >> 16) + "." +
                      std::to_string(TERRACE_ABI_VERSION & 0xffff));
  }
  if (Status status = CheckConstant("options.link", known->link, 2); !status.ok()) return status;
  if (Status status = CheckConstant("options.verify_same_host", known->verify_same_host, 2);
      !status.ok()) {
    return status;
  }
  ClientOptions to;
  to.spin = std::chrono::microseconds(known->spin_us);
  SetText(to.address, known->address);
  SetText(to.tenant, known->tenant);
  SetText(to.name, known->name);
  to.link = static_cast<LinkChoice>(known->link);
  if (known->connect_timeout_ms != 0) {
    to.connect_timeout = std::chrono::milliseconds(known->connect_timeout_ms);
  }
  to.verify_same_host = known->verify_same_host != 0;
  return to;
}

Result<NamespaceDescriptor> ToDescriptor(const terrace_descriptor* descriptor) {
  const auto known = ReadSized(descriptor, kDescriptorSize, "descriptor");
  if (!known.ok()) return known.status();
  if (Status status = NotNull(known->name, "descriptor.name"); !status.ok()) return status;
  if (Status status =
          CheckArray(known->groups, known->group_count, kGroupsMax, "descriptor.groups");
      !status.ok()) {
    return status;
  }
  NamespaceDescriptor to;
  to.name = known->name;
  SetText(to.model, known->model);
  SetText(to.weights, known->weights);
  SetText(to.kv_dtype, known->kv_dtype);
  SetText(to.layout, known->layout);
  SetText(to.hash_algorithm, known->hash_algorithm);
  SetText(to.hash_seed, known->hash_seed);
  to.block_tokens = known->block_tokens;
  if (known->shard_count != 0) to.shard_count = known->shard_count;
  if (known->run_blocks != 0) to.run_blocks = known->run_blocks;
  for (std::uint64_t i = 0; i < known->group_count; ++i) {
    const terrace_group& group = known->groups[i];
    if (Status status = Reserved(Entry("descriptor.groups", i), group.reserved); !status.ok()) {
      return status;
    }
    GroupSpec spec;
    spec.id = group.id;
    SetText(spec.attention, group.attention);
    spec.block_bytes = group.block_bytes;
    to.groups.push_back(std::move(spec));
  }
  if (Status status = CheckArray(known->prefill_rate, known->prefill_rate_count, kRatePointsMax,
                                 "descriptor.prefill_rate");
      !status.ok()) {
    return status;
  }
  to.prefill_rate = ToRate(known->prefill_rate, known->prefill_rate_count);
  return to;
}

Result<MatchQuery> ToQuery(const terrace_match_query* query) {
  const auto known = ReadSized(query, kQuerySize, "query");
  if (!known.ok()) return known.status();
  if (Status status = CheckConstant("query.mode", known->mode, 2); !status.ok()) return status;
  if (Status status = Reserved("query", known->reserved); !status.ok()) return status;
  if (Status status = CheckArray(known->groups, known->group_count, kGroupsMax, "query.groups");
      !status.ok()) {
    return status;
  }
  if (Status status = CheckArray(known->shards, known->shard_count, kShardsMax, "query.shards");
      !status.ok()) {
    return status;
  }
  MatchQuery to;
  for (std::uint64_t i = 0; i < known->group_count; ++i) {
    const auto policy = ToPolicy(known->groups[i], Entry("query.groups", i));
    if (!policy.ok()) return policy.status();
    to.groups.push_back(*policy);
  }
  if (known->shard_count != 0) {
    to.shards.assign(known->shards, known->shards + known->shard_count);
  }
  to.mode = static_cast<MatchMode>(known->mode);
  to.lease = std::chrono::milliseconds(known->lease_ms);
  return to;
}

Result<GroupPolicy> ToPolicy(const terrace_group_policy& policy, const std::string& name) {
  if (Status status = CheckConstant(name + ".policy", policy.policy, 4); !status.ok()) {
    return status;
  }
  if (Status status = Reserved(name, policy.reserved); !status.ok()) return status;
  return GroupPolicy{.group = policy.group,
                     .policy = static_cast<StopPolicy>(policy.policy),
                     .blocks = policy.blocks};
}

Result<PlanRequest> ToPlanRequest(const terrace_plan_request* request) {
  const auto known = ReadSized(request, kPlanRequestSize, "request");
  if (!known.ok()) return known.status();
  if (Status status = CheckConstant("request.no_overlap", known->no_overlap, 2); !status.ok()) {
    return status;
  }
  if (Status status = CheckArray(known->rate, known->rate_count, kRatePointsMax, "request.rate");
      !status.ok()) {
    return status;
  }
  PlanRequest to;
  to.tokens = known->tokens;
  to.overlap = known->no_overlap == 0;
  to.rate = ToRate(known->rate, known->rate_count);
  return to;
}

Status CheckLoadPlan(const terrace_load_plan* plan) {
  if (Status status = NotNull(plan, "plan"); !status.ok()) return status;
  const std::uint32_t size = plan->struct_size;
  if (size < kLoadPlanSize || size > kStructSizeMax) return WrongSize("plan", size, kLoadPlanSize);
  return {};
}

Status FillLoadPlan(const terrace_load_plan& from, terrace_load_plan* plan) {
  const std::uint32_t size = plan->struct_size;
  auto* bytes = reinterpret_cast<unsigned char*>(plan);
  std::fill(bytes, bytes + size, static_cast<unsigned char>(0));
  std::memcpy(bytes, &from, std::min<std::size_t>(size, sizeof from));
  plan->struct_size = size;
  return {};
}

Result<PrefetchOptions> ToPrefetchOptions(const terrace_prefetch_options* options) {
  if (options == nullptr) return PrefetchOptions{};
  const auto known = ReadSized(options, kPrefetchSize, "options");
  if (!known.ok()) return known.status();
  if (Status status = CheckConstant("options.target", known->target, TERRACE_TIER_NVME + 1);
      !status.ok()) {
    return status;
  }
  if (Status status = Reserved("options", known->reserved); !status.ok()) return status;
  PrefetchOptions to;
  to.target = static_cast<Tier>(known->target);
  to.priority = known->priority;
  return to;
}

Result<RetainOptions> ToRetainOptions(const terrace_retain_options* options) {
  const auto known = ReadSized(options, kRetainSize, "options");
  if (!known.ok()) return known.status();
  if (Status status = Reserved("options", known->reserved); !status.ok()) return status;
  if (Status status = NotNull(known->label, "options.label"); !status.ok()) return status;
  constexpr std::uint64_t kTimeMax = std::uint64_t{1} << 50;  // what chrono surely holds
  RetainOptions to;
  to.label = known->label;
  to.time = std::chrono::milliseconds(std::min(known->time_ms, kTimeMax));
  return to;
}

Result<Ack> ToAck(std::uint32_t ack) {
  if (Status status = CheckConstant("ack", ack, 2); !status.ok()) return status;
  return static_cast<Ack>(ack);
}

Result<RequestHints> ToHints(const terrace_hints* hints) {
  if (hints == nullptr) return RequestHints{};
  const auto known = ReadSized(hints, kHintsSize, "hints");
  if (!known.ok()) return known.status();
  if (Status status = CheckConstant("hints.continuation", known->continuation, 3); !status.ok()) {
    return status;
  }
  if (Status status = Reserved("hints", known->reserved); !status.ok()) return status;
  RequestHints to;
  SetText(to.session, known->session);
  SetText(to.category, known->category);
  to.turn = known->turn;
  to.continuation = static_cast<Continuation>(known->continuation);
  return to;
}

Result<PutToken> ToToken(const terrace_put_token* token) {
  if (Status status = NotNull(token, "token"); !status.ok()) return status;
  PutToken to;
  static_assert(sizeof to.bytes == sizeof token->bytes);
  std::memcpy(to.bytes.data(), token->bytes, sizeof token->bytes);
  return to;
}

Result<HandoffOptions> ToHandoffOptions(const terrace_handoff_options* options) {
  if (options == nullptr) return HandoffOptions{};
  const auto known = ReadSized(options, kHandoffSize, "options");
  if (!known.ok()) return known.status();
  if (Status status = Reserved("options", known->reserved); !status.ok()) return status;
  return HandoffOptions{.patience = std::chrono::milliseconds(known->patience_ms),
                        .keep = std::chrono::milliseconds(known->keep_ms),
                        .receivers = known->receivers,
                        .last_valid_tokens = known->last_valid_tokens};
}

Result<HandoffToken> ToHandoffToken(const terrace_handoff_token* token) {
  if (Status status = NotNull(token, "token"); !status.ok()) return status;
  HandoffToken to;
  static_assert(sizeof to.bytes == sizeof token->bytes);
  std::memcpy(to.bytes.data(), token->bytes, sizeof token->bytes);
  return to;
}

Result<std::vector<BlockBuffer>> ToBlocks(const terrace_block* blocks, std::uint64_t count) {
  if (Status status = CheckArray(blocks, count, kChainBlocksMax, "blocks"); !status.ok()) {
    return status;
  }
  std::vector<BlockBuffer> to;
  to.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const terrace_block& block = blocks[i];
    if (block.reserved != 0) return Reserved(Entry("blocks", i), block.reserved);
    to.push_back({.position = block.position,
                  .region = {block.region},
                  .offset = block.offset,
                  .valid_tokens = block.valid_tokens});
  }
  return to;
}

Result<std::vector<MemoryPiece>> ToPieces(const terrace_piece* pieces, std::uint64_t count,
                                          const char* argument) {
  if (Status status = CheckArray(pieces, count, kPiecesMax, argument); !status.ok()) return status;
  std::vector<MemoryPiece> to;
  to.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const terrace_piece& piece = pieces[i];
    if (piece.reserved != 0) return Reserved(Entry(argument, i), piece.reserved);
    to.push_back({.region = {piece.region}, .offset = piece.offset, .length = piece.length});
  }
  return to;
}

Result<Gathered<BlockPieces>> ToBlockPieces(const terrace_block_pieces* blocks, std::uint64_t count,
                                            const terrace_piece* pieces,
                                            std::uint64_t piece_count) {
  if (Status status = CheckArray(blocks, count, kChainBlocksMax, "blocks"); !status.ok()) {
    return status;
  }
  auto memory = ToPieces(pieces, piece_count, "pieces");
  if (!memory.ok()) return memory.status();
  Gathered<BlockPieces> to{std::move(*memory), {}};
  to.parts.reserve(count);
  PieceCutter cutter(to.pieces);
  for (std::uint64_t i = 0; i < count; ++i) {
    const terrace_block_pieces& block = blocks[i];
    if (block.reserved != 0) return Reserved(Entry("blocks", i), block.reserved);
    if (block.range.reserved != 0) {
      return Reserved(Entry("blocks", i) + ".range", block.range.reserved);
    }
    BlockPieces part;
    part.position = block.position;
    part.valid_tokens = block.valid_tokens;
    part.range = {.offset = block.range.offset,
                  .bytes = block.range.bytes,
                  .count = block.range.count == 0 ? 1 : block.range.count,
                  .stride = block.range.stride};
    if (Status status = cutter.Cut(block.piece_count, "blocks", i, part.pieces); !status.ok()) {
      return status;
    }
    to.parts.push_back(part);
  }
  if (Status status = cutter.CheckNoneLeft("blocks"); !status.ok()) return status;
  return to;
}

Result<Gathered<BlockFragment>> ToFragments(const terrace_fragment* fragments, std::uint64_t count,
                                            const terrace_piece* pieces,
                                            std::uint64_t piece_count) {
  if (Status status = CheckArray(fragments, count, kPiecesMax, "fragments"); !status.ok()) {
    return status;
  }
  auto memory = ToPieces(pieces, piece_count, "pieces");
  if (!memory.ok()) return memory.status();
  Gathered<BlockFragment> to{std::move(*memory), {}};
  to.parts.reserve(count);
  PieceCutter cutter(to.pieces);
  for (std::uint64_t i = 0; i < count; ++i) {
    const terrace_fragment& fragment = fragments[i];
    if (fragment.reserved != 0) return Reserved(Entry("fragments", i), fragment.reserved);
    BlockFragment part;
    part.offset = fragment.offset;
    if (Status status = cutter.Cut(fragment.piece_count, "fragments", i, part.pieces);
        !status.ok()) {
      return status;
    }
    to.parts.push_back(part);
  }
  if (Status status = cutter.CheckNoneLeft("fragments"); !status.ok()) return status;
  return to;
}

terrace_block_result FromBlockResult(const BlockResult& result) noexcept {
  terrace_block_result to{};
  to.status = static_cast<terrace_status>(result.status);
  to.valid_tokens = result.valid_tokens;
  to.tier = static_cast<std::uint8_t>(result.tier);
  to.ack = static_cast<std::uint8_t>(result.ack);
  to.not_durable = static_cast<std::uint8_t>(result.not_durable);
  return to;
}

Status FillAnswer(const terrace_answer& from, terrace_answer* answer) {
  if (Status status = NotNull(answer, "answer"); !status.ok()) return status;
  const std::uint32_t size = answer->struct_size;
  if (size < kAnswerSize || size > kStructSizeMax) return WrongSize("answer", size, kAnswerSize);
  auto* bytes = reinterpret_cast<unsigned char*>(answer);
  std::fill(bytes, bytes + size, static_cast<unsigned char>(0));
  std::memcpy(bytes, &from, std::min<std::size_t>(size, sizeof from));
  answer->struct_size = size;
  return {};
}

}  // namespace terrace::c
