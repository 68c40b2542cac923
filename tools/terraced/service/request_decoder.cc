#include "tools/terraced/service/request_decoder.h"

#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <utility>

#include "base/checksum.h"
#include "base/counter.h"
#include "base/device_export.h"
#include "base/limits.h"
#include "transport/codec.h"
#include "transport/server.h"

namespace terrace {

namespace {

/// Many fields of a message may point to one text of megabytes: what is too long for any of them is
/// copied just far enough to be refused for it.
std::string StringOf(const flatbuffers::String* text) {
  return std::string(TextOf(text).substr(0, kDescriptorTextBytesMax + 1));
}

/// A name as policies see it. Names of two tenants have nothing in common, equal ones included.
std::uint32_t HashOfName(std::string_view name, std::string_view tenant) {
  const std::uint64_t seed = Checksum64(std::as_bytes(std::span(tenant)));
  const auto hash = static_cast<std::uint32_t>(SeededHash64(std::as_bytes(std::span(name)), seed));
  return hash == 0 ? 1 : hash;
}

/// Where a hint's name, or that it was ignored, is noted.
struct NameHint {
  HintKind kind;
  HintFault fault;
};

std::uint32_t DecodeName(std::string_view name, std::string_view tenant, NameHint hint,
                         HintCounters& counters) {
  if (name.empty()) return 0;
  if (name.size() > kHintBytesMax) {
    Count(counters.Ignored(hint.fault));
    return 0;
  }
  Count(counters.Taken(hint.kind));
  return HashOfName(name, tenant);
}

}  // namespace

Result<ChainSlice> DecodeChain(std::uint32_t namespace_id, std::uint32_t group, std::uint32_t shard,
                               const flatbuffers::Vector<flatbuffers::Offset<wire::Run>>* runs,
                               ShardPlace place) try {
  Result<std::vector<KeyRun>> decoded = ReadRuns(runs, kChainBlocksMax);
  if (!decoded.ok()) return decoded.status();
  if (decoded->empty()) return Status::Invalid("runs is empty");
  ChainSlice chain{.namespace_id = namespace_id, .group = group, .shard = shard, .runs = {}};
  chain.runs.reserve(decoded->size());
  for (KeyRun& run : *decoded) {
    if (ShardOf(namespace_id, run.placement, place.count) != place.index) {
      return Status::Invalid("runs[" + std::to_string(chain.runs.size()) +
                             "] belongs to another shard of this daemon");
    }
    chain.runs.push_back({.placement = run.placement,
                          .first_position = run.first_position,
                          .parent = run.parent,
                          .keys = std::move(run.keys)});
  }
  return chain;
} catch (const std::bad_alloc&) {
  return Status(StatusCode::kRetry, "out of memory");  // a client says how much is needed
}

Result<std::vector<BlockPlace>> DecodePlaces(
    std::size_t blocks, const flatbuffers::Vector<const wire::Piece*>* pieces,
    const flatbuffers::Vector<std::uint16_t>* piece_counts,
    const flatbuffers::Vector<std::uint32_t>* valid_tokens) try {
  if (pieces == nullptr || piece_counts == nullptr || piece_counts->size() != blocks) {
    return Status::Invalid("piece_counts does not have one entry per key");
  }
  if (valid_tokens != nullptr && valid_tokens->size() != blocks) {
    return Status::Invalid("valid_tokens does not have one entry per key");
  }
  std::vector<BlockPlace> places(blocks);
  std::uint32_t next = 0;
  for (std::uint32_t block = 0; block < blocks; ++block) {
    const std::uint32_t count = piece_counts->Get(block);
    if (count == 0 || count > pieces->size() - next) {
      return Status::Invalid("piece_counts[" + std::to_string(block) + "] is " +
                             std::to_string(count) + ", " + std::to_string(pieces->size() - next) +
                             " pieces are left");
    }
    places[block].pieces.reserve(count);
    for (std::uint32_t end = next + count; next < end; ++next) {
      const wire::Piece& piece = *pieces->Get(next);
      places[block].pieces.push_back(
          {.region = piece.region(), .offset = piece.offset(), .length = piece.length()});
    }
    if (valid_tokens != nullptr) places[block].valid_tokens = valid_tokens->Get(block);
  }
  if (next != pieces->size()) return Status::Invalid("pieces has entries that belong to no block");
  return places;
} catch (const std::bad_alloc&) {
  return Status(StatusCode::kRetry, "out of memory");  // a client says how much is needed
}

Status DecodeRanges(const flatbuffers::Vector<const wire::Range*>* ranges,
                    std::vector<BlockPlace>& places) {
  if (ranges == nullptr) return {};
  if (ranges->size() != places.size()) {
    return Status::Invalid("ranges does not have one entry per key");
  }
  for (std::uint32_t i = 0; i < ranges->size(); ++i) {
    const wire::Range& range = *ranges->Get(i);
    places[i].range = {.offset = range.offset(),
                       .bytes = range.bytes(),
                       .stride = range.stride(),
                       .count = range.count()};
  }
  return {};
}

Status DecodeTokenIds(const wire::Put& put, std::vector<BlockPlace>& places) {
  const auto* counts = put.token_counts();
  const std::size_t ids = put.token_ids() == nullptr ? 0 : put.token_ids()->size();
  if (counts == nullptr || counts->size() == 0) {
    return ids == 0 ? Status() : Status::Invalid("token_ids has entries that belong to no block");
  }
  if (counts->size() != places.size()) {
    return Status::Invalid("token_counts does not have one entry per key");
  }
  std::size_t next = 0;
  for (std::uint32_t i = 0; i < counts->size(); ++i) {
    const std::uint32_t count = counts->Get(i);
    if (count > kEventTokensMax || count > ids - next) {
      return Status::Invalid("token_counts[" + std::to_string(i) + "] is " + std::to_string(count) +
                             ", at most " + std::to_string(kEventTokensMax) + ", " +
                             std::to_string(ids - next) + " token_ids are left");
    }
    if (count == 0) continue;
    places[i].tokens = std::as_bytes(std::span(put.token_ids()->Data(), 4 * ids))
                           .subspan(4 * next, std::size_t{4} * count);
    next += count;
  }
  if (next != ids) return Status::Invalid("token_ids has entries that belong to no block");
  return {};
}

Result<PutTokenParts> DecodeToken(const flatbuffers::Vector<std::uint8_t>* token) {
  const std::span<const std::byte> bytes = BytesOf(token);
  std::array<std::byte, kPutTokenBytes> copy;
  if (bytes.size() != copy.size()) {
    return Status::Invalid("token has " + std::to_string(bytes.size()) + " bytes, not " +
                           std::to_string(copy.size()));
  }
  std::copy(bytes.begin(), bytes.end(), copy.begin());
  return UnpackPutToken(copy);
}

Result<HandoffTokenParts> DecodeHandoffToken(const flatbuffers::Vector<std::uint8_t>* token) {
  const std::span<const std::byte> bytes = BytesOf(token);
  HandoffTokenBytes copy;
  if (bytes.size() != copy.size()) {
    return Status::Invalid("handoff has " + std::to_string(bytes.size()) + " bytes, not " +
                           std::to_string(copy.size()));
  }
  std::copy(bytes.begin(), bytes.end(), copy.begin());
  const HandoffTokenParts parts = UnpackHandoffToken(copy);
  if (parts.version != kHandoffTokenVersion) {
    return Status::Invalid("handoff is of version " + std::to_string(parts.version) + ", not " +
                           std::to_string(kHandoffTokenVersion));
  }
  if (!parts.number) return Status::Invalid("handoff has no number");
  return parts;
}

Result<std::unique_ptr<WriteRequest>> DecodeWrite(const wire::WriteFragments& write) try {
  const Result<PutTokenParts> token = DecodeToken(write.token());
  if (!token.ok()) return token.status();
  const std::size_t count = write.offsets() == nullptr ? 0 : write.offsets()->size();
  if (count == 0 || count > kChainBlocksMax) {
    return Status::Invalid("offsets has " + std::to_string(count) + " entries, not 1 to " +
                           std::to_string(kChainBlocksMax));
  }
  Result<std::vector<BlockPlace>> places =
      DecodePlaces(count, write.pieces(), write.piece_counts(), nullptr);
  if (!places.ok()) return places.status();
  auto request = std::make_unique<WriteRequest>();
  request->token = *token;
  request->fragments.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    request->fragments.push_back(
        {.offset = write.offsets()->Get(i), .pieces = std::move((*places)[i].pieces)});
  }
  return request;
} catch (const std::bad_alloc&) {
  return Status(StatusCode::kRetry, "out of memory");  // a client says how much is needed
}

Result<std::vector<KeyView>> DecodeExplainKeys(const wire::Explain& explain) {
  const std::span<const std::byte> lengths = BytesOf(explain.key_bytes());
  std::span<const std::byte> rest = BytesOf(explain.keys());
  if (lengths.empty() || lengths.size() > kExplainKeysMax) {
    return Status::Invalid("key_bytes has " + std::to_string(lengths.size()) +
                           " entries, not 1 to " + std::to_string(kExplainKeysMax));
  }
  std::vector<KeyView> keys;
  keys.reserve(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto length = std::to_integer<std::size_t>(lengths[i]);
    if (length == 0 || length > kKeyBytesMax || length > rest.size()) {
      return Status::Invalid("keys[" + std::to_string(i) + "] has " + std::to_string(length) +
                             " bytes, not 1 to " + std::to_string(kKeyBytesMax) + "; " +
                             std::to_string(rest.size()) + " are left");
    }
    keys.push_back(rest.first(length));
    rest = rest.subspan(length);
  }
  if (!rest.empty()) {
    return Status::Invalid("keys has " + std::to_string(rest.size()) + " bytes too many");
  }
  return keys;
}

Result<Ack> DecodeAck(std::uint8_t ack) {
  if (ack > static_cast<std::uint8_t>(Ack::kDurable)) {
    return Status::Invalid("ack is " + std::to_string(ack) + ", not 0 (committed) or 1 (durable)");
  }
  return static_cast<Ack>(ack);
}

RequestFacts DecodeHints(const wire::Hints* hints, std::string_view tenant,
                         HintCounters& counters) {
  RequestFacts facts;
  if (hints == nullptr) return facts;
  facts.session = DecodeName(TextOf(hints->session()), tenant,
                             {HintKind::kSession, HintFault::kSession}, counters);
  facts.category = DecodeName(TextOf(hints->category()), tenant,
                              {HintKind::kCategory, HintFault::kCategory}, counters);
  if (hints->turn() > kHintTurnMax) {
    Count(counters.Ignored(HintFault::kTurn));
  } else if (hints->turn() != 0) {
    Count(counters.Taken(HintKind::kTurn));
    facts.turn = static_cast<std::uint16_t>(hints->turn());
  }
  switch (const auto continuation = static_cast<Continuation>(hints->continuation())) {
    case Continuation::kUnknown: break;
    case Continuation::kWillContinue:
    case Continuation::kDone:
      Count(counters.Taken(continuation == Continuation::kDone ? HintKind::kDone
                                                               : HintKind::kWillContinue));
      facts.continuation = continuation;
      break;
    default: Count(counters.Ignored(HintFault::kContinuation));
  }
  return facts;
}

PrefillCost DecodePrefillCost(const wire::OpenNamespace& open, HintCounters& counters) {
  const PrefillCost cost{.first_token_s = open.first_token_s(),
                         .per_context_s = open.per_context_s()};
  if (!cost.told()) return {};
  if (!cost.IsPossible()) {
    Count(counters.Ignored(HintFault::kPrefillRate));
    return {};
  }
  Count(counters.Taken(HintKind::kPrefillRate));
  return cost;
}

Nanos DecodeLease(const wire::Get& get) noexcept {
  if (!get.lend()) return 0;
  return DecodeTime(get.lease_ms(), kLeaseDefault, kLeaseMax);
}

Result<std::string> DecodeLendGpu(const wire::Get& get) {
  std::string gpu = StringOf(get.lend_gpu());
  if (!gpu.empty() && !get.lend()) return Status::Invalid("lend_gpu: without lend");
  if (gpu.size() > DeviceExport::kGpuBytesMax) {
    return Status::Invalid("lend_gpu: of " + std::to_string(gpu.size()) + " bytes, at most " +
                           std::to_string(DeviceExport::kGpuBytesMax));
  }
  return gpu;
}

Nanos DecodeTime(std::uint32_t milliseconds, Nanos otherwise, Nanos most) noexcept {
  if (milliseconds == 0) return otherwise;
  return std::min<Nanos>(static_cast<Nanos>(milliseconds) * kMillisecond, most);
}

NamespaceSpec DecodeNamespace(const wire::OpenNamespace& open, const std::string& tenant) {
  NamespaceSpec spec;
  spec.tenant = tenant;
  spec.name = StringOf(open.name());
  spec.model = StringOf(open.model());
  spec.weights = StringOf(open.weights());
  spec.kv_dtype = StringOf(open.kv_dtype());
  spec.layout = StringOf(open.layout());
  spec.hash_algorithm = StringOf(open.hash_algorithm());
  spec.hash_seed = StringOf(open.hash_seed());
  spec.block_tokens = open.block_tokens();
  spec.shard_count = open.shard_count();
  spec.run_blocks = open.run_blocks();
  if (open.groups() != nullptr) {
    for (const wire::Group* group : *open.groups()) {
      if (spec.groups.size() > kGroupsMax) break;  // one too many: refused
      spec.groups.push_back({.id = group->id(),
                             .attention = StringOf(group->attention()),
                             .block_bytes = group->block_bytes()});
    }
  }
  return spec;
}

std::size_t BlockCount(const ChainSlice& chain) noexcept {
  std::size_t blocks = 0;
  for (const RunSlice& run : chain.runs) blocks += run.keys.size();
  return blocks;
}

}  // namespace terrace
