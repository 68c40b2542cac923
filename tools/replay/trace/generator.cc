#include "tools/replay/trace/generator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <queue>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/random.h"

namespace terrace::replay {
namespace {

constexpr std::uint64_t kRequestsMaxGenerated = 10'000'000;
constexpr std::uint32_t kContextMin = 1024;
constexpr double kThinkTimeScaleMin = 0.001;  // its unit: less would be rounded to 0
constexpr double kThinkTimeScaleMax = 1000;
constexpr double kRateMin = 0.001;
constexpr double kRateMax = 1e6;

/// Heavy-tailed: every power of two between low and high is about as likely as any other.
/// Integer only: a C library's log and exp may differ in the last digit between machines.
std::uint32_t LogUniform(Random& random, std::uint32_t low, std::uint32_t high) {
  const int first = static_cast<int>(std::bit_width(low)) - 1;
  const int last = static_cast<int>(std::bit_width(high)) - 1;
  const auto exponent =
      static_cast<int>(random.Below(static_cast<std::uint64_t>(last - first) + 1));
  const std::uint64_t begin = std::max<std::uint64_t>(low, 1ULL << (first + exponent));
  const std::uint64_t end = std::min<std::uint64_t>(high, (2ULL << (first + exponent)) - 1);
  return static_cast<std::uint32_t>(random.Between(begin, std::max(begin, end)));
}

/// 1 plus the number of times that a coin with `percent` chance says "go on", at most `most`.
std::uint32_t Geometric(Random& random, std::uint64_t percent, std::uint32_t most) {
  std::uint32_t count = 1;
  while (count < most && random.Below(100) < percent) ++count;
  return count;
}

/// A rank below `count`; rank r is chosen in proportion to 1/(r + 1).
std::uint32_t PopularRank(Random& random, std::uint32_t count) {
  constexpr std::uint64_t kScale = 27720;  // divisible by 1 to 12
  std::uint64_t total = 0;
  for (std::uint32_t rank = 0; rank < count; ++rank) total += kScale / (rank + 1);
  std::uint64_t draw = random.Below(total);
  for (std::uint32_t rank = 0; rank < count; ++rank) {
    const std::uint64_t weight = kScale / (rank + 1);
    if (draw < weight) return rank;
    draw -= weight;
  }
  return count - 1;
}

/// A stretch of text that begins every prompt that uses it; it implies all stretches before it.
struct Layer {
  std::uint64_t id = 0;          // names the text up to `end`
  std::uint32_t end_tokens = 0;  // where it ends, from the start of the prompt
};

/// The text of a prompt: shared layers, then the session's own text, which only grows.
struct Prompt {
  std::array<Layer, 2> shared{};  // an empty layer has end_tokens == 0 or that of the one before
  std::uint64_t own_id = 0;
  std::uint32_t tokens = 0;
};

struct Session {
  WorkloadKind kind = WorkloadKind::kConversation;
  std::uint32_t turns_left = 0;
  Prompt prompt;
  std::uint64_t next_ms = 0;
  std::uint32_t next_output = 0;
  std::uint32_t number = kNoSession;  // in the trace, from its first request on
  std::uint32_t turn = 0;
};

struct Due {
  std::uint64_t time_ms;
  std::uint64_t order;  // equal times leave in the order in which they were planned
  std::size_t session;
  friend bool operator>(const Due& left, const Due& right) {
    return left.time_ms != right.time_ms ? left.time_ms > right.time_ms : left.order > right.order;
  }
};

struct BlockName {
  std::uint64_t text;  // Layer::id or Prompt::own_id
  std::uint32_t position;
  std::uint32_t tokens;  // 512, or less for a partial block
  friend bool operator==(const BlockName&, const BlockName&) = default;
};
struct BlockNameHash {
  std::size_t operator()(const BlockName& name) const noexcept {
    std::uint64_t value = name.text * 0x9e3779b97f4a7c15 + name.position;
    value ^= value >> 29;
    value = value * 0xbf58476d1ce4e5b9 + name.tokens;
    return value ^ (value >> 32);
  }
};

struct KindName {
  WorkloadKind kind;
  std::string_view name;
};
constexpr KindName kKindNames[] = {{WorkloadKind::kMix, "mix"},
                                   {WorkloadKind::kConversation, "conversation"},
                                   {WorkloadKind::kAgent, "agent"},
                                   {WorkloadKind::kDocument, "document"}};

class Generator {
 public:
  explicit Generator(const GeneratorOptions& options)
      : options_(options),
        random_(options.seed),
        think_thousandths_(
            static_cast<std::uint64_t>(std::llround(options.think_time_scale * 1000))) {
    for (const KindName& kind : kKindNames) {
      const bool only = options.kind == kind.kind;
      if (kind.kind != WorkloadKind::kMix && (only || options.kind == WorkloadKind::kMix)) {
        trace_.categories.emplace_back(kind.name);
      }
    }
    // Shared prompts are as long in every session that uses them, so they are drawn once.
    for (Layer& prompt : conversation_prompts_) prompt = {NewText(), Draw(200, 2'000)};
    for (Layer& prompt : agent_prompts_) prompt = {NewText(), Draw(3'000, 12'000)};
    document_prompt_ = {NewText(), Draw(150, 600)};
  }

  Result<Trace> Run() {
    trace_.source = "generated:" + std::string(WorkloadKindName(options_.kind)) + ":" +
                    std::to_string(options_.requests) + ":" + std::to_string(options_.seed);
    const std::uint32_t alive = options_.sessions != 0
                                    ? options_.sessions
                                    : static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
                                          options_.requests / 32, 4, kGeneratorSessionsMax));
    sessions_.resize(alive);
    for (std::size_t index = 0; index < alive; ++index) {
      // The first ones start within five minutes, so that they are not all at their first turn.
      Start(index, random_.Below(300'000));
    }
    while (trace_.requests.size() < options_.requests) {
      const Due due = due_.top();
      due_.pop();
      Status status = Emit(due.session);
      if (!status.ok()) return status;
      Advance(due.session);
    }
    StretchToRate();
    return std::move(trace_);
  }

 private:
  std::uint64_t NewText() { return next_text_++; }
  std::uint32_t Draw(std::uint32_t low, std::uint32_t high) {
    return std::min(LogUniform(random_, low, high), options_.context_tokens / 4);
  }

  WorkloadKind DrawKind() {
    if (options_.kind != WorkloadKind::kMix) return options_.kind;
    const std::uint64_t draw = random_.Below(100);
    if (draw < 72) return WorkloadKind::kConversation;
    return draw < 84 ? WorkloadKind::kAgent : WorkloadKind::kDocument;
  }

  void Plan(std::size_t index, std::uint64_t time_ms) {
    sessions_[index].next_ms = time_ms;
    due_.push({time_ms, next_order_++, index});
  }

  void Start(std::size_t index, std::uint64_t time_ms) {
    Session& session = sessions_[index];
    session = {};
    session.kind = DrawKind();
    Prompt& prompt = session.prompt;
    prompt.own_id = NewText();
    switch (session.kind) {
      case WorkloadKind::kMix:
      case WorkloadKind::kConversation:
        prompt.shared[0] = conversation_prompts_[PopularRank(
            random_, static_cast<std::uint32_t>(conversation_prompts_.size()))];
        prompt.tokens = prompt.shared[0].end_tokens + Draw(32, 8'000);
        session.turns_left = Geometric(random_, 72, 40);
        break;
      case WorkloadKind::kAgent:
        prompt.shared[0] =
            agent_prompts_[PopularRank(random_, static_cast<std::uint32_t>(agent_prompts_.size()))];
        prompt.tokens = prompt.shared[0].end_tokens + Draw(100, 3'000);
        session.turns_left = 3 + Geometric(random_, 92, 60);
        break;
      case WorkloadKind::kDocument:
        prompt.shared[0] = document_prompt_;
        prompt.shared[1] = {
            NewText(), document_prompt_.end_tokens + std::min(LogUniform(random_, 8'000, 65'000),
                                                              options_.context_tokens / 2)};
        prompt.tokens = prompt.shared[1].end_tokens + Draw(20, 300);
        session.turns_left = 2 + Geometric(random_, 70, 12);
        break;
    }
    session.next_output = DrawOutput(session.kind);
    Plan(index, time_ms);
  }

  std::uint32_t DrawOutput(WorkloadKind kind) {
    return kind == WorkloadKind::kAgent ? Draw(40, 600) : Draw(32, 1'500);
  }

  /// What happens to a session after its request was answered.
  void Advance(std::size_t index) {
    Session& session = sessions_[index];
    Prompt& prompt = session.prompt;
    const std::uint32_t answer = session.next_output;
    // Decoding at about 30 tokens/s; the next input comes after the answer is complete.
    const std::uint64_t answered = session.next_ms + answer * 33ULL;
    std::uint64_t pause_ms = 0;
    switch (session.kind) {
      case WorkloadKind::kMix:
      case WorkloadKind::kConversation:
        pause_ms = random_.Between(5'000, 120'000);
        prompt.tokens += answer + Draw(16, 2'000);
        break;
      case WorkloadKind::kAgent:
        pause_ms = random_.Between(300, 15'000);  // a tool runs
        prompt.tokens += answer + Draw(64, 6'000);
        break;
      case WorkloadKind::kDocument:
        pause_ms = random_.Between(5'000, 60'000);
        if (random_.Below(100) < 50) {
          prompt.tokens += answer + Draw(20, 300);
        } else {  // another question about the same document, without the last one's answer
          prompt.own_id = NewText();
          prompt.tokens = prompt.shared[1].end_tokens + Draw(20, 300);
        }
        break;
    }
    if (--session.turns_left == 0 || prompt.tokens > options_.context_tokens) {
      Start(index, answered + Think(random_.Between(1'000, 60'000)));
      return;
    }
    session.next_output = DrawOutput(session.kind);
    Plan(index, answered + Think(pause_ms));
  }

  /// The id of one block: of the innermost shared layer that holds all of it, or the session's.
  std::uint64_t IdOf(const Prompt& prompt, std::uint32_t position) {
    const std::uint32_t tokens = ValidTokens(prompt.tokens, position, kMooncakeBlockTokens);
    const std::uint32_t end = position * kMooncakeBlockTokens + tokens;
    std::uint64_t text = prompt.own_id;
    for (const Layer& layer : prompt.shared) {
      if (end <= layer.end_tokens) {
        text = layer.id;
        break;
      }
    }
    return ids_.try_emplace({text, position, tokens}, ids_.size()).first->second;
  }

  [[nodiscard]] std::uint64_t Think(std::uint64_t pause_ms) const {
    return pause_ms * think_thousandths_ / 1000;
  }

  [[nodiscard]] std::uint32_t CategoryOf(WorkloadKind kind) const {
    const auto found = std::ranges::find(trace_.categories, WorkloadKindName(kind));
    return static_cast<std::uint32_t>(found - trace_.categories.begin());
  }

  /// Stretches the time between requests evenly, so that as many come in a second as was asked.
  void StretchToRate() {
    if (options_.rate == 0) return;
    const std::uint64_t first_ms = trace_.requests.front().timestamp_ms;
    const std::uint64_t had_ms =
        std::max<std::uint64_t>(trace_.requests.back().timestamp_ms - first_ms, 1);
    const auto per_million_s = static_cast<std::uint64_t>(std::llround(options_.rate * 1e6));
    const auto wanted_ms = static_cast<std::uint64_t>(
        static_cast<unsigned __int128>(trace_.requests.size() - 1) * 1'000'000'000 / per_million_s);
    for (TraceRequest& request : trace_.requests) {
      const auto since = static_cast<unsigned __int128>(request.timestamp_ms - first_ms);
      request.timestamp_ms = static_cast<std::uint64_t>(since * wanted_ms / had_ms);
    }
  }

  Status Emit(std::size_t index) {
    Session& session = sessions_[index];
    const std::uint32_t tokens = session.prompt.tokens;
    block_ids_.clear();
    for (std::uint32_t position = 0; position * kMooncakeBlockTokens < tokens; ++position) {
      block_ids_.push_back(IdOf(session.prompt, position));
    }
    Status status = trace_.Append(session.next_ms, tokens, session.next_output, block_ids_);
    if (!status.ok()) return status;
    if (session.number == kNoSession) session.number = trace_.sessions++;
    TraceRequest& request = trace_.requests.back();
    request.session = session.number;
    request.turn = session.turn++;
    request.category = CategoryOf(session.kind);
    return status;
  }

  GeneratorOptions options_;
  SeededRandom random_;
  std::uint64_t think_thousandths_;
  Trace trace_;
  std::array<Layer, 6> conversation_prompts_;
  std::array<Layer, 5> agent_prompts_;
  Layer document_prompt_;
  std::vector<Session> sessions_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::unordered_map<BlockName, std::uint64_t, BlockNameHash> ids_;
  std::vector<std::uint64_t> block_ids_;
  std::uint64_t next_text_ = 1;
  std::uint64_t next_order_ = 0;
};

}  // namespace

Result<WorkloadKind> ParseWorkloadKind(std::string_view name) {
  for (const KindName& entry : kKindNames) {
    if (entry.name == name) return entry.kind;
  }
  return Status::Invalid("unknown kind of workload '" + std::string(name) +
                         "'; there are mix, conversation, agent and document");
}

std::string_view WorkloadKindName(WorkloadKind kind) noexcept {
  for (const KindName& entry : kKindNames) {
    if (entry.kind == kind) return entry.name;
  }
  return "unknown";
}

Result<Trace> GenerateTrace(const GeneratorOptions& options) {
  if (options.requests == 0 || options.requests > kRequestsMaxGenerated) {
    return Status::Invalid("requests is " + std::to_string(options.requests) +
                           ", must be from 1 to 10000000");
  }
  if (options.sessions > kGeneratorSessionsMax) {
    return Status::Invalid("sessions is " + std::to_string(options.sessions) +
                           ", must be at most 1000000 (0: chosen from the requests)");
  }
  if (options.context_tokens < kContextMin || options.context_tokens > kTokensMax) {
    return Status::Invalid("context is " + std::to_string(options.context_tokens) +
                           " tokens, must be from 1024 to " + std::to_string(kTokensMax));
  }
  // Written so that NaN is outside, too.
  if (options.think_time_scale != 0 && !(options.think_time_scale >= kThinkTimeScaleMin &&
                                         options.think_time_scale <= kThinkTimeScaleMax)) {
    std::ostringstream scale;  // std::to_string would show a small one as 0
    scale << options.think_time_scale;
    return Status::Invalid("think-time scale is " + scale.str() +
                           ", must be 0 or from 0.001 to 1000");
  }
  if (options.rate != 0 && !(options.rate >= kRateMin && options.rate <= kRateMax)) {
    return Status::Invalid("rate is " + std::to_string(options.rate) +
                           " requests per second, must be from 0.001 to 1000000 (0: as it comes "
                           "out)");
  }
  return Generator(options).Run();
}

}  // namespace terrace::replay
