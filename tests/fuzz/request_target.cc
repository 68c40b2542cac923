// What the daemon makes of a client's message: nothing that breaks a limit gets past the decoder.
#include <iterator>
#include <string>

#include "base/check.h"
#include "base/limits.h"
#include "cache/namespace_registry.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/wire_story.h"
#include "tools/terraced/service/request_decoder.h"
#include "transport/codec.h"
#include "transport/remote_regions.h"

namespace terrace::fuzz {
namespace {

using Runs = flatbuffers::Vector<flatbuffers::Offset<wire::Run>>;

void CheckRefusal(const Status& status, std::string_view place) {
  TERRACE_CHECK(status.code() == StatusCode::kInvalid);
  TERRACE_CHECK(status.message().starts_with(place) && status.message().size() < 400);
}

/// What was read, written again, reads as the same.
void CheckRunsAgain(const std::vector<KeyRun>& runs) {
  const Bytes again = BuildMessage<wire::Match>({}, [&](flatbuffers::FlatBufferBuilder& builder) {
    std::vector<flatbuffers::Offset<wire::Run>> offsets;
    for (const KeyRun& run : runs) offsets.push_back(BuildRun(builder, run));
    return wire::CreateMatch(builder, 0, 0, 0, builder.CreateVector(offsets));
  });
  const auto message = VerifyMessage(again);
  TERRACE_CHECK(message.ok());
  const auto read = ReadRuns((*message)->body_as_Match()->runs(), kChainBlocksMax);
  TERRACE_CHECK(read.ok() && read->size() == runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const KeyRun& left = runs[i];
    const KeyRun& right = (*read)[i];
    TERRACE_CHECK(std::ranges::equal(left.placement, right.placement) &&
                  std::ranges::equal(left.parent, right.parent) &&
                  left.first_position == right.first_position &&
                  left.keys.size() == right.keys.size());
    for (std::size_t key = 0; key < left.keys.size(); ++key) {
      TERRACE_CHECK(std::ranges::equal(left.keys[key], right.keys[key]));
    }
  }
}

/// How many keys the request has; 0: it was refused.
std::size_t DecodeRuns(const Runs* runs) {
  const auto read = ReadRuns(runs, kChainBlocksMax);
  const auto chain = DecodeChain(1, 0, 0, runs, ShardPlace{});
  if (!read.ok()) {
    CheckRefusal(read.status(), "runs[");
    TERRACE_CHECK(!chain.ok());
    return 0;
  }
  if (!chain.ok()) {
    TERRACE_CHECK(read->empty());
    CheckRefusal(chain.status(), "runs");
    return 0;
  }
  for (const RunSlice& run : chain->runs) {
    TERRACE_CHECK(!run.placement.empty() && run.placement.size() <= kKeyBytesMax &&
                  run.parent.size() <= kKeyBytesMax && !run.keys.empty());
    for (const auto& key : run.keys) TERRACE_CHECK(!key.empty() && key.size() <= kKeyBytesMax);
  }
  const std::size_t blocks = BlockCount(*chain);
  TERRACE_CHECK(blocks > 0 && blocks <= kChainBlocksMax);
  CheckRunsAgain(*read);
  // Where there are more reactors, each run belongs to exactly one.
  std::size_t owners = 0;
  for (std::uint32_t shard = 0; shard < 3; ++shard) {
    owners += DecodeChain(1, 0, 0, runs, {shard, 3}).ok() ? 1 : 0;
  }
  TERRACE_CHECK(owners <= 1 && (owners == 1 || read->size() > 1));
  return blocks;
}

/// The memory that a client says it has.
const RemoteRegions& Regions() {
  static const RemoteRegions regions = [] {
    RemoteRegions made(8);
    TERRACE_CHECK(
        made.Add(1, {.base = 4096, .length = 1 << 20, .packed_key = {}, .shared = {}}).ok());
    TERRACE_CHECK(
        made.Add(2,
                 {.base = ~std::uint64_t{0} - 100, .length = 100, .packed_key = {}, .shared = {}})
            .ok());
    return made;
  }();
  return regions;
}

void CheckPieces(std::span<const Piece> pieces) {
  std::uint64_t total = 0;
  for (const Piece& piece : pieces) total += piece.length;
  for (const std::uint64_t wanted : {total, std::uint64_t{4096}}) {
    const auto resolved = Regions().Resolve(pieces, wanted);
    if (!resolved.ok()) {
      CheckRefusal(resolved.status(), "pieces");
      continue;
    }
    std::uint64_t bytes = 0;
    for (const auto& piece : *resolved) {
      const auto* region = Regions().Find(piece.region);
      TERRACE_CHECK(region != nullptr && piece.length > 0 && piece.address >= region->base);
      TERRACE_CHECK(piece.address - region->base <= region->length &&
                    piece.length <= region->length - (piece.address - region->base));
      bytes += piece.length;
    }
    TERRACE_CHECK(bytes == wanted && resolved->size() <= pieces.size());
  }
}

template <typename Body>
void DecodePieces(const Body& body, std::size_t blocks,
                  const flatbuffers::Vector<std::uint32_t>* tokens) {
  const auto places = DecodePlaces(blocks, body.pieces(), body.piece_counts(), tokens);
  if (!places.ok()) return CheckRefusal(places.status(), "");
  TERRACE_CHECK(places->size() == blocks);
  std::size_t pieces = 0;
  for (const BlockPlace& place : *places) {
    TERRACE_CHECK(!place.pieces.empty());
    pieces += place.pieces.size();
    CheckPieces(place.pieces);
  }
  TERRACE_CHECK(pieces == body.pieces()->size());
}

/// Every id belongs to one block, and no view leaves the message's ids.
void DecodeIds(const wire::Put& put, std::size_t blocks) {
  std::vector<BlockPlace> places(blocks);
  const Status status = DecodeTokenIds(put, places);
  if (!status.ok()) return CheckRefusal(status, "token_");
  const auto* ids = put.token_ids();
  const std::byte* next =
      ids == nullptr ? nullptr : reinterpret_cast<const std::byte*>(ids->Data());
  std::size_t bytes = 0;
  for (const BlockPlace& place : places) {
    TERRACE_CHECK(place.tokens.size() <= 4 * std::size_t{kEventTokensMax});
    TERRACE_CHECK(place.tokens.empty() || place.tokens.data() == next + bytes);
    bytes += place.tokens.size();
  }
  TERRACE_CHECK(bytes == (ids == nullptr ? 0 : 4 * std::size_t{ids->size()}));
}

/// A frame that nobody reads.
std::byte* NoFrame() {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address to count from
  return reinterpret_cast<std::byte*>(std::uintptr_t{1} << 40);
}

/// A range that is let through never leaves its block.
void DecodePartsOf(const flatbuffers::Vector<const wire::Range*>* ranges, std::size_t blocks) {
  std::vector<BlockPlace> places(blocks);
  const Status status = DecodeRanges(ranges, places);
  if (!status.ok()) return CheckRefusal(status, "ranges");
  for (const BlockPlace& place : places) {
    for (const std::uint64_t block_bytes : {kBlockBytesMin, kBlockBytesMax}) {
      const Status fits = CheckFrameRange(place.range, block_bytes);
      if (!fits.ok()) {
        CheckRefusal(fits, "range.");
        continue;
      }
      const RangeView view({NoFrame(), block_bytes}, place.range);
      TERRACE_CHECK(view.size() > 0 && view.size() <= block_bytes);
      for (const std::uint64_t at : {std::uint64_t{0}, view.size() / 2, view.size() - 1}) {
        const std::span<std::byte> part = view.From(at);
        const auto begin = static_cast<std::uint64_t>(part.data() - NoFrame());
        TERRACE_CHECK(!part.empty() && begin < block_bytes && part.size() <= block_bytes - begin);
      }
    }
  }
}

void DecodeFragments(const wire::WriteFragments& write) {
  const auto request = DecodeWrite(write);
  if (!request.ok()) return CheckRefusal(request.status(), "");
  TERRACE_CHECK((*request)->fragments.size() == write.offsets()->size());
  for (const WriteRequest::Fragment& fragment : (*request)->fragments) {
    TERRACE_CHECK(!fragment.pieces.empty());
    CheckPieces(fragment.pieces);
  }
}

/// A message may let many fields share one long text: what is copied of it has limits.
void DecodeOpen(const wire::OpenNamespace& open) {
  const NamespaceSpec spec = DecodeNamespace(open, "tenant");
  TERRACE_CHECK(spec.groups.size() <= kGroupsMax + 1 && spec.tenant == "tenant");
  for (const std::string* text : {&spec.name, &spec.model, &spec.weights, &spec.kv_dtype,
                                  &spec.layout, &spec.hash_algorithm, &spec.hash_seed}) {
    TERRACE_CHECK(text->size() <= kDescriptorTextBytesMax + 1);
  }
  for (const NamespaceGroup& group : spec.groups) {
    TERRACE_CHECK(group.attention.size() <= kDescriptorTextBytesMax + 1);
  }
  HintCounters counters;
  const PrefillCost cost = DecodePrefillCost(open, counters);
  TERRACE_CHECK(!cost.told() || cost.IsPossible());
  NamespaceRegistry registry(kBlockBytesMax);
  const auto opened = registry.Open(spec);
  if (!opened.ok()) return;
  TERRACE_CHECK(spec.name.size() <= kNameBytesMax && spec.groups.size() <= kGroupsMax);
}

void Register(const wire::RegisterRegion& body) {
  RemoteRegions regions(2);
  RemoteRegions::Region region;
  region.base = body.base();
  region.length = body.length();
  if (!regions.Add(body.region(), region).ok()) return;
  const Piece whole{body.region(), 0, body.length()};
  TERRACE_CHECK(regions.Resolve({&whole, 1}, body.length()).ok());
}

/// Memory of a GPU, and what a driver says of it that has 1 GiB in the allocation.
void RegisterDevice(const wire::RegisterDevice& body) {
  constexpr std::uint64_t kAllocationBytes = 1 << 30;
  const auto handle = BytesOf(body.handle());
  const DeviceExport exported{.gpu = std::string(TextOf(body.gpu())),
                              .handle = {handle.begin(), handle.end()},
                              .offset = body.offset(),
                              .bytes = body.length()};
  if (!CheckDeviceExport(exported).ok()) return;
  TERRACE_CHECK(!exported.gpu.empty() && exported.handle.size() <= DeviceExport::kHandleBytesMax);
  if (exported.offset + exported.bytes <= kAllocationBytes) {
    TERRACE_CHECK(exported.offset < kAllocationBytes && exported.bytes <= kAllocationBytes);
  }
}

/// Each hint is taken, or it is ignored and counted, or it was not there.
void DecodeTold(const wire::Hints* hints) {
  HintCounters counters;
  const RequestFacts facts = DecodeHints(hints, "tenant", counters);
  const bool session = facts.session != 0;
  const bool turn = facts.turn != 0;
  const bool category = facts.category != 0;
  const bool goes_on = facts.continuation == Continuation::kWillContinue;
  const bool done = facts.continuation == Continuation::kDone;
  constexpr bool kRate = false;  // is told of namespaces
  const bool taken[] = {session, turn, category, goes_on, done, kRate};
  static_assert(std::size(taken) == kHintKindNames.size());
  for (std::size_t kind = 0; kind < counters.taken.size(); ++kind) {
    TERRACE_CHECK(counters.taken[kind] == (taken[kind] ? 1U : 0U));
  }
  const auto ignored = [&counters](HintFault fault) { return counters.Ignored(fault).load(); };
  if (hints == nullptr) {
    for (const auto& count : counters.ignored) TERRACE_CHECK(count == 0);
    TERRACE_CHECK(!session && !turn && !category && !goes_on && !done);
    return;
  }
  const auto name = [](std::string_view text, bool is_taken, std::uint64_t is_ignored) {
    TERRACE_CHECK(is_taken == (!text.empty() && text.size() <= kHintBytesMax));
    TERRACE_CHECK(is_ignored == (text.size() > kHintBytesMax ? 1U : 0U));
  };
  name(TextOf(hints->session()), session, ignored(HintFault::kSession));
  name(TextOf(hints->category()), category, ignored(HintFault::kCategory));
  TERRACE_CHECK(turn || hints->turn() == 0 || ignored(HintFault::kTurn) == 1);
  TERRACE_CHECK(goes_on || done || hints->continuation() == 0 ||
                ignored(HintFault::kContinuation) == 1);
}

void DecodeExplain(const wire::Explain& explain) {
  const auto keys = DecodeExplainKeys(explain);
  if (!keys.ok()) return CheckRefusal(keys.status(), "key");
  TERRACE_CHECK(!keys->empty() && keys->size() <= kExplainKeysMax);
  std::size_t bytes = 0;
  for (const KeyView key : *keys) {
    TERRACE_CHECK(!key.empty() && key.size() <= kKeyBytesMax);
    bytes += key.size();
  }
  TERRACE_CHECK(bytes == explain.keys()->size());
}

void Decode(const wire::Message& message) {
  DecodeTold(message.hints());
  switch (message.body_type()) {
    case wire::Body_Match: (void)DecodeRuns(message.body_as_Match()->runs()); return;
    case wire::Body_Remove: (void)DecodeRuns(message.body_as_Remove()->runs()); return;
    case wire::Body_Prefetch: (void)DecodeRuns(message.body_as_Prefetch()->runs()); return;
    case wire::Body_Touch: (void)DecodeRuns(message.body_as_Touch()->runs()); return;
    case wire::Body_Retain: (void)DecodeRuns(message.body_as_Retain()->runs()); return;
    case wire::Body_RemovePrefix: (void)DecodeRuns(message.body_as_RemovePrefix()->runs()); return;
    case wire::Body_Get: {
      const wire::Get& get = *message.body_as_Get();
      const Nanos lease = DecodeLease(get);
      TERRACE_CHECK(lease >= 0 && lease <= kLeaseMax && get.lend() == (lease != 0));
      if (const std::size_t blocks = DecodeRuns(get.runs())) {
        DecodePieces(get, blocks, nullptr);
        DecodePartsOf(get.ranges(), blocks);
      }
      (void)DecodeHandoffToken(get.handoff());
      return;
    }
    case wire::Body_Put: {
      const wire::Put& put = *message.body_as_Put();
      const auto ack = DecodeAck(put.ack());
      TERRACE_CHECK(ack.ok() == (put.ack() <= 1));
      const std::size_t blocks = DecodeRuns(put.runs());
      if (blocks > 0) {
        DecodePieces(put, blocks, put.valid_tokens());
        DecodePartsOf(put.ranges(), blocks);
        DecodeIds(put, blocks);
      }
      (void)DecodeHandoffToken(put.handoff());
      return;
    }
    case wire::Body_OpenHandoff: {
      const wire::OpenHandoff& open = *message.body_as_OpenHandoff();
      (void)DecodeRuns(open.runs());
      const auto token = DecodeHandoffToken(open.handoff());
      TERRACE_CHECK(!token.ok() || token->number);
      return;
    }
    case wire::Body_AckHandoff:
      (void)DecodeHandoffToken(message.body_as_AckHandoff()->handoff());
      return;
    case wire::Body_AbortHandoff:
      (void)DecodeHandoffToken(message.body_as_AbortHandoff()->handoff());
      return;
    case wire::Body_Explain: DecodeExplain(*message.body_as_Explain()); return;
    case wire::Body_Reserve: (void)DecodeRuns(message.body_as_Reserve()->runs()); return;
    case wire::Body_WriteFragments: DecodeFragments(*message.body_as_WriteFragments()); return;
    case wire::Body_CommitReservation:
      (void)DecodeToken(message.body_as_CommitReservation()->token());
      return;
    case wire::Body_OpenNamespace: DecodeOpen(*message.body_as_OpenNamespace()); return;
    case wire::Body_RegisterRegion: Register(*message.body_as_RegisterRegion()); return;
    case wire::Body_RegisterDevice: RegisterDevice(*message.body_as_RegisterDevice()); return;
    default: return;
  }
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const bool built = input.Flag();
  const Bytes message = built ? ClientMessage(input) : Aligned(input.Rest());
  const auto verified = VerifyMessage(message);
  if (verified.ok()) return Decode(**verified);
  TERRACE_CHECK(!built && verified.status().message().starts_with("message"));
}

std::vector<Bytes> Seeds() {
  std::vector<Bytes> seeds;
  for (unsigned kind = 0; kind < kClientKinds; ++kind) {
    Output out;
    // With hints, within bounds and beyond them.
    out.Byte(1).Byte(kind).Byte(1 + 4 * (kind % 64)).Byte(1 + 4 * (3 * kind % 64));
    out.Put(std::uint32_t{1000});
    if (kind == 19) {
      out.Chunk("space").Chunk("key1key2").Chunk("\x04\x04").Byte(0).Byte(0);
    } else if (kind >= 9) {
      out.Chunk(std::string(32, '\1')).Byte(2).Byte(1).Byte(2).Byte(2);
      for (int piece = 0; piece < 2; ++piece) out.Byte(1).Byte(0).Byte(156);
      out.Byte(2).Byte(1).Byte(1);
    } else if ((kind >= 2 && kind <= 5) || kind == 8) {
      out.Byte(1).Chunk("key1").Chunk("").Chunk("key1key2").Chunk("\x04\x04");
      out.Put(std::uint32_t{0}).Byte(2);
      for (int piece = 0; piece < 2; ++piece) out.Byte(1).Byte(0).Byte(156);
      out.Byte(2).Byte(1).Byte(1).Byte(2).Byte(5).Byte(5).Byte(1);
      out.Byte(3).Byte(7).Byte(7).Byte(7).Byte(2).Byte(1).Byte(2);  // a put's token ids
    } else {
      out.Chunk("name")
          .Chunk("model")
          .Byte(1)
          .Chunk("full")
          .Put(std::uint32_t{16})
          .Byte(1)
          .Byte(16);
    }
    const Bytes story = out.Take();
    seeds.push_back(story);
    Input again(std::span(story).subspan(1));
    seeds.push_back(Output().Byte(0).Raw(ClientMessage(again)).Take());
  }
  return seeds;
}

}  // namespace

const Target kRequestTarget{.name = "request", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
