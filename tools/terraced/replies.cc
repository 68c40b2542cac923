#include "tools/terraced/replies.h"

#include <span>

#include "transport/codec.h"

namespace terrace {

namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

Offset<flatbuffers::Vector<std::uint8_t>> HashBytes(FlatBufferBuilder& builder,
                                                    const Hash128& hash) {
  std::uint8_t bytes[16];
  for (int index = 0; index < 8; ++index) {  // big-endian, high half first, as it is printed
    bytes[index] = static_cast<std::uint8_t>(hash.high >> (56 - 8 * index));
    bytes[8 + index] = static_cast<std::uint8_t>(hash.low >> (56 - 8 * index));
  }
  return builder.CreateVector(bytes, sizeof bytes);
}

}  // namespace

std::vector<std::byte> MakeErrorReply(std::uint64_t request_id, const Status& status) {
  return BuildError({.request_id = request_id}, status);
}

std::vector<std::byte> MakeOpenNamespaceReply(std::uint64_t request_id, const Namespace& space) {
  return BuildMessage<wire::OpenNamespaceReply>(
      {.request_id = request_id}, [&](FlatBufferBuilder& builder) {
        const auto fingerprint = HashBytes(builder, space.fingerprint);
        return wire::CreateOpenNamespaceReply(builder, space.id, fingerprint);
      });
}

std::vector<std::byte> MakeMatchReply(std::uint64_t request_id, const MatchAnswer& answer) {
  static_assert(sizeof(TierKind) == 1);
  return BuildMessage<wire::MatchReply>(
      {.request_id = request_id}, [&](FlatBufferBuilder& builder) {
        return wire::CreateMatchReply(builder,
                                      BuildBytes(builder, std::as_bytes(std::span(answer.tiers))));
      });
}

std::vector<std::byte> MakeBlocksReply(std::uint64_t request_id, const BatchAnswer& answer) {
  const std::size_t blocks = answer.blocks.size();
  return BuildMessage<wire::BlocksReply>(
      {.request_id = request_id}, [&](FlatBufferBuilder& builder) {
        std::uint8_t* statuses = nullptr;
        std::uint8_t* tiers = nullptr;
        std::uint32_t* valid_tokens = nullptr;
        // One at a time: starting the next vector may move the memory of the one before.
        const auto status_vector = builder.CreateUninitializedVector(blocks, &statuses);
        for (std::size_t block = 0; block < blocks; ++block) {
          statuses[block] = static_cast<std::uint8_t>(answer.blocks[block].status);
        }
        const auto tier_vector = builder.CreateUninitializedVector(blocks, &tiers);
        for (std::size_t block = 0; block < blocks; ++block) {
          tiers[block] = static_cast<std::uint8_t>(answer.blocks[block].tier);
        }
        const auto token_vector = builder.CreateUninitializedVector(blocks, &valid_tokens);
        for (std::size_t block = 0; block < blocks; ++block) {
          valid_tokens[block] = answer.blocks[block].valid_tokens;
        }
        return wire::CreateBlocksReply(builder, status_vector, tier_vector, token_vector);
      });
}

std::vector<std::byte> MakeStatReply(std::uint64_t request_id,
                                     const std::vector<StatEntry>& entries) {
  return BuildMessage<wire::StatReply>({.request_id = request_id}, [&](FlatBufferBuilder& builder) {
    std::vector<Offset<wire::Sample>> samples;
    samples.reserve(entries.size());
    for (const StatEntry& entry : entries) {
      const auto name = builder.CreateSharedString(entry.name);
      const auto labels = builder.CreateSharedString(entry.labels);
      samples.push_back(wire::CreateSample(builder, name, labels, entry.value));
    }
    return wire::CreateStatReply(builder, builder.CreateVector(samples));
  });
}

std::vector<std::byte> MakeListNamespacesReply(std::uint64_t request_id,
                                               const std::vector<NamespaceUsage>& usages) {
  return BuildMessage<wire::ListNamespacesReply>(
      {.request_id = request_id}, [&](FlatBufferBuilder& builder) {
        std::vector<Offset<wire::NamespaceInfo>> infos;
        infos.reserve(usages.size());
        for (const NamespaceUsage& usage : usages) {
          const auto tenant = builder.CreateString(usage.space->spec.tenant);
          const auto name = builder.CreateString(usage.space->spec.name);
          const auto fingerprint = HashBytes(builder, usage.space->fingerprint);
          infos.push_back(wire::CreateNamespaceInfo(builder, tenant, name, fingerprint,
                                                    usage.blocks, usage.bytes));
        }
        return wire::CreateListNamespacesReply(builder, builder.CreateVector(infos));
      });
}

std::vector<std::byte> MakeClearNamespaceReply(std::uint64_t request_id, std::uint64_t blocks) {
  return BuildMessage<wire::ClearNamespaceReply>(
      {.request_id = request_id},
      [&](FlatBufferBuilder& builder) { return wire::CreateClearNamespaceReply(builder, blocks); });
}

}  // namespace terrace
