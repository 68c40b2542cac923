// Encode: reads of events as control messages; as encode.h. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "client/terrace.hpp"
#include "client/wire/encode.h"
#include "transport/codec.h"

namespace terrace {

std::vector<std::byte> EncodeReadEvents(const MessageHead& head, std::uint64_t incarnation,
                                        std::uint64_t from, const EventQuery& query,
                                        std::uint32_t wait_ms);
std::vector<std::byte> EncodeReadSnapshot(const MessageHead& head, std::uint64_t incarnation,
                                          std::uint64_t from_block, const EventQuery& query);

/// Ids of tokens as a Put carries them; both are absent when no block has any.
struct EncodedTokens {
  flatbuffers::Offset<flatbuffers::Vector<std::uint32_t>> ids;
  flatbuffers::Offset<flatbuffers::Vector<std::uint32_t>> counts;
};
/// `token_ids`: empty, or one per entry of the caller's blocks, which the plan's indices name.
EncodedTokens EncodeTokenIds(flatbuffers::FlatBufferBuilder& builder, const ShardPlan& plan,
                             std::span<const std::span<const std::uint32_t>> token_ids);

}  // namespace terrace
