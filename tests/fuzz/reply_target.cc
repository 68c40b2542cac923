// What the client makes of a daemon's answers: an answer that does not fit its question is never
// taken for bytes, and a loan never reaches beyond its extent.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "base/check.h"
#include "client/session/lease_flow.h"
#include "client/wire/reply.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/wire_story.h"
#include "tools/terracectl/stat_summary.h"
#include "transport/codec.h"

namespace terrace::fuzz {
namespace {

constexpr std::size_t kExtentBytes = 64 << 10;

std::shared_ptr<const ExtentMapping> Extent() {
  static const auto mapping = [] {
    const UniqueFd memory(::memfd_create("fuzz extent", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    TERRACE_CHECK(::ftruncate(memory.get(), kExtentBytes) == 0);
    TERRACE_CHECK(::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    return std::move(ExtentMapping::Map(memory.get(), kExtentBytes)).value();
  }();
  return mapping;
}

std::shared_ptr<SharedPage> Page() {
  static const auto page = [] {
    UniqueFd memory;
    return std::move(SharedPage::Create(&memory)).value();
  }();
  return page;
}

class Arrivals final : public ArrivalCheck {
 public:
  explicit Arrivals(std::uint8_t arrived) : arrived_(arrived) {}
  [[nodiscard]] StatusCode Arrived(std::uint64_t, std::uint32_t index) const override {
    return (arrived_ >> index % 8 & 1) != 0 ? StatusCode::kOk : StatusCode::kMiss;
  }
  [[nodiscard]] std::unique_ptr<LentMemory> TakeLoan(const wire::Loan& loan) const override {
    auto lent = LentMemory::Make({.place = {loan.extent(), loan.edition(), loan.offset()},
                                  .bytes = loan.length(),
                                  .slot = loan.slot(),
                                  .generation = loan.generation()},
                                 Page(), Extent());
    return lent.ok() ? std::move(lent.value()) : nullptr;
  }

 private:
  const std::uint8_t arrived_;
};

constexpr std::uint32_t kEventsAsked = 8;  // of each reactor

/// Four blocks over two reactors, in the order 2, 0, 3 and 1.
void Prepare(Request& request, Input& input) {
  request.kind = static_cast<RequestKind>(input.Byte() %
                                          (static_cast<unsigned>(RequestKind::kForgetDevice) + 1));
  request.ack = input.Flag() ? Ack::kDurable : Ack::kCommitted;
  request.parts.resize(2);
  request.parts[0].blocks = {2, 0, 3};
  request.parts[1].blocks = {1};
  request.match_steps = {{.plan = 0, .count = 2}, {.plan = 1, .count = 1}, {.plan = 0, .count = 1}};
  request.prefix_question = {.groups = {{.group = 0},
                                        {.group = 1, .policy = StopPolicy::kTrailing, .blocks = 2},
                                        {.group = 2, .policy = StopPolicy::kSparse}},
                             .shards = {0},
                             .blocks = 4,
                             .lease_ms = 1000,
                             .block_tokens = 16,
                             .block_bytes = {4096, 8192, 4096}};
  request.parts[1].shard = 1;
  request.events_most = kEventsAsked;
  request.events.cursor.reactors.resize(2);
  request.stories.resize(2);
  if (AnswersPerBlock(request.kind)) request.blocks.resize(4);
  if (request.kind == RequestKind::kLend) request.lent.resize(4);
}

/// True when the part has an answer.
bool Answer(Request& request, RequestPart& part, Input& input, const Arrivals& arrivals) {
  switch (input.Byte() % 16) {
    case 0: FailPart(request, part, Status(StatusCode::kPeerDead, "gone")); return false;
    case 1:
      if (!AnswersPerBlock(request.kind)) return false;  // others have no memory to doubt
      DoubtPart(request, part);
      return false;
    default: break;
  }
  const bool built = input.Flag();
  const Bytes message =
      built ? DaemonMessage(input) : Aligned(input.First(input.Take<std::uint16_t>()));
  const auto verified = VerifyMessage(message);
  TERRACE_CHECK(!built || verified.ok());
  if (!verified.ok()) return false;
  if (const auto* error = (*verified)->body_as_ErrorReply()) {
    TERRACE_CHECK(!StatusOf(*error).ok());
  }
  part.replied = true;
  ApplyReply(request, part, **verified, arrivals);
  return true;
}

void CheckBlocks(const Request& request, const Arrivals& arrivals, bool answered) {
  for (const RequestPart& part : request.parts) {
    for (std::uint32_t i = 0; i < part.blocks.size(); ++i) {
      const BlockResult& block = request.blocks[part.blocks[i]];
      TERRACE_CHECK(static_cast<unsigned>(block.status) < kStatusCodeCount);
      TERRACE_CHECK(static_cast<unsigned>(block.tier) <= static_cast<unsigned>(Tier::kNvme));
      if (block.status != StatusCode::kOk) continue;
      TERRACE_CHECK(answered);
      if (request.kind == RequestKind::kGet) {
        TERRACE_CHECK(arrivals.Arrived(part.request_id, i) == StatusCode::kOk);
      }
      if (request.kind == RequestKind::kLend) {
        const auto& lent = request.lent[part.blocks[i]];
        TERRACE_CHECK(lent != nullptr && !lent->bytes().empty());
        TERRACE_CHECK(lent->bytes().data() >= Extent()->bytes().data());
        TERRACE_CHECK(lent->bytes().data() + lent->bytes().size() <=
                      Extent()->bytes().data() + kExtentBytes);
      }
    }
  }
}

/// Every lease that was granted is kept or given back, once, and only what is ready is a reason to
/// keep one.
void CheckPrefix(Request& request) {
  std::vector<LeaseBook::Part> kept;
  const std::vector<LeaseOrder> orders = CombinePrefix(request, kept);
  std::size_t granted = 0;
  for (const RequestPart& part : request.parts) granted += part.prefix.lease != 0 ? 1 : 0;
  std::size_t released = 0;
  for (const LeaseOrder& order : orders) released += order.release ? 1 : 0;
  TERRACE_CHECK(granted == released + kept.size());
  if (!request.status.ok()) return;
  const PrefixMatch& match = request.prefix;
  TERRACE_CHECK(match.found.size() == 3 && match.longest <= 4);
  TERRACE_CHECK(match.found[0].consecutive >= match.longest);
  const PlanRequest plan{.tokens = 64, .rate = {{.context = 0, .tokens_per_s = 100}}};
  if (const auto planned = Client::Plan(match, plan); planned.ok()) {
    TERRACE_CHECK(planned->front <= planned->back && planned->back <= planned->stop &&
                  planned->stop <= match.longest && planned->seconds >= 0);
  }
  for (const GroupPresence& pair : match.found) {
    TERRACE_CHECK(pair.blocks.size() == 4 && pair.tiers.size() == 4 && pair.sources.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
      TERRACE_CHECK(static_cast<int>(pair.blocks[i]) < kPresenceCount);
      TERRACE_CHECK(pair.blocks[i] == Presence::kReady || pair.tiers[i] == Tier::kNone);
    }
  }
}

/// What a caller is shown has a meaning, and no more than was asked for.
void CheckEvents(const EventBatch& batch) {
  TERRACE_CHECK(batch.events.size() <= 2 * kEventsAsked && batch.gaps.size() <= 2);
  TERRACE_CHECK(batch.cursor.reactors.size() == 2);
  TERRACE_CHECK(!batch.restarted || (batch.events.empty() && !batch.complete));
  for (const BlockEventInfo& event : batch.events) {
    TERRACE_CHECK(EventKindName(event.kind) != "unknown");
    TERRACE_CHECK(EventCauseName(event.cause) != "unknown");
    TERRACE_CHECK(event.reactor < 2 && event.space.size() <= kNameBytesMax);
    TERRACE_CHECK(event.key.size() <= kKeyBytesMax && event.parent_key.size() <= kKeyBytesMax &&
                  event.placement.size() <= kKeyBytesMax &&
                  event.token_ids.size() <= kEventTokensMax);
  }
}

void CheckStories(const Request& request) {
  TERRACE_CHECK(request.stories.size() == 2);
  for (const BlockStoryInfo& story : request.stories) {
    TERRACE_CHECK(!MissReasonName(story.reason).empty() && story.reactor < 2);
    TERRACE_CHECK(story.age.count() >= 0);
  }
}

void CheckSamples(const Request& request) {
  for (const Sample& sample : request.samples) {
    for (const char* label : {"tier", "a", ""}) {
      TERRACE_CHECK(LabelValue(sample.labels, label).size() <= sample.labels.size());
    }
  }
  (void)Summarize(request.samples);
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  Request request;
  Prepare(request, input);
  const Arrivals arrivals(input.Byte());
  bool answered = false;
  for (RequestPart& part : request.parts) {
    answered = Answer(request, part, input, arrivals) || answered;
  }
  CombineAnswer(request);
  if (request.kind == RequestKind::kMatchGroups) CheckPrefix(request);
  if (!request.status.ok()) {
    TERRACE_CHECK(request.blocks.empty() && request.lent.empty() && request.samples.empty());
    return;
  }
  TERRACE_CHECK(request.match.tiers.size() <= 4 &&
                request.match.matched == request.match.tiers.size());
  if (AnswersPerBlock(request.kind)) CheckBlocks(request, arrivals, answered);
  CheckSamples(request);
  CheckEvents(request.events);
  CheckStories(request);
}

std::vector<Bytes> Seeds() {
  using namespace std::string_view_literals;
  constexpr unsigned kKinds[] = {4, 1, 1,  1, 1,  6, 5, 2,
                                 3, 7, 12, 5, 13, 1, 1, 11};  // the answer to each RequestKind
  std::vector<Bytes> seeds;
  for (unsigned kind = 0; kind < std::size(kKinds); ++kind) {
    Output out;
    out.Byte(kind).Byte(kind).Byte(255);
    if (kKinds[kind] == 12) {
      // Presence and tiers of 3 keys in 3 groups, then of 1 key.
      for (const std::string_view cells : {"\1\1\1\1\1\0\1\2\3"sv, "\1\1\1"sv}) {
        out.Byte(2).Byte(1).Byte(12).Byte(1).Byte(1).Put(std::uint32_t{0});
        out.Chunk(cells).Chunk(cells).Byte(3).Byte(0);
      }
      seeds.push_back(out.Take());
      continue;
    }
    for (const unsigned count : {3U, 1U}) {
      Output story;
      story.Byte(kKinds[kind]).Byte(1).Byte(1).Put(std::uint32_t{0});
      for (int vector = 0; vector < 5; ++vector) {
        story.Byte(count);
        for (unsigned i = 0; i < count; ++i) story.Byte(vector == 0 ? 0 : 1);
      }
      story.Byte(count);
      for (unsigned i = 0; i < count; ++i)
        story.Byte(1).Byte(1).Byte(1).Byte(0).Byte(1).Byte(160 + 12);
      const Bytes told = story.Take();
      if (kind % 2 == 0) {
        out.Byte(2).Byte(1).Raw(told);
      } else {
        Input again{told};
        const Bytes message = DaemonMessage(again);
        out.Byte(2).Byte(0).Put(static_cast<std::uint16_t>(message.size())).Raw(message);
      }
    }
    seeds.push_back(out.Take());
  }
  for (const unsigned kind : {16U, 17U}) {
    Output out;
    out.Byte(kind).Byte(0).Byte(255);
    for (int part = 0; part < 2; ++part) {
      out.Byte(2).Byte(1).Byte(14).Byte(1).Byte(1).Put(std::uint32_t{0});
      out.Byte(1).Byte(1).Chunk("space").Byte(2);
      for (int event = 0; event < 2; ++event) {
        out.Chunk("key").Chunk("parent").Chunk("key").Byte(2).Byte(1).Byte(2);
        out.Byte(1).Byte(0).Byte(4).Byte(1);
      }
      out.Byte(1).Byte(9).Byte(0).Byte(0).Byte(3).Byte(4).Byte(0);
    }
    seeds.push_back(out.Take());
  }
  Output out;
  out.Byte(static_cast<unsigned>(RequestKind::kExplain)).Byte(0).Byte(255);
  for (unsigned part = 0; part < 2; ++part) {
    out.Byte(2).Byte(1).Byte(15).Byte(1).Byte(1).Put(std::uint32_t{0}).Byte(2);
    for (unsigned story = 0; story < 2; ++story) {
      out.Byte(story == part ? 0 : 2).Byte(4).Byte(story == part ? 1 : 0).Byte(100).Byte(9);
    }
  }
  seeds.push_back(out.Take());
  return seeds;
}

}  // namespace

const Target kReplyTarget{.name = "reply", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
