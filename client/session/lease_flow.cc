#include "client/session/lease_flow.h"

#include <utility>

#include "client/wire/encode.h"

namespace terrace {
namespace {

using flatbuffers::FlatBufferBuilder;

std::vector<LeaseOrder> ReleaseAll(const Request& request) {
  std::vector<LeaseOrder> orders;
  for (const RequestPart& part : request.parts) {
    if (part.prefix.lease == 0) continue;
    orders.push_back(
        {.shard = part.shard, .lease = part.prefix.lease, .release = true, .keep = {}});
  }
  return orders;
}

}  // namespace

std::vector<LeaseOrder> CombinePrefix(Request& request, std::vector<LeaseBook::Part>& kept) {
  const PrefixQuestion& question = request.prefix_question;
  PrefixMatch& match = request.prefix;
  if (!request.status.ok()) return ReleaseAll(request);
  match.found = UnknownPresence(question);
  match.block_tokens = question.block_tokens;
  for (const RequestPart& part : request.parts) {
    const std::uint16_t first =
        AppendSources(part.prefix.loads, request.round_trip, match.load_from);
    EnterPart(part.blocks, part.prefix, first, match.found);
  }
  for (GroupPresence& pair : match.found) {
    pair.load_us = LoadTimes(pair.sources, match.load_from, pair.block_bytes);
  }
  FindStops(question, match);
  if (question.lease_ms == 0) return {};
  if (match.longest == 0) {
    match.lease_status = StatusCode::kMiss;
    return ReleaseAll(request);
  }
  std::vector<LeaseOrder> orders;
  for (const RequestPart& part : request.parts) {
    const std::uint64_t lease = part.prefix.lease;
    NeededCells cells = CellsNeeded(question, part.blocks, part.prefix, match.longest);
    if (lease == 0 && cells.needed > 0) {
      match.lease_status = StatusCode::kRetry;
      kept.clear();
      return ReleaseAll(request);
    }
    if (lease == 0) continue;
    if (cells.needed > 0) kept.push_back({.shard = part.shard, .lease = lease});
    if (cells.needed == cells.ready) continue;
    orders.push_back({.shard = part.shard,
                      .lease = lease,
                      .release = cells.needed == 0,
                      .keep = std::move(cells.bits)});
  }
  return orders;
}

std::vector<std::byte> EncodeMatchGroups(const MessageHead& head, const Chain& chain,
                                         const Placement& placement, const ShardPlan& plan,
                                         const PrefixQuestion& question) {
  return BuildMessage<wire::MatchGroups>(head, [&](FlatBufferBuilder& builder) {
    std::vector<std::uint32_t> numbers;
    numbers.reserve(question.groups.size());
    for (const GroupPolicy& policy : question.groups) numbers.push_back(policy.group);
    const auto groups = builder.CreateVector(numbers);
    const auto shards = builder.CreateVector(question.shards);
    const auto runs = EncodeRuns(builder, {chain, placement, {}, plan});
    return wire::CreateMatchGroups(builder, placement.daemon_namespace, groups, shards, runs,
                                   question.lease_ms);
  });
}

std::vector<std::byte> EncodeRenewLease(const MessageHead& head, std::uint64_t lease,
                                        std::uint32_t lease_ms) {
  return BuildMessage<wire::RenewLease>(head, [&](FlatBufferBuilder& builder) {
    return wire::CreateRenewLease(builder, lease, lease_ms);
  });
}

std::vector<std::byte> EncodeLeaseOrder(const MessageHead& head, const LeaseOrder& order) {
  if (order.release) {
    return BuildMessage<wire::ReleaseLease>(head, [&](FlatBufferBuilder& builder) {
      return wire::CreateReleaseLease(builder, order.lease);
    });
  }
  return BuildMessage<wire::TrimLease>(head, [&](FlatBufferBuilder& builder) {
    const auto keep = BuildBytes(builder, order.keep);
    return wire::CreateTrimLease(builder, order.lease, keep);
  });
}

}  // namespace terrace
