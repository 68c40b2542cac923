#include "client/session/request_builder.h"

#include <utility>

#include "base/check.h"
#include "client/session/lease_flow.h"
#include "client/wire/encode.h"

namespace terrace {

RequestRef RequestBuilder::Start(RequestKind kind) const {
  RequestRef request = std::make_shared<Request>();
  request->kind = kind;
  request->deadline = deadline_;
  request->epoch = session_.epoch;
  return request;
}

MessageHead RequestBuilder::NextHead(const RequestHints* hints) const {
  return {.request_id = ids_.fetch_add(1, std::memory_order_relaxed),
          .incarnation = incarnation_,
          .budget_us = BudgetMicroseconds(now_, deadline_),
          .hints = hints};
}

Placement RequestBuilder::PlacementOf(const NamespaceView& space) const {
  return {.daemon_namespace = space.daemon_id,
          .run_blocks = space.descriptor->run_blocks,
          .shards = session_.shards};
}

RequestRef RequestBuilder::Match(const NamespaceView& space, const Chain& chain,
                                 BlockKind kind) const {
  RequestRef request = Start(RequestKind::kMatch);
  request->match.block_bytes = space.BlockBytes(kind.group);
  request->match.block_tokens = space.descriptor->block_tokens;
  const Placement placement = PlacementOf(space);
  std::vector<ShardPlan> plans =
      PlanRange(chain, placement, 0, chain.size(), &request->match_steps);
  for (ShardPlan& plan : plans) {
    AddPart(*request, chain, plan, [&](const MessageHead& head) {
      return EncodeMatch(head, {chain, placement, kind, plan});
    });
  }
  return request;
}

RequestRef RequestBuilder::Transfer(TransferKind transfer, const NamespaceView& space,
                                    const Chain& chain, std::span<const BlockBuffer> blocks,
                                    BlockKind kind, std::span<const std::span<std::byte>> memory,
                                    RegionUse regions) const {
  TERRACE_CHECK(transfer.kind == RequestKind::kGet || transfer.kind == RequestKind::kPut);
  RequestRef request = Start(transfer.kind);
  request->ack = transfer.ack;
  request->regions = std::move(regions);
  request->blocks.resize(blocks.size());
  const Placement placement = PlacementOf(space);
  const std::uint64_t block_bytes = space.BlockBytes(kind.group);
  std::vector<ShardPlan> plans = PlanBlocks(chain, placement, blocks);
  for (ShardPlan& plan : plans) {
    RequestPart& part = AddPart(*request, chain, plan, [&](const MessageHead& head) {
      const BlockQuestion question{chain, placement, kind, plan};
      return transfer.kind == RequestKind::kGet
                 ? EncodeGet(head, question, blocks, block_bytes)
                 : EncodePut(head, question, blocks, block_bytes, transfer.ack, transfer.token_ids);
    });
    std::vector<std::span<std::byte>> places;
    places.reserve(part.blocks.size());
    for (const std::uint32_t index : part.blocks) places.push_back(memory[index]);
    part.memory = std::move(places);
  }
  return request;
}

RequestRef RequestBuilder::Lend(const NamespaceView& space, const Chain& chain,
                                std::span<const std::uint32_t> positions, BlockKind kind,
                                std::uint32_t lease_ms, const std::string& gpu) const {
  RequestRef request = Start(RequestKind::kLend);
  request->blocks.resize(positions.size());
  request->lent.resize(positions.size());
  request->lend_gpu = gpu;
  const Placement placement = PlacementOf(space);
  std::vector<BlockBuffer> blocks(positions.size());
  for (std::size_t i = 0; i < positions.size(); ++i) blocks[i].position = positions[i];
  std::vector<ShardPlan> plans = PlanBlocks(chain, placement, blocks);
  for (ShardPlan& plan : plans) {
    AddPart(*request, chain, plan, [&](const MessageHead& head) {
      return EncodeLend(head, {chain, placement, kind, plan}, lease_ms, gpu);
    });
  }
  return request;
}

RequestRef RequestBuilder::Remove(const NamespaceView& space, const Chain& chain,
                                  std::uint32_t first, std::uint32_t count, BlockKind kind) const {
  RequestRef request = Start(RequestKind::kRemove);
  request->blocks.resize(count);
  const Placement placement = PlacementOf(space);
  std::vector<ShardPlan> plans = PlanRange(chain, placement, first, count, nullptr);
  for (ShardPlan& plan : plans) {
    AddPart(*request, chain, plan, [&](const MessageHead& head) {
      return EncodeRemove(head, {chain, placement, kind, plan});
    });
  }
  return request;
}

RequestRef RequestBuilder::Range(RequestKind kind, const NamespaceView& space, const Chain& chain,
                                 std::uint32_t first, std::uint32_t count, BlockKind of,
                                 const EncodeQuestion& encode) const {
  RequestRef request = Start(kind);
  if (AnswersPerBlock(kind)) request->blocks.resize(count);
  const Placement placement = PlacementOf(space);
  std::vector<ShardPlan> plans = PlanRange(chain, placement, first, count, nullptr);
  for (ShardPlan& plan : plans) {
    AddPart(*request, chain, plan,
            [&](const MessageHead& head) { return encode(head, {chain, placement, of, plan}); });
  }
  return request;
}

RequestRef RequestBuilder::MatchGroups(const NamespaceView& space, const Chain& chain,
                                       PrefixQuestion question) const {
  RequestRef request = Start(RequestKind::kMatchGroups);
  request->prefix_question = std::move(question);
  const Placement placement = PlacementOf(space);
  std::vector<ShardPlan> plans = PlanRange(chain, placement, 0, chain.size(), nullptr);
  for (ShardPlan& plan : plans) {
    AddPart(*request, chain, plan, [&](const MessageHead& head) {
      return EncodeMatchGroups(head, chain, placement, plan, request->prefix_question);
    });
  }
  return request;
}

RequestRef RequestBuilder::EachShard(
    RequestKind kind,
    const std::function<std::vector<std::byte>(const MessageHead&)>& encode) const {
  RequestRef request = Start(kind);
  for (std::uint32_t shard = 0; shard < session_.shards; ++shard) {
    AddPart(*request, shard, encode);
  }
  return request;
}

RequestRef RequestBuilder::RenewLease(std::uint64_t epoch, std::span<const LeaseBook::Part> parts,
                                      std::uint32_t lease_ms) const {
  RequestRef request = Start(RequestKind::kRenewLease);
  request->epoch = epoch;
  for (const LeaseBook::Part& lease : parts) {
    AddPart(*request, lease.shard,
            [&](const MessageHead& head) { return EncodeRenewLease(head, lease.lease, lease_ms); });
  }
  return request;
}

RequestRef RequestBuilder::OpenNamespace(const NamespaceDescriptor& descriptor) const {
  RequestRef request = Start(RequestKind::kOpenNamespace);
  request->descriptor = descriptor;
  // One reactor is enough: all of them share the registry.
  AddPart(*request, 0,
          [&](const MessageHead& head) { return EncodeOpenNamespace(head, descriptor); });
  return request;
}

RequestRef RequestBuilder::ToEveryShard(RequestKind kind) const {
  return EachShard(kind, [kind](const MessageHead& head) {
    switch (kind) {
      case RequestKind::kPing: return BuildMessage<wire::Ping>(head);
      case RequestKind::kStat: return BuildMessage<wire::Stat>(head);
      default:
        TERRACE_CHECK(kind == RequestKind::kListNamespaces);
        return BuildMessage<wire::ListNamespaces>(head);
    }
  });
}

RequestRef RequestBuilder::ClearNamespace(std::string_view name) const {
  return EachShard(RequestKind::kClearNamespace, [name](const MessageHead& head) {
    return BuildMessage<wire::ClearNamespace>(
        head, [name](flatbuffers::FlatBufferBuilder& builder) {
          const auto text = builder.CreateString(name.data(), name.size());
          return wire::CreateClearNamespace(builder, text);
        });
  });
}

}  // namespace terrace
