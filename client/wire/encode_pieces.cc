#include "client/wire/encode_pieces.h"

#include "client/wire/encode_events.h"

#include <algorithm>
#include <optional>

#include "client/request/validate_pieces.h"

namespace terrace {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using Pieces = Offset<flatbuffers::Vector<const wire::Piece*>>;
using Counts = Offset<flatbuffers::Vector<std::uint16_t>>;
using Ranges = Offset<flatbuffers::Vector<const wire::Range*>>;

/// Pieces of many lists, as the wire has them.
class PieceTable {
 public:
  PieceTable(std::size_t lists, std::size_t pieces) {
    counts_.reserve(lists);
    pieces_.reserve(pieces);
  }
  void AddList(std::span<const MemoryPiece> list) {
    const std::size_t before = pieces_.size();
    for (const MemoryPiece& piece : list) {
      if (pieces_.size() > before && pieces_.back().region.value == piece.region.value &&
          pieces_.back().offset + pieces_.back().length == piece.offset) {
        pieces_.back().length += piece.length;
      } else {
        pieces_.push_back(piece);
      }
    }
    counts_.push_back(static_cast<std::uint16_t>(pieces_.size() - before));
  }
  [[nodiscard]] Pieces BuildPieces(FlatBufferBuilder& builder) const {
    wire::Piece* piece = nullptr;
    const auto vector =
        builder.CreateUninitializedVectorOfStructs<wire::Piece>(pieces_.size(), &piece);
    for (const MemoryPiece& own : pieces_) {
      *piece++ = wire::Piece(own.region.value, 0, own.offset, own.length);
    }
    return vector;
  }
  /// That both take in a message, about.
  [[nodiscard]] std::size_t Bytes() const noexcept {
    return pieces_.size() * sizeof(wire::Piece) + counts_.size() * sizeof(std::uint16_t);
  }
  [[nodiscard]] Counts BuildCounts(FlatBufferBuilder& builder) const {
    return builder.CreateVector(counts_);
  }

 private:
  std::vector<MemoryPiece> pieces_;
  std::vector<std::uint16_t> counts_;
};

Offset<flatbuffers::Vector<std::uint8_t>> BuildToken(FlatBufferBuilder& builder,
                                                     const std::optional<HandoffToken>& token) {
  if (!token) return 0;
  return BuildBytes(builder, token->bytes);
}

Ranges BuildRanges(FlatBufferBuilder& builder, const ShardPlan& plan,
                   std::span<const BlockPieces> blocks) {
  const bool whole = std::all_of(
      plan.blocks.begin(), plan.blocks.end(),
      [blocks](std::uint32_t index) { return ToFrameRange(blocks[index].range) == FrameRange{}; });
  if (whole) return 0;
  wire::Range* ranges = nullptr;
  const auto vector =
      builder.CreateUninitializedVectorOfStructs<wire::Range>(plan.blocks.size(), &ranges);
  for (const std::uint32_t index : plan.blocks) {
    const BlockRange& range = blocks[index].range;
    *ranges++ = wire::Range(range.offset, range.bytes, range.stride, range.count, 0);
  }
  return vector;
}

}  // namespace

std::vector<std::byte> EncodePieces(const MessageHead& head, const BlockQuestion& question,
                                    std::span<const BlockPieces> blocks, TransferKind transfer) {
  std::size_t pieces = 0;
  for (const std::uint32_t index : question.plan.blocks) pieces += blocks[index].pieces.size();
  PieceTable table(question.plan.blocks.size(), pieces);
  std::vector<std::uint32_t> tokens;
  tokens.reserve(question.plan.blocks.size());
  for (const std::uint32_t index : question.plan.blocks) {
    table.AddList(blocks[index].pieces);
    tokens.push_back(blocks[index].valid_tokens);
  }
  const std::uint32_t space = question.placement.daemon_namespace;
  const BlockKind kind = question.kind;
  // With keys, tokens and ranges of a usual size.
  const std::size_t bytes = table.Bytes() + question.plan.blocks.size() * 80 + 256;
  if (transfer.kind == RequestKind::kPut) {
    return BuildMessage<wire::Put>(
        head,
        [&](FlatBufferBuilder& builder) {
          const auto runs = EncodeRuns(builder, question);
          const Pieces pieces = table.BuildPieces(builder);
          const Counts counts = table.BuildCounts(builder);
          const auto all_tokens = builder.CreateVector(tokens);
          const auto handoff = BuildToken(builder, transfer.handoff);
          const auto ranges =
              transfer.handoff ? BuildRanges(builder, question.plan, blocks) : Ranges();
          const EncodedTokens ids = EncodeTokenIds(builder, question.plan, transfer.token_ids);
          return wire::CreatePut(builder, space, kind.group, kind.shard, runs, pieces, counts,
                                 all_tokens, static_cast<std::uint8_t>(transfer.ack), handoff,
                                 ranges, ids.ids, ids.counts);
        },
        bytes);
  }
  return BuildMessage<wire::Get>(
      head,
      [&](FlatBufferBuilder& builder) {
        const auto runs = EncodeRuns(builder, question);
        const Pieces pieces = table.BuildPieces(builder);
        const Counts counts = table.BuildCounts(builder);
        const auto ranges = BuildRanges(builder, question.plan, blocks);
        const auto handoff = BuildToken(builder, transfer.handoff);
        return wire::CreateGet(builder, space, kind.group, kind.shard, runs, pieces, counts, false,
                               0, ranges, transfer.waits, handoff);
      },
      bytes);
}

std::vector<std::byte> EncodeReserve(const MessageHead& head, const BlockQuestion& question,
                                     std::uint32_t valid_tokens, std::uint32_t patience_ms) {
  return BuildMessage<wire::Reserve>(head, [&](FlatBufferBuilder& builder) {
    const auto runs = EncodeRuns(builder, question);
    return wire::CreateReserve(builder, question.placement.daemon_namespace, question.kind.group,
                               question.kind.shard, runs, valid_tokens, patience_ms);
  });
}

std::vector<std::byte> EncodeWrite(const MessageHead& head, const PutToken& token,
                                   std::span<const BlockFragment> fragments) {
  std::size_t pieces = 0;
  for (const BlockFragment& fragment : fragments) pieces += fragment.pieces.size();
  PieceTable table(fragments.size(), pieces);
  std::vector<std::uint64_t> offsets;
  offsets.reserve(fragments.size());
  for (const BlockFragment& fragment : fragments) {
    table.AddList(fragment.pieces);
    offsets.push_back(fragment.offset);
  }
  return BuildMessage<wire::WriteFragments>(
      head,
      [&](FlatBufferBuilder& builder) {
        const auto bytes = BuildBytes(builder, token.bytes);
        const auto places = builder.CreateVector(offsets);
        const Pieces pieces = table.BuildPieces(builder);
        const Counts counts = table.BuildCounts(builder);
        return wire::CreateWriteFragments(builder, bytes, places, pieces, counts);
      },
      table.Bytes() + offsets.size() * sizeof(std::uint64_t) + 256);
}

std::vector<std::byte> EncodeCommit(const MessageHead& head, const PutToken& token, Ack ack) {
  return BuildMessage<wire::CommitReservation>(head, [&](FlatBufferBuilder& builder) {
    const auto bytes = BuildBytes(builder, token.bytes);
    return wire::CreateCommitReservation(builder, bytes, static_cast<std::uint8_t>(ack));
  });
}

std::vector<std::byte> EncodeOpenHandoff(const MessageHead& head, const BlockQuestion& question,
                                         const HandoffToken& token, std::uint32_t count,
                                         const HandoffOptions& options) {
  std::vector<std::uint32_t> tokens;
  if (options.last_valid_tokens != 0) {
    for (const std::uint32_t index : question.plan.blocks) {
      tokens.push_back(index + 1 == count ? options.last_valid_tokens : 0);
    }
  }
  return BuildMessage<wire::OpenHandoff>(head, [&](FlatBufferBuilder& builder) {
    const auto runs = EncodeRuns(builder, question);
    const auto bytes = BuildBytes(builder, token.bytes);
    Offset<flatbuffers::Vector<std::uint32_t>> valid_tokens = 0;
    if (!tokens.empty()) valid_tokens = builder.CreateVector(tokens);
    return wire::CreateOpenHandoff(
        builder, question.placement.daemon_namespace, question.kind.group, question.kind.shard,
        runs, bytes, valid_tokens, static_cast<std::uint32_t>(options.patience.count()),
        static_cast<std::uint32_t>(options.keep.count()), options.receivers);
  });
}

std::vector<std::byte> EncodeEndHandoff(const MessageHead& head, const HandoffToken& token,
                                        bool abort) {
  if (abort) {
    return BuildMessage<wire::AbortHandoff>(head, [&](FlatBufferBuilder& builder) {
      return wire::CreateAbortHandoff(builder, BuildBytes(builder, token.bytes));
    });
  }
  return BuildMessage<wire::AckHandoff>(head, [&](FlatBufferBuilder& builder) {
    return wire::CreateAckHandoff(builder, BuildBytes(builder, token.bytes));
  });
}

std::vector<std::byte> EncodeAbort(const MessageHead& head, const PutToken& token) {
  return BuildMessage<wire::AbortReservation>(head, [&](FlatBufferBuilder& builder) {
    return wire::CreateAbortReservation(builder, BuildBytes(builder, token.bytes));
  });
}

}  // namespace terrace
