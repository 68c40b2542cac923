// Traces of other formats: what is taken can be written as ours and read again the same, and what
// is refused leaves no trace.
#include <sstream>
#include <string>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tools/replay/trace/formats.h"

namespace terrace::fuzz {
namespace {

using namespace terrace::replay;  // NOLINT(google-build-using-namespace)

/// What every reader promises of what it took.
void CheckTrace(const Trace& trace) {
  std::uint64_t last_ms = 0;
  std::size_t references = 0;
  for (const TraceRequest& request : trace.requests) {
    TERRACE_CHECK(request.timestamp_ms >= last_ms && request.timestamp_ms <= kTimestampMax);
    last_ms = request.timestamp_ms;
    TERRACE_CHECK(request.input_tokens >= 1 && request.output_tokens <= kTokensMax);
    TERRACE_CHECK(request.first_reference == references);
    references += request.block_count;
    TERRACE_CHECK(request.block_count <= kChainBlocksMax);
    TERRACE_CHECK(request.block_count ==
                  (request.input_tokens + trace.block_tokens - 1) / trace.block_tokens);
    TERRACE_CHECK(request.session < trace.sessions);
    TERRACE_CHECK(request.category < trace.categories.size());
  }
  TERRACE_CHECK(references == trace.hash_ids.size());
}

void CheckAgain(const Trace& trace) {
  Trace again;
  for (std::size_t request = 0; request < trace.requests.size(); ++request) {
    std::ostringstream out;
    WriteTraceLine(out, trace, request);
    TERRACE_CHECK(ParseTraceLine(out.view(), again).ok());
  }
  again.NumberSessions();
  TERRACE_CHECK(again.hash_ids == trace.hash_ids && again.sessions == trace.sessions);
  TERRACE_CHECK(again.block_tokens == trace.block_tokens);
  for (std::size_t i = 0; i < trace.requests.size(); ++i) {
    const TraceRequest& left = trace.requests[i];
    const TraceRequest& right = again.requests[i];
    TERRACE_CHECK(left.session == right.session && left.turn == right.turn);
    TERRACE_CHECK(trace.categories[left.category] == again.categories[right.category]);
  }
}

/// Blocks are merged in one half of the inputs.
std::uint32_t MergedTokens(Input& input) { return input.Flag() ? 512 : 0; }

void RunBailian(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::uint32_t merged = MergedTokens(input);
  std::string_view rest = input.RestText();
  BailianParser parser(merged);
  BlockMerger merger(merged);
  TraceReadResult result;
  Trace& trace = result.trace;
  for (std::uint64_t lines = 0; lines < 8 && !rest.empty(); ++lines) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::size_t requests = trace.requests.size();
    const std::size_t ids = trace.hash_ids.size();
    const std::size_t categories = trace.categories.size();
    const Status status = parser.Parse(rest.substr(0, end), lines + 1, trace);
    TERRACE_CHECK(trace.requests.size() == requests + (status.ok() ? 1 : 0));
    if (status.ok()) {
      merger.MergeLast(trace);
    } else {
      TERRACE_CHECK(status.code() == StatusCode::kInvalid && status.message().size() < 400);
      TERRACE_CHECK(trace.hash_ids.size() == ids && trace.categories.size() == categories);
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  merger.Finish(trace);
  parser.Finish(result, 0);
  CheckTrace(trace);
  if (!trace.requests.empty()) CheckAgain(trace);
}

void RunWeka(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::uint32_t merged = MergedTokens(input);
  WekaSessions sessions({.block_tokens = merged, .sessions_per_hour = 1000});
  std::string_view rest = input.RestText();
  // Sessions that stand behind each other, with a byte that JSON has nowhere between them.
  for (int count = 0; count < 4 && !rest.empty(); ++count) {
    const std::size_t end = std::min(rest.find('\x1e'), rest.size());
    const Status status = sessions.Add(rest.substr(0, end));
    if (!status.ok()) {
      TERRACE_CHECK(status.code() == StatusCode::kInvalid && status.message().size() < 600);
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const Trace trace = sessions.Finish();
  CheckTrace(trace);
  if (!trace.requests.empty()) CheckAgain(trace);
}

Bytes Seed(bool merged, std::string_view text) {
  return Output().Byte(merged ? 1 : 0).Raw(text).Take();
}

std::vector<Bytes> BailianSeeds() {
  const std::string chats =
      R"({"chat_id":1,"parent_chat_id":-1,"timestamp":61.114,"input_length":33,"output_length":1,)"
      R"("type":"text","turn":1,"hash_ids":[5,6,7]})"
      "\n"
      R"({"chat_id":2,"parent_chat_id":1,"timestamp":6,"input_length":40,"output_length":0,)"
      R"("type":"search","turn":2,"hash_ids":[5,6]})"
      "\n";
  return {Seed(false, chats), Seed(true, chats), Seed(false, R"({"chat_id":-1})"),
          Seed(true, R"({"chat_id":1,"timestamp":1e308,"input_length":1,"output_length":[]})")};
}

std::vector<Bytes> WekaSeeds() {
  const std::string session =
      R"({"block_size":64,"hash_id_scope":"global","requests":[{"t":0.5,"in":130,"out":3,)"
      R"("hash_ids":[1,2]},{"t":4,"requests":[{"t":4.5,"in":64,"out":5,"hash_ids":[1]}]}]})";
  const std::string other = R"({"requests":[{"t":0,"in":1,"out":0,"hash_ids":[]}]})";
  return {Seed(false, session), Seed(true, session + "\x1e" + other),
          Seed(false, R"({"requests":[{"requests":[{"requests":[]}]}]})"),
          Seed(false, R"({"block_size":0,"requests":{}})")};
}

}  // namespace

const Target kTraceBailianTarget{.name = "trace_bailian", .run = RunBailian, .seeds = BailianSeeds};
const Target kTraceWekaTarget{.name = "trace_weka", .run = RunWeka, .seeds = WekaSeeds};

}  // namespace terrace::fuzz
