#include "client/wire/encode_events.h"

#include <bit>
#include <cstring>

namespace terrace {

using flatbuffers::FlatBufferBuilder;

static_assert(std::endian::native == std::endian::little, "token ids are copied as they are");

std::vector<std::byte> EncodeReadEvents(const MessageHead& head, std::uint64_t incarnation,
                                        std::uint64_t from, const EventQuery& query,
                                        std::uint32_t wait_ms) {
  return BuildMessage<wire::ReadEvents>(head, [&](FlatBufferBuilder& builder) {
    flatbuffers::Offset<flatbuffers::String> space;
    if (!query.space.empty()) space = builder.CreateString(query.space);
    return wire::CreateReadEvents(builder, incarnation, from, query.most, space, wait_ms);
  });
}

std::vector<std::byte> EncodeReadSnapshot(const MessageHead& head, std::uint64_t incarnation,
                                          std::uint64_t from_block, const EventQuery& query) {
  return BuildMessage<wire::ReadSnapshot>(head, [&](FlatBufferBuilder& builder) {
    flatbuffers::Offset<flatbuffers::String> space;
    if (!query.space.empty()) space = builder.CreateString(query.space);
    return wire::CreateReadSnapshot(builder, incarnation, from_block, query.most, space);
  });
}

EncodedTokens EncodeTokenIds(FlatBufferBuilder& builder, const ShardPlan& plan,
                             std::span<const std::span<const std::uint32_t>> token_ids) {
  if (token_ids.empty()) return {};
  std::size_t total = 0;
  for (const std::uint32_t index : plan.blocks) total += token_ids[index].size();
  if (total == 0) return {};
  std::uint32_t* ids = nullptr;
  const auto all = builder.CreateUninitializedVector<std::uint32_t>(total, &ids);
  for (const std::uint32_t index : plan.blocks) {
    const std::span<const std::uint32_t> own = token_ids[index];
    if (!own.empty()) std::memcpy(ids, own.data(), own.size_bytes());
    ids += own.size();
  }
  std::uint32_t* counts = nullptr;
  const auto each = builder.CreateUninitializedVector<std::uint32_t>(plan.blocks.size(), &counts);
  for (const std::uint32_t index : plan.blocks) {
    *counts++ = static_cast<std::uint32_t>(token_ids[index].size());
  }
  return {.ids = all, .counts = each};
}

}  // namespace terrace
