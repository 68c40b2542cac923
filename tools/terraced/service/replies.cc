#include "tools/terraced/service/replies.h"

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

/// A vector of one number of each block's answer.
template <typename Number, typename Field>
Offset<flatbuffers::Vector<Number>> NumberPerBlock(FlatBufferBuilder& builder,
                                                   const BatchAnswer& answer,
                                                   Field BlockAnswer::* field) {
  Number* numbers = nullptr;
  const auto vector = builder.CreateUninitializedVector(answer.blocks.size(), &numbers);
  for (const BlockAnswer& block : answer.blocks) *numbers++ = static_cast<Number>(block.*field);
  return vector;
}

Offset<flatbuffers::Vector<const wire::Loan*>> LoanPerBlock(FlatBufferBuilder& builder,
                                                            const BatchAnswer& answer) {
  wire::Loan* loans = nullptr;
  const auto vector =
      builder.CreateUninitializedVectorOfStructs<wire::Loan>(answer.blocks.size(), &loans);
  for (const BlockAnswer& block : answer.blocks) {
    const Loan& loan = block.loan;
    *loans++ = wire::Loan(loan.place.extent, loan.place.edition, loan.slot, loan.generation,
                          loan.place.offset, loan.bytes);
  }
  return vector;
}

Offset<flatbuffers::Vector<const wire::LoadSource*>> MakeLoadFrom(
    FlatBufferBuilder& builder, const std::vector<LoadSource>& sources) {
  wire::LoadSource* shown = nullptr;
  const auto vector =
      builder.CreateUninitializedVectorOfStructs<wire::LoadSource>(sources.size(), &shown);
  for (const LoadSource& source : sources) {
    *shown++ = wire::LoadSource(source.bytes_per_s, source.queue_us, source.latency_us,
                                static_cast<std::uint32_t>(source.tier), 0);
  }
  return vector;
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
        const auto tiers = BuildBytes(builder, std::as_bytes(std::span(answer.tiers)));
        const auto sources = BuildBytes(builder, std::as_bytes(std::span(answer.sources)));
        const auto load_from = MakeLoadFrom(builder, answer.load_from);
        return wire::CreateMatchReply(builder, tiers, sources, load_from);
      });
}

std::vector<std::byte> MakeMatchGroupsReply(std::uint64_t request_id, const GroupsAnswer& answer) {
  return BuildMessage<wire::MatchGroupsReply>(
      {.request_id = request_id}, [&](FlatBufferBuilder& builder) {
        const auto presence = BuildBytes(builder, std::as_bytes(std::span(answer.presence)));
        const auto tiers = BuildBytes(builder, std::as_bytes(std::span(answer.tiers)));
        const auto sources = BuildBytes(builder, std::as_bytes(std::span(answer.sources)));
        const auto load_from = MakeLoadFrom(builder, answer.load_from);
        return wire::CreateMatchGroupsReply(builder, presence, tiers, answer.lease,
                                            static_cast<std::uint8_t>(answer.lease_status), sources,
                                            load_from);
      });
}

std::vector<std::byte> MakeBlocksReply(std::uint64_t request_id, const BatchAnswer& answer,
                                       Ack asked, bool lent) {
  return BuildMessage<wire::BlocksReply>(
      {.request_id = request_id}, [&](FlatBufferBuilder& builder) {
        // One at a time: starting the next vector may move the memory of the one before.
        const auto statuses = NumberPerBlock<std::uint8_t>(builder, answer, &BlockAnswer::status);
        const auto tiers = NumberPerBlock<std::uint8_t>(builder, answer, &BlockAnswer::tier);
        const auto tokens =
            NumberPerBlock<std::uint32_t>(builder, answer, &BlockAnswer::valid_tokens);
        if (lent) {
          const auto loans = LoanPerBlock(builder, answer);
          return wire::CreateBlocksReply(builder, statuses, tiers, tokens, 0, 0, loans);
        }
        if (asked == Ack::kCommitted) {
          return wire::CreateBlocksReply(builder, statuses, tiers, tokens);
        }
        const auto acks = NumberPerBlock<std::uint8_t>(builder, answer, &BlockAnswer::ack);
        const auto reasons =
            NumberPerBlock<std::uint8_t>(builder, answer, &BlockAnswer::not_durable);
        return wire::CreateBlocksReply(builder, statuses, tiers, tokens, acks, reasons);
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

std::vector<std::byte> MakeExplainReply(std::uint64_t request_id,
                                        const std::vector<BlockStory>& stories) {
  return BuildMessage<wire::ExplainReply>(
      {.request_id = request_id}, [&](FlatBufferBuilder& builder) {
        std::vector<Offset<wire::BlockStory>> told;
        told.reserve(stories.size());
        for (const BlockStory& story : stories) {
          const unsigned flags = (story.published ? 1U : 0U) | (story.loading ? 2U : 0U) |
                                 (story.writing ? 4U : 0U) | (story.kept ? 8U : 0U) |
                                 (story.leased ? 16U : 0U);
          told.push_back(wire::CreateBlockStory(
              builder, static_cast<std::uint8_t>(story.reason), story.tiers,
              static_cast<std::uint8_t>(flags), static_cast<std::uint8_t>(story.gets), story.pins,
              story.position, story.valid_tokens, story.block_bytes,
              static_cast<std::uint64_t>(story.age / kMillisecond)));
        }
        return wire::CreateExplainReply(builder, builder.CreateVector(told));
      });
}

std::vector<std::byte> MakeCountReply(std::uint64_t request_id, std::uint64_t blocks) {
  return BuildMessage<wire::CountReply>(
      {.request_id = request_id},
      [=](FlatBufferBuilder& builder) { return wire::CreateCountReply(builder, blocks); });
}

std::vector<std::byte> MakeClearNamespaceReply(std::uint64_t request_id, std::uint64_t blocks) {
  return BuildMessage<wire::ClearNamespaceReply>(
      {.request_id = request_id},
      [&](FlatBufferBuilder& builder) { return wire::CreateClearNamespaceReply(builder, blocks); });
}

}  // namespace terrace
