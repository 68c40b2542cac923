#include "client/wire/encode.h"

#include <algorithm>

#include "client/plan/compute_time.h"
#include "client/wire/encode_events.h"

namespace terrace {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using Runs = Offset<flatbuffers::Vector<Offset<wire::Run>>>;
using Pieces = Offset<flatbuffers::Vector<const wire::Piece*>>;
using Counts = Offset<flatbuffers::Vector<std::uint16_t>>;

Offset<wire::Run> EncodeStretch(FlatBufferBuilder& builder, const BlockQuestion& question,
                                const Stretch& stretch) {
  const Chain& chain = question.chain;
  const auto placement =
      BuildBytes(builder, PlacementKey(chain, question.placement, stretch.first));
  const auto parent = stretch.first == 0 ? Offset<flatbuffers::Vector<std::uint8_t>>()
                                         : BuildBytes(builder, chain.key(stretch.first - 1));
  // The keys of a chain lie one after the other in memory, and so they do on the wire.
  const std::span<const std::byte> first = chain.key(stretch.first);
  const std::span<const std::byte> last = chain.key(stretch.first + stretch.count - 1);
  const auto keys = BuildBytes(builder, {first.data(), last.data() + last.size()});
  std::uint8_t* lengths = nullptr;
  const auto key_bytes = builder.CreateUninitializedVector(stretch.count, 1, &lengths);
  for (std::uint32_t i = 0; i < stretch.count; ++i) {
    lengths[i] = static_cast<std::uint8_t>(chain.key(stretch.first + i).size());
  }
  return wire::CreateRun(builder, placement, stretch.first, parent, keys,
                         Offset<flatbuffers::Vector<std::uint8_t>>(key_bytes));
}

Pieces EncodePieces(FlatBufferBuilder& builder, const ShardPlan& plan,
                    std::span<const BlockBuffer> blocks, std::uint64_t block_bytes) {
  wire::Piece* pieces = nullptr;
  const auto offset =
      builder.CreateUninitializedVectorOfStructs<wire::Piece>(plan.blocks.size(), &pieces);
  for (const std::uint32_t index : plan.blocks) {
    const BlockBuffer& block = blocks[index];
    *pieces++ = wire::Piece(block.region.value, 0, block.offset, block_bytes);
  }
  return offset;
}

Counts EncodeCounts(FlatBufferBuilder& builder, std::size_t blocks) {
  // A block is one piece here; lists of pieces: encode_pieces.cc.
  std::uint16_t* counts = nullptr;
  const auto offset = builder.CreateUninitializedVector<std::uint16_t>(blocks, &counts);
  std::fill_n(counts, blocks, flatbuffers::EndianScalar<std::uint16_t>(1));
  return offset;
}

}  // namespace

Runs EncodeRuns(FlatBufferBuilder& builder, const BlockQuestion& question) {
  std::vector<Offset<wire::Run>> runs;
  runs.reserve(question.plan.stretches.size());
  for (const Stretch& stretch : question.plan.stretches) {
    runs.push_back(EncodeStretch(builder, question, stretch));
  }
  return builder.CreateVector(runs);
}

std::vector<std::byte> EncodeMatch(const MessageHead& head, const BlockQuestion& question) {
  return BuildMessage<wire::Match>(head, [&question](FlatBufferBuilder& builder) {
    const Runs runs = EncodeRuns(builder, question);
    return wire::CreateMatch(builder, question.placement.daemon_namespace, question.kind.group,
                             question.kind.shard, runs);
  });
}

std::vector<std::byte> EncodeRemove(const MessageHead& head, const BlockQuestion& question) {
  return BuildMessage<wire::Remove>(head, [&question](FlatBufferBuilder& builder) {
    const Runs runs = EncodeRuns(builder, question);
    return wire::CreateRemove(builder, question.placement.daemon_namespace, question.kind.group,
                              question.kind.shard, runs);
  });
}

std::vector<std::byte> EncodeGet(const MessageHead& head, const BlockQuestion& question,
                                 std::span<const BlockBuffer> blocks, std::uint64_t block_bytes) {
  return BuildMessage<wire::Get>(head, [&](FlatBufferBuilder& builder) {
    const Runs runs = EncodeRuns(builder, question);
    const Pieces pieces = EncodePieces(builder, question.plan, blocks, block_bytes);
    const Counts counts = EncodeCounts(builder, question.plan.blocks.size());
    return wire::CreateGet(builder, question.placement.daemon_namespace, question.kind.group,
                           question.kind.shard, runs, pieces, counts);
  });
}

std::vector<std::byte> EncodeLend(const MessageHead& head, const BlockQuestion& question,
                                  std::uint32_t lease_ms, const std::string& gpu) {
  return BuildMessage<wire::Get>(head, [&](FlatBufferBuilder& builder) {
    const Runs runs = EncodeRuns(builder, question);
    const auto lend_gpu = gpu.empty() ? 0 : builder.CreateString(gpu);
    return wire::CreateGet(builder, question.placement.daemon_namespace, question.kind.group,
                           question.kind.shard, runs, 0, 0, true, lease_ms, 0, false, 0, lend_gpu);
  });
}

std::vector<std::byte> EncodePut(const MessageHead& head, const BlockQuestion& question,
                                 std::span<const BlockBuffer> blocks, std::uint64_t block_bytes,
                                 Ack ack,
                                 std::span<const std::span<const std::uint32_t>> token_ids) {
  return BuildMessage<wire::Put>(head, [&](FlatBufferBuilder& builder) {
    const Runs runs = EncodeRuns(builder, question);
    const Pieces pieces = EncodePieces(builder, question.plan, blocks, block_bytes);
    const Counts counts = EncodeCounts(builder, question.plan.blocks.size());
    std::uint32_t* tokens = nullptr;
    const auto valid_tokens =
        builder.CreateUninitializedVector<std::uint32_t>(question.plan.blocks.size(), &tokens);
    for (const std::uint32_t index : question.plan.blocks) {
      *tokens++ = flatbuffers::EndianScalar(blocks[index].valid_tokens);
    }
    const EncodedTokens ids = EncodeTokenIds(builder, question.plan, token_ids);
    return wire::CreatePut(builder, question.placement.daemon_namespace, question.kind.group,
                           question.kind.shard, runs, pieces, counts, valid_tokens,
                           static_cast<std::uint8_t>(ack), 0, 0, ids.ids, ids.counts);
  });
}

std::vector<std::byte> EncodeOpenNamespace(const MessageHead& head,
                                           const NamespaceDescriptor& descriptor) {
  return BuildMessage<wire::OpenNamespace>(head, [&descriptor](FlatBufferBuilder& builder) {
    std::vector<Offset<wire::Group>> groups;
    groups.reserve(descriptor.groups.size());
    for (const GroupSpec& group : descriptor.groups) {
      const auto attention = builder.CreateString(group.attention);
      groups.push_back(wire::CreateGroup(builder, group.id, attention, group.block_bytes));
    }
    const auto group_list = builder.CreateVector(groups);
    const auto name = builder.CreateString(descriptor.name);
    const auto model = builder.CreateString(descriptor.model);
    const auto weights = builder.CreateString(descriptor.weights);
    const auto kv_dtype = builder.CreateString(descriptor.kv_dtype);
    const auto layout = builder.CreateString(descriptor.layout);
    const auto hash_algorithm = builder.CreateString(descriptor.hash_algorithm);
    const auto hash_seed = builder.CreateString(descriptor.hash_seed);
    const PrefillCost cost = PrefillCostOf(descriptor.prefill_rate);
    return wire::CreateOpenNamespace(builder, name, model, weights, kv_dtype, layout,
                                     hash_algorithm, hash_seed, descriptor.block_tokens,
                                     descriptor.shard_count, descriptor.run_blocks, group_list,
                                     cost.first_token_s, cost.per_context_s);
  });
}

std::uint32_t BudgetMicroseconds(Nanos now, Nanos deadline) noexcept {
  constexpr Nanos kBudgetMax = 3600 * kSecond;
  const Nanos left = std::clamp<Nanos>(deadline - now, 0, kBudgetMax);
  return static_cast<std::uint32_t>((left + kMicrosecond - 1) / kMicrosecond);
}

}  // namespace terrace
