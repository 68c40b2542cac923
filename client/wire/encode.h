// Encode: the requests of a client as control messages. Linear in the number of keys; keys are
// copied from the chain a stretch at a time. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "client/request/shard_plan.h"
#include "client/terrace.hpp"
#include "transport/codec.h"

namespace terrace {

/// What the requests about blocks have in common.
struct BlockQuestion {
  const Chain& chain;
  const Placement& placement;
  BlockKind kind;
  const ShardPlan& plan;
};

/// The keys of the plan's stretches, as requests carry them.
flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Run>>> EncodeRuns(
    flatbuffers::FlatBufferBuilder& builder, const BlockQuestion& question);
std::vector<std::byte> EncodeMatch(const MessageHead& head, const BlockQuestion& question);
std::vector<std::byte> EncodeRemove(const MessageHead& head, const BlockQuestion& question);
/// `blocks` are the caller's; the plan's indices point into it.
std::vector<std::byte> EncodeGet(const MessageHead& head, const BlockQuestion& question,
                                 std::span<const BlockBuffer> blocks, std::uint64_t block_bytes);
/// A Get whose frames are to be lent; lease_ms 0: for as long as the daemon thinks fit. `gpu`: of
/// whose memory they may be, too; empty: of none.
std::vector<std::byte> EncodeLend(const MessageHead& head, const BlockQuestion& question,
                                  std::uint32_t lease_ms, const std::string& gpu);
/// `token_ids` likewise; or it is empty.
std::vector<std::byte> EncodePut(const MessageHead& head, const BlockQuestion& question,
                                 std::span<const BlockBuffer> blocks, std::uint64_t block_bytes,
                                 Ack ack,
                                 std::span<const std::span<const std::uint32_t>> token_ids = {});
std::vector<std::byte> EncodeOpenNamespace(const MessageHead& head,
                                           const NamespaceDescriptor& descriptor);

/// Time left in microseconds, rounded up, as MessageHead carries it; at most an hour.
[[nodiscard]] std::uint32_t BudgetMicroseconds(Nanos now, Nanos deadline) noexcept;

}  // namespace terrace
