// Lines of a trace: what is taken can be written and read again, what is refused changes nothing.
#include <sstream>
#include <string>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tools/replay/trace/trace.h"

namespace terrace::fuzz {
namespace {

using namespace terrace::replay;  // NOLINT(google-build-using-namespace)

void CheckAgain(const Trace& trace) {
  std::ostringstream out;
  for (std::size_t request = 0; request < trace.requests.size(); ++request) {
    WriteTraceLine(out, trace, request);
  }
  const std::string text = out.str();
  Trace again;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = rest.find('\n');
    TERRACE_CHECK(ParseTraceLine(rest.substr(0, end), again).ok());
    rest.remove_prefix(end + 1);
  }
  again.NumberSessions();
  TERRACE_CHECK(again.block_tokens == trace.block_tokens && again.sessions == trace.sessions);
  TERRACE_CHECK(again.hash_ids == trace.hash_ids);
  TERRACE_CHECK(again.requests.size() == trace.requests.size());
  for (std::size_t i = 0; i < trace.requests.size(); ++i) {
    const TraceRequest& left = trace.requests[i];
    const TraceRequest& right = again.requests[i];
    TERRACE_CHECK(left.timestamp_ms == right.timestamp_ms &&
                  left.input_tokens == right.input_tokens &&
                  left.output_tokens == right.output_tokens);
    TERRACE_CHECK(left.session == right.session && left.turn == right.turn);
    if (trace.categories.empty()) continue;
    TERRACE_CHECK(trace.categories[left.category] == again.categories[right.category]);
  }
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  std::string_view rest = input.RestText();
  Trace trace;
  for (int lines = 0; lines < 8 && !rest.empty(); ++lines) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::size_t requests = trace.requests.size();
    const std::size_t ids = trace.hash_ids.size();
    const std::size_t categories = trace.categories.size();
    const Status status = ParseTraceLine(rest.substr(0, end), trace);
    if (status.ok()) {
      const TraceRequest& added = trace.requests.back();
      TERRACE_CHECK(trace.requests.size() == requests + 1);
      TERRACE_CHECK(added.input_tokens >= 1 && added.input_tokens <= kTokensMax &&
                    added.output_tokens <= kTokensMax && added.timestamp_ms <= kTimestampMax);
      TERRACE_CHECK(trace.BlocksOf(requests).size() ==
                    (added.input_tokens + trace.block_tokens - 1) / trace.block_tokens);
    } else {
      TERRACE_CHECK(status.code() == StatusCode::kInvalid && status.message().size() < 400);
      TERRACE_CHECK(trace.requests.size() == requests && trace.hash_ids.size() == ids);
      TERRACE_CHECK(trace.categories.size() == categories);
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  trace.NumberSessions();
  if (!trace.requests.empty()) CheckAgain(trace);
}

/// With the fields that our own writer adds.
constexpr const char* kOurs =
    R"({"timestamp":1,"input_length":64,"output_length":1,"hash_ids":[5],"block_tokens":64,)"
    R"("session":9,"turn":1,"category":"a"})";

std::vector<Bytes> Seeds() {
  Trace trace;
  const std::vector<std::uint64_t> ids = {1, 2, ~std::uint64_t{0}};
  TERRACE_CHECK(trace.Append(0, 1025, 7, ids).ok());
  TERRACE_CHECK(trace.Append(20, 512, 0, std::span(ids).first(1)).ok());
  std::ostringstream out;
  WriteTraceLine(out, trace, 0);
  WriteTraceLine(out, trace, 1);
  std::vector<Bytes> seeds = {Output().Raw(out.view()).Take()};
  for (const char* text :
       {kOurs, "{\"timestamp\": -1}", "{\"timestamp\": 1.5, \"input_length\": [[{}]]}", "[]",
        "{\"\\u0000\": null}",
        "{\"timestamp\":0,\"input_length\":1,\"output_length\":\"x\",\"hash_ids\":{}}"}) {
    seeds.push_back(Output().Raw(std::string_view(text)).Take());
  }
  return seeds;
}

}  // namespace

const Target kTraceTarget{.name = "trace", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
