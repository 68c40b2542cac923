#include "client/wire/reply.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "base/checksum.h"
#include "client/wire/event_reply.h"
#include "client/wire/explain_reply.h"

namespace terrace {
namespace {

/// Keeps the first reason why the whole call has no answer.
void FailCall(Request& request, const Status& status) {
  if (request.status.ok()) request.status = status;
}

Tier TierOf(std::uint8_t value) noexcept {
  return value <= static_cast<std::uint8_t>(Tier::kNvme) ? static_cast<Tier>(value) : Tier::kNone;
}

StatusCode CodeOf(std::uint8_t value) noexcept {
  return value < kStatusCodeCount ? static_cast<StatusCode>(value) : StatusCode::kInternal;
}

/// What a put that asked for durable has come to, from the numbers of the reply. A level that
/// comes with a reason, or one that nobody knows, claims nothing.
void SetAck(BlockResult& block, std::uint8_t ack, std::uint8_t reason) noexcept {
  block.not_durable =
      reason < kNotDurableCount ? static_cast<NotDurable>(reason) : NotDurable::kNone;
  block.ack = reason == 0 && ack == static_cast<std::uint8_t>(Ack::kDurable) ? Ack::kDurable
                                                                             : Ack::kCommitted;
}

/// False when the reply's numbers do not fit the blocks. Nothing but a put that asked for durable
/// has them.
bool ApplyAcks(Request& request, const RequestPart& part, const wire::BlocksReply& reply) {
  const bool stores = request.kind == RequestKind::kPut || request.kind == RequestKind::kCommit;
  if (!stores || request.ack == Ack::kCommitted) return true;
  const std::span<const std::byte> acks = BytesOf(reply.acks());
  const std::span<const std::byte> reasons = BytesOf(reply.not_durable());
  // A daemon that is older than these fields: it has nothing that could be durable.
  const bool absent = reply.acks() == nullptr && reply.not_durable() == nullptr;
  if (!absent && (acks.size() != part.blocks.size() || reasons.size() != part.blocks.size())) {
    return false;
  }
  for (std::uint32_t i = 0; i < part.blocks.size(); ++i) {
    BlockResult& block = request.blocks[part.blocks[i]];
    if (block.status != StatusCode::kOk && block.status != StatusCode::kExists) continue;
    if (absent) {
      block.not_durable = NotDurable::kNoTier;
    } else {
      SetAck(block, std::to_integer<std::uint8_t>(acks[i]),
             std::to_integer<std::uint8_t>(reasons[i]));
    }
  }
  return true;
}

/// In memory of the host, or of the GPU that the call named.
bool LiesWhereAsked(const LentMemory& lent, const Request& request) {
  return lent.extent().gpu().empty() || lent.extent().gpu() == request.lend_gpu;
}

/// Takes what a reply lends. False when its loans do not fit the blocks.
bool TakeLoans(Request& request, const RequestPart& part, const wire::BlocksReply& reply,
               const ArrivalCheck& arrivals) {
  if (request.kind != RequestKind::kLend) return true;
  const auto* loans = reply.loans();
  if (loans == nullptr || loans->size() != part.blocks.size()) return false;
  for (std::uint32_t i = 0; i < part.blocks.size(); ++i) {
    const std::uint32_t index = part.blocks[i];
    if (request.blocks[index].status != StatusCode::kOk) continue;
    std::unique_ptr<LentMemory>& lent = request.lent[index];
    lent = arrivals.TakeLoan(*loans->Get(i));
    const bool on_gpu = loans->Get(i)->extent() >= kDeviceExtentFirst;
    if (lent != nullptr && LiesWhereAsked(*lent, request)) continue;
    // Its extent could not be mapped, it was not asked for, or makes no sense: it is given back.
    const bool unmapped = lent == nullptr && on_gpu && !request.lend_gpu.empty();
    lent.reset();
    request.blocks[index] = {.status = unmapped ? StatusCode::kUnsupported : StatusCode::kInternal};
  }
  return true;
}

Status Misfit(const wire::Message& message, const char* why) {
  return Status::Internal("the daemon's " + std::string(BodyName(message.body_type())) + " " + why);
}

void ApplyMatch(Request& request, RequestPart& part, const wire::Message& message) {
  const wire::MatchReply* reply = message.body_as_MatchReply();
  if (reply == nullptr) return FailCall(request, Misfit(message, "answers a match"));
  const std::span<const std::byte> tiers = BytesOf(reply->tiers());
  if (tiers.size() > part.blocks.size()) {
    return FailCall(request, Misfit(message, "has more tiers than keys were asked for"));
  }
  part.tiers.reserve(tiers.size());
  for (const std::byte tier : tiers)
    part.tiers.push_back(TierOf(std::to_integer<std::uint8_t>(tier)));
  part.loads = ReadLoadPart(reply->sources(), reply->load_from(), tiers.size());
}

void ApplyMatchGroups(Request& request, RequestPart& part, const wire::Message& message) {
  const wire::MatchGroupsReply* reply = message.body_as_MatchGroupsReply();
  if (reply == nullptr) return FailCall(request, Misfit(message, "answers a match over groups"));
  const std::span<const std::byte> presence = BytesOf(reply->presence());
  const std::span<const std::byte> tiers = BytesOf(reply->tiers());
  PrefixPart& found = part.prefix;
  found.lease = reply->lease();
  found.lease_status = CodeOf(reply->lease_status());
  const std::size_t cells = request.prefix_question.pairs() * part.blocks.size();
  if (presence.size() != cells || tiers.size() != cells) {
    return FailCall(request, Misfit(message, "has another number of blocks than asked for"));
  }
  found.answered = true;
  found.loads = ReadLoadPart(reply->sources(), reply->load_from(), cells);
  found.presence.reserve(cells);
  found.tiers.reserve(cells);
  for (std::size_t i = 0; i < cells; ++i) {
    const auto number = std::to_integer<std::uint8_t>(presence[i]);
    // What this library has no name for is not to be had.
    const Presence block =
        number < kPresenceCount ? static_cast<Presence>(number) : Presence::kRetry;
    found.presence.push_back(block);
    found.tiers.push_back(
        block == Presence::kReady ? TierOf(std::to_integer<std::uint8_t>(tiers[i])) : Tier::kNone);
  }
}

/// A reactor did not answer a match over groups: the others' answers count, if there are any.
void FailGroupsPart(Request& request, const Status& status) {
  ++request.refused;
  const StatusCode code = status.code();
  const bool others_may =
      code == StatusCode::kRetry || code == StatusCode::kTimeout || code == StatusCode::kPeerDead;
  if (!others_may || request.refused == request.parts.size()) FailCall(request, status);
}

void ApplyBlocks(Request& request, RequestPart& part, const wire::Message& message,
                 const ArrivalCheck& arrivals) {
  const wire::BlocksReply* reply = message.body_as_BlocksReply();
  if (reply == nullptr) {
    return FailPart(request, part, Misfit(message, "answers a request for blocks"));
  }
  const std::span<const std::byte> statuses = BytesOf(reply->statuses());
  const std::span<const std::byte> tiers = BytesOf(reply->tiers());
  const auto* tokens = reply->valid_tokens();
  if (statuses.size() != part.blocks.size()) {
    return FailPart(request, part, Misfit(message, "has another number of blocks than asked for"));
  }
  const bool get = request.kind == RequestKind::kGet;
  for (std::uint32_t i = 0; i < statuses.size(); ++i) {
    BlockResult& block = request.blocks[part.blocks[i]];
    block.status = CodeOf(std::to_integer<std::uint8_t>(statuses[i]));
    // The daemon's word alone is not enough: these bytes have to be here, whole and verified.
    if (get && block.status == StatusCode::kOk &&
        arrivals.Arrived(part.request_id, i) != StatusCode::kOk) {
      block.status = StatusCode::kCorrupt;
    }
    block.tier = i < tiers.size() ? TierOf(std::to_integer<std::uint8_t>(tiers[i])) : Tier::kNone;
    block.valid_tokens = tokens != nullptr && i < tokens->size() ? tokens->Get(i) : 0;
  }
  if (!ApplyAcks(request, part, *reply)) {
    FailPart(request, part, Misfit(message, "has another number of acks than of blocks"));
  }
  if (!TakeLoans(request, part, *reply, arrivals)) {
    FailPart(request, part, Misfit(message, "has another number of loans than of blocks"));
  }
}

/// Copies the texts of one reply. Its entries may all point to one text of megabytes: what is
/// copied has a limit, some times the longest message, since a daemon may well name a thing twice.
class Texts {
 public:
  std::string Copy(std::string_view text) {
    if (text.size() > left_) {
      over_ = true;
      return {};
    }
    left_ -= text.size();
    return std::string(text);
  }
  [[nodiscard]] bool over() const noexcept { return over_; }

 private:
  std::size_t left_ = 8 * kControlBytesMax;
  bool over_ = false;
};

void ApplyStat(Request& request, const wire::Message& message) {
  const wire::StatReply* reply = message.body_as_StatReply();
  if (reply == nullptr) return FailCall(request, Misfit(message, "answers a stat"));
  if (reply->samples() == nullptr) return;
  Texts texts;
  for (const wire::Sample* sample : *reply->samples()) {
    request.samples.push_back({texts.Copy(TextOf(sample->name())),
                               texts.Copy(TextOf(sample->labels())), sample->value()});
    if (texts.over()) return FailCall(request, Misfit(message, "repeats too much text"));
  }
}

constexpr std::size_t kFingerprintBytesMax = 64;  // today they have 16

std::string FingerprintText(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

void ApplyNamespaces(Request& request, const wire::Message& message) {
  const wire::ListNamespacesReply* reply = message.body_as_ListNamespacesReply();
  if (reply == nullptr) return FailCall(request, Misfit(message, "answers a list of namespaces"));
  if (reply->namespaces() == nullptr) return;
  Texts texts;
  for (const wire::NamespaceInfo* info : *reply->namespaces()) {
    const std::span<const std::byte> fingerprint = BytesOf(info->fingerprint());
    if (fingerprint.size() > kFingerprintBytesMax) {
      return FailCall(request, Misfit(message, "has a fingerprint that is none"));
    }
    request.namespaces.push_back({texts.Copy(TextOf(info->tenant())),
                                  texts.Copy(TextOf(info->name())), FingerprintText(fingerprint),
                                  info->blocks(), info->bytes()});
    if (texts.over()) return FailCall(request, Misfit(message, "repeats too much text"));
  }
}

void ApplyOpened(Request& request, const wire::Message& message) {
  const wire::OpenNamespaceReply* reply = message.body_as_OpenNamespaceReply();
  if (reply == nullptr || reply->namespace_id() == 0) {
    return FailCall(request, Misfit(message, "answers the opening of a namespace"));
  }
  request.opened_id = reply->namespace_id();
}

void ApplyCleared(Request& request, const wire::Message& message) {
  const wire::ClearNamespaceReply* reply = message.body_as_ClearNamespaceReply();
  if (reply == nullptr) return FailCall(request, Misfit(message, "answers a clear"));
  request.cleared += reply->blocks();
}

void ApplyCount(Request& request, const wire::Message& message) {
  const wire::CountReply* reply = message.body_as_CountReply();
  if (reply == nullptr) return FailCall(request, Misfit(message, "answers what has a number"));
  request.cleared += reply->blocks();
}

void ApplyReserved(Request& request, const wire::Message& message) {
  const wire::ReserveReply* reply = message.body_as_ReserveReply();
  if (reply == nullptr) return FailCall(request, Misfit(message, "answers a reservation"));
  const StatusCode code = CodeOf(reply->status());
  const std::span<const std::byte> token = BytesOf(reply->token());
  PutToken& place = request.reservation.token;
  if (code == StatusCode::kOk && token.size() != place.bytes.size()) {
    return FailCall(request, Misfit(message, "has a token that is none"));
  }
  request.reservation.status = code;
  if (code == StatusCode::kOk) std::copy(token.begin(), token.end(), place.bytes.begin());
}

/// The daemon did nothing of this part.
void ApplyRefusal(Request& request, RequestPart& part, const Status& status) {
  if (request.kind == RequestKind::kClearNamespace && status.code() == StatusCode::kMiss) {
    // Another reactor may know the name; CombineAnswer decides.
    ++request.absent;
    if (request.absent == request.parts.size()) FailCall(request, status);
    return;
  }
  if (request.kind == RequestKind::kMatchGroups) return FailGroupsPart(request, status);
  if (!AnswersPerBlock(request.kind)) return FailCall(request, status);
  FailPart(request, part, status);
  ++request.refused;
  // The text is kept only when nothing at all was done; else the blocks tell what happened.
  if (request.refused == request.parts.size()) FailCall(request, status);
}

/// Puts together what the reactors found, and what they say about loading it.
void CombineMatches(Request& request) {
  MatchResult& match = request.match;
  std::vector<std::span<const Tier>> tiers;
  std::vector<std::vector<std::uint16_t>> sources;
  tiers.reserve(request.parts.size());
  sources.reserve(request.parts.size());
  for (const RequestPart& part : request.parts) {
    tiers.emplace_back(part.tiers);
    const std::uint16_t first = AppendSources(part.loads, request.round_trip, match.load_from);
    std::vector<std::uint16_t>& own = sources.emplace_back(part.tiers.size());
    for (std::size_t i = 0; i < own.size(); ++i) own[i] = part.loads.SourceOf(i, first);
  }
  const std::vector<std::span<const std::uint16_t>> views(sources.begin(), sources.end());
  match.tiers = CombineMatch<Tier>(request.match_steps, tiers);
  match.sources = CombineMatch<std::uint16_t>(request.match_steps, views);
  match.matched = static_cast<std::uint32_t>(match.tiers.size());
  match.load_us = LoadTimes(match.sources, match.load_from, match.block_bytes);
}

void SumSamples(std::vector<Sample>& samples) {
  std::map<std::pair<std::string, std::string>, std::size_t> places;
  std::vector<Sample> sums;
  for (Sample& sample : samples) {
    const auto [place, added] = places.try_emplace({sample.name, sample.labels}, sums.size());
    if (added) {
      sums.push_back(std::move(sample));
    } else {
      sums[place->second].value += sample.value;
    }
  }
  samples = std::move(sums);
}

void SumNamespaces(std::vector<NamespaceInfo>& namespaces) {
  std::map<std::pair<std::string, std::string>, std::size_t> places;
  std::vector<NamespaceInfo> sums;
  for (NamespaceInfo& info : namespaces) {
    const auto [place, added] = places.try_emplace({info.tenant, info.name}, sums.size());
    if (added) {
      sums.push_back(std::move(info));
    } else {
      sums[place->second].blocks += info.blocks;
      sums[place->second].bytes += info.bytes;
    }
  }
  namespaces = std::move(sums);
}

}  // namespace

void ApplyReply(Request& request, RequestPart& part, const wire::Message& message,
                const ArrivalCheck& arrivals) {
  if (const wire::ErrorReply* error = message.body_as_ErrorReply(); error != nullptr) {
    return ApplyRefusal(request, part, StatusOf(*error));
  }
  switch (request.kind) {
    case RequestKind::kMatch: return ApplyMatch(request, part, message);
    case RequestKind::kMatchGroups: return ApplyMatchGroups(request, part, message);
    case RequestKind::kGet:
    case RequestKind::kPut:
    case RequestKind::kLend:
    case RequestKind::kWrite:
    case RequestKind::kCommit:
    case RequestKind::kRemove:
    case RequestKind::kPrefetch:
    case RequestKind::kTouch:
    case RequestKind::kOpenHandoff:
    case RequestKind::kRetain: return ApplyBlocks(request, part, message, arrivals);
    case RequestKind::kOpenNamespace: return ApplyOpened(request, message);
    case RequestKind::kReserve: return ApplyReserved(request, message);
    case RequestKind::kAbort:
    case RequestKind::kEndHandoff:
    case RequestKind::kPing:
    case RequestKind::kRenewLease: return;  // whatever it says, it came back
    case RequestKind::kStat: return ApplyStat(request, message);
    case RequestKind::kListNamespaces: return ApplyNamespaces(request, message);
    case RequestKind::kClearNamespace: return ApplyCleared(request, message);
    case RequestKind::kReleaseRetained:
    case RequestKind::kRemovePrefix:
    case RequestKind::kClearTenant: return ApplyCount(request, message);
    case RequestKind::kReadEvents:
    case RequestKind::kReadSnapshot: return ApplyEvents(request, part, message);
    case RequestKind::kExplain: return ApplyStories(request, part, message);
    case RequestKind::kRegisterDevice:
    case RequestKind::kForgetDevice:
      if (message.body_as_Empty() != nullptr) return;
      return FailCall(request, Misfit(message, "answers about memory of a GPU"));
  }
}

void FailPart(Request& request, RequestPart& part, const Status& status) {
  if (request.kind == RequestKind::kMatchGroups) return FailGroupsPart(request, status);
  if (!AnswersPerBlock(request.kind)) return FailCall(request, status);
  for (const std::uint32_t index : part.blocks) {
    request.blocks[index] = {status.code(), Tier::kNone, 0};
  }
}

void DoubtPart(Request& request, RequestPart& part) {
  for (const std::uint32_t index : part.blocks) {
    BlockResult& block = request.blocks[index];
    if (part.replied && block.status == StatusCode::kOk) continue;
    block = {StatusCode::kInDoubt, Tier::kNone, 0};
  }
  // Per block from here on, even when the daemon had refused the part as a whole.
  request.status = {};
}

void CombineAnswer(Request& request) {
  if (!request.status.ok()) {
    request.blocks.clear();
    request.lent.clear();
    request.samples.clear();
    request.namespaces.clear();
    return;
  }
  switch (request.kind) {
    case RequestKind::kMatch: return CombineMatches(request);
    case RequestKind::kStat: return SumSamples(request.samples);
    case RequestKind::kListNamespaces: return SumNamespaces(request.namespaces);
    case RequestKind::kReadEvents:
    case RequestKind::kReadSnapshot: return CombineEvents(request);
    default: return;
  }
}

}  // namespace terrace
