#include <nlohmann/json.hpp>

#include "tools/replay/trace/formats.h"
#include "tools/replay/trace/json_fields.h"

namespace terrace::replay {
namespace {

using Json = nlohmann::json;

/// Size of the blocks of this line; that of the trace's first line is the trace's.
Result<std::uint32_t> BlockTokensOf(const Json& object, const Trace& trace) {
  std::uint64_t tokens = kMooncakeBlockTokens;
  if (object.contains("block_tokens")) {
    const auto told = WholeField(object, "block_tokens", 1, kBlockTokensMax);
    if (!told.ok()) return told.status();
    tokens = *told;
  }
  if (!trace.requests.empty() && tokens != trace.block_tokens) {
    return Status::Invalid("block_tokens is " + std::to_string(tokens) +
                           ", but the lines before have " + std::to_string(trace.block_tokens));
  }
  return static_cast<std::uint32_t>(tokens);
}

/// What our own writer adds: nothing of it must be there.
struct Extras {
  std::uint32_t session = kNoSession;
  std::string category;
};

Result<Extras> ReadExtras(const Json& object) {
  Extras extras;
  if (object.contains("session")) {
    const auto session = WholeField(object, "session", 0, kNoSession - 1);
    if (!session.ok()) return session.status();
    extras.session = static_cast<std::uint32_t>(*session);
  }
  if (object.contains("turn")) {
    const auto turn = WholeField(object, "turn", 0, kRequestsMax);
    if (!turn.ok()) return turn.status();
  }
  const auto category = NameField(object, "category", "");
  if (!category.ok()) return category.status();
  extras.category = *category;
  return extras;
}

/// Index of the category of a line; 0 where no line has one so far.
Result<std::uint32_t> CategoryOf(const std::string& name, Trace& trace) {
  if (!name.empty()) return trace.CategoryIndex(name);
  if (trace.categories.empty()) return std::uint32_t{0};
  return trace.CategoryIndex(std::string(kUnnamedCategory));
}

}  // namespace

Status ParseTraceLine(std::string_view line, Trace& trace, std::uint32_t merged_tokens) {
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.find_first_not_of(" \t") == std::string_view::npos) {
    return Status::Invalid("the line is empty");
  }
  const Result<Json> parsed = ParseObject(line);
  if (!parsed.ok()) return parsed.status();
  const Json& object = *parsed;
  const auto block_tokens = BlockTokensOf(object, trace);
  if (!block_tokens.ok()) return block_tokens.status();
  Status status = CheckMerging(*block_tokens, merged_tokens);
  if (!status.ok()) return status;
  const auto timestamp = WholeField(object, "timestamp", 0, kTimestampMax);
  if (!timestamp.ok()) return timestamp.status();
  const auto input =
      WholeField(object, "input_length", 1, InputTokensMax(*block_tokens, merged_tokens));
  if (!input.ok()) return input.status();
  const auto output = WholeField(object, "output_length", 0, kTokensMax);
  if (!output.ok()) return output.status();
  const auto extras = ReadExtras(object);
  if (!extras.ok()) return extras.status();
  std::vector<std::uint64_t> ids;
  status = ReadHashIds(object, ids);
  if (!status.ok()) return status;
  const std::size_t categories_before = trace.categories.size();
  const std::uint32_t tokens_before = trace.block_tokens;
  const auto category = CategoryOf(extras->category, trace);
  if (!category.ok()) return category.status();
  if (trace.requests.empty()) trace.block_tokens = *block_tokens;
  status = trace.Append(*timestamp, *input, *output, ids);
  if (!status.ok()) {
    trace.block_tokens = tokens_before;
    trace.categories.resize(categories_before);
    return status;
  }
  trace.requests.back().session = extras->session;
  trace.requests.back().category = *category;
  return status;
}

void WriteTraceLine(std::ostream& out, const Trace& trace, std::size_t request,
                    TraceFields fields) {
  const TraceRequest& entry = trace.requests[request];
  out << "{\"timestamp\": " << entry.timestamp_ms << ", \"input_length\": " << entry.input_tokens
      << ", \"output_length\": " << entry.output_tokens << ", \"hash_ids\": [";
  const char* separator = "";
  for (const std::uint64_t id : trace.BlocksOf(request)) {
    out << separator << id;
    separator = ", ";
  }
  out << ']';
  if (trace.block_tokens != kMooncakeBlockTokens) {
    out << ", \"block_tokens\": " << trace.block_tokens;
  }
  if (fields == TraceFields::kAll) {
    if (entry.session != kNoSession) {
      out << ", \"session\": " << entry.session << ", \"turn\": " << entry.turn;
    }
    if (!trace.categories.empty()) {
      const Json name = trace.categories[entry.category];
      out << ", \"category\": " << name.dump(-1, ' ', false, Json::error_handler_t::replace);
    }
  }
  out << "}\n";
}

Status MooncakeParser::Parse(std::string_view line, std::uint64_t /*number*/, Trace& trace) {
  return ParseTraceLine(line, trace, merged_tokens_);
}

void MooncakeParser::Finish(TraceReadResult& result, std::uint64_t limit) {
  result.format = TraceFormat::kMooncake;
  if (limit != 0) result.trace.KeepFirst(limit);
  result.trace.NumberSessions();
}

}  // namespace terrace::replay
