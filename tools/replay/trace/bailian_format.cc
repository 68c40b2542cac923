#include <nlohmann/json.hpp>
#include <utility>

#include "tools/replay/trace/formats.h"
#include "tools/replay/trace/json_fields.h"

namespace terrace::replay {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kNoParent = ~std::uint64_t{0};

Result<std::uint64_t> ParentOf(const Json& object) {
  const auto found = object.find("parent_chat_id");
  if (found == object.end() || *found == -1) return kNoParent;
  return WholeNumber(*found, "parent_chat_id", 0, kNoParent - 1);
}

Status CheckTurn(const Json& object) {
  if (!object.contains("turn")) return Status::Ok();
  return WholeField(object, "turn", 0, kRequestsMax).status();
}

}  // namespace

Status BailianParser::Parse(std::string_view line, std::uint64_t number, Trace& trace) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
    return Status::Invalid("the line is empty");
  }
  const Result<Json> parsed = ParseObject(line);
  if (!parsed.ok()) return parsed.status();
  const Json& object = *parsed;
  Status status = CheckMerging(kBlockTokens, merged_tokens_);
  if (!status.ok()) return status;
  const auto chat = WholeField(object, "chat_id", 0, kNoParent - 1);
  if (!chat.ok()) return chat.status();
  if (const auto other = lines_.find(*chat); other != lines_.end()) {
    return Status::Invalid("chat_id is " + std::to_string(*chat) + ", as in line " +
                           std::to_string(other->second));
  }
  const auto parent = ParentOf(object);
  if (!parent.ok()) return parent.status();
  const auto timestamp = SecondsField(object, "timestamp");
  if (!timestamp.ok()) return timestamp.status();
  const auto input =
      WholeField(object, "input_length", 1, InputTokensMax(kBlockTokens, merged_tokens_));
  if (!input.ok()) return input.status();
  const auto output = WholeField(object, "output_length", 0, kTokensMax);
  if (!output.ok()) return output.status();
  status = CheckTurn(object);
  if (!status.ok()) return status;
  const auto type = NameField(object, "type", kUnnamedCategory);
  if (!type.ok()) return type.status();
  std::vector<std::uint64_t> ids;
  status = ReadHashIds(object, ids);
  if (!status.ok()) return status;
  const bool tail_without_id = *input % kBlockTokens != 0 && ids.size() == *input / kBlockTokens;
  if (tail_without_id) ids.push_back(next_own_id_);

  const std::size_t categories_before = trace.categories.size();
  const auto category = trace.CategoryIndex(*type);
  if (!category.ok()) return category.status();
  const std::uint32_t tokens_before = std::exchange(trace.block_tokens, kBlockTokens);
  status = trace.AppendAtAnyTime(*timestamp, *input, *output, ids);
  if (!status.ok()) {
    trace.categories.resize(categories_before);
    trace.block_tokens = tokens_before;
    return status;
  }
  if (tail_without_id) --next_own_id_;
  trace.requests.back().category = *category;
  links_.push_back({.chat = *chat, .parent = *parent});
  lines_.emplace(*chat, number);
  return status;
}

void BailianParser::Finish(TraceReadResult& result, std::uint64_t limit) {
  result.format = TraceFormat::kBailian;
  Trace& trace = result.trace;
  std::unordered_map<std::uint64_t, std::uint32_t> session_of_chat;
  std::uint32_t sessions = 0;
  std::uint64_t orphans = 0;
  lines_.clear();  // as large as the map that is made here
  std::vector<std::uint32_t> order = trace.OrderByTime();
  if (limit != 0 && limit < order.size()) order.resize(limit);
  for (const std::uint32_t request : order) {
    const Link& link = links_[request];
    const auto parent = session_of_chat.find(link.parent);
    const bool known = link.parent != kNoParent && parent != session_of_chat.end();
    if (!known && link.parent != kNoParent) ++orphans;
    const std::uint32_t session = known ? parent->second : sessions++;
    trace.requests[request].session = session;
    session_of_chat[link.chat] = session;
  }
  trace.SortByTime();
  trace.KeepFirst(order.size());
  trace.NumberSessions();
  if (orphans > 0) {
    result.notes.push_back(std::to_string(orphans) +
                           " requests name a parent that is not before them in the file: each "
                           "starts a session of its own");
  }
}

}  // namespace terrace::replay
