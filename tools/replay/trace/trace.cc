#include "tools/replay/trace/trace.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

namespace terrace::replay {
namespace {

using Json = nlohmann::json;

/// At most the first 40 characters of what was found, so that a broken line cannot flood a log.
std::string Excerpt(const std::string& text) {
  constexpr std::size_t kExcerptBytes = 40;
  if (text.size() <= kExcerptBytes) return text;
  return text.substr(0, kExcerptBytes) + "...";
}

std::string Show(const Json& value) {
  // Never written out: that takes a call for each level, and a line may have millions of them.
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  return Excerpt(value.dump(-1, ' ', true, Json::error_handler_t::replace));
}

/// A whole number in [low, high], or what is wrong with it.
Result<std::uint64_t> WholeNumber(const Json& value, const std::string& name, std::uint64_t low,
                                  std::uint64_t high) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number >= low && number <= high) return number;
    return Status::Invalid(name + " is " + std::to_string(number) + ", must be from " +
                           std::to_string(low) + " to " + std::to_string(high));
  }
  if (value.is_number_integer()) {
    return Status::Invalid(name + " is negative: " + Show(value));
  }
  if (value.is_number()) {
    return Status::Invalid(name + " is not a whole number of at most 64 bits: " + Show(value));
  }
  return Status::Invalid(name + " is not a number: " + Show(value));
}

Result<std::uint64_t> Field(const Json& object, const char* name, std::uint64_t low,
                            std::uint64_t high) {
  const auto found = object.find(name);
  if (found == object.end()) return Status::Invalid(std::string("field ") + name + " is missing");
  return WholeNumber(*found, name, low, high);
}

Status ReadIds(const Json& object, std::vector<std::uint64_t>& ids) {
  const auto found = object.find("hash_ids");
  if (found == object.end()) return Status::Invalid("field hash_ids is missing");
  if (!found->is_array()) return Status::Invalid("hash_ids is not an array: " + Show(*found));
  ids.reserve(found->size());
  for (const Json& element : *found) {
    Result<std::uint64_t> id =
        WholeNumber(element, "hash_ids[" + std::to_string(ids.size()) + "]", 0, ~std::uint64_t{0});
    if (!id.ok()) return id.status();
    ids.push_back(*id);
  }
  return Status::Ok();
}

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

Status Trace::Append(std::uint64_t timestamp_ms, std::uint64_t input_tokens,
                     std::uint64_t output_tokens, std::span<const std::uint64_t> ids) {
  if (!requests.empty() && timestamp_ms < requests.back().timestamp_ms) {
    return Status::Invalid("timestamp " + std::to_string(timestamp_ms) +
                           " is before the previous request's " +
                           std::to_string(requests.back().timestamp_ms));
  }
  const std::uint64_t blocks = (input_tokens + block_tokens - 1) / block_tokens;
  if (ids.size() != blocks) {
    return Status::Invalid("hash_ids has " + std::to_string(ids.size()) +
                           " ids, but input_length " + std::to_string(input_tokens) + " makes " +
                           std::to_string(blocks) + " blocks of " + std::to_string(block_tokens) +
                           " tokens");
  }
  if (requests.size() >= kRequestsMax || hash_ids.size() + ids.size() > kReferencesMax) {
    return Status::Invalid("the trace is longer than " + std::to_string(kRequestsMax) +
                           " requests or " + std::to_string(kReferencesMax) + " block references");
  }
  requests.push_back({.timestamp_ms = timestamp_ms,
                      .input_tokens = static_cast<std::uint32_t>(input_tokens),
                      .output_tokens = static_cast<std::uint32_t>(output_tokens),
                      .first_reference = static_cast<std::uint32_t>(hash_ids.size()),
                      .block_count = static_cast<std::uint32_t>(ids.size())});
  hash_ids.insert(hash_ids.end(), ids.begin(), ids.end());
  return Status::Ok();
}

Status ParseTraceLine(std::string_view line, Trace& trace) {
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.find_first_not_of(" \t") == std::string_view::npos) {
    return Status::Invalid("the line is empty");
  }
  const Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) {
    return Status::Invalid("not valid JSON: " + Show(Json(std::string(line.substr(0, 100)))));
  }
  if (!object.is_object()) return Status::Invalid("not a JSON object: " + Show(object));
  const auto timestamp = Field(object, "timestamp", 0, kTimestampMax);
  if (!timestamp.ok()) return timestamp.status();
  const auto input = Field(object, "input_length", 1, kTokensMax);
  if (!input.ok()) return input.status();
  const auto output = Field(object, "output_length", 0, kTokensMax);
  if (!output.ok()) return output.status();
  std::vector<std::uint64_t> ids;
  Status status = ReadIds(object, ids);
  if (!status.ok()) return status;
  return trace.Append(*timestamp, *input, *output, ids);
}

Result<TraceReadResult> ReadTrace(const std::string& path, const TraceReadOptions& options) {
  std::unique_ptr<std::FILE, FileCloser> file(std::fopen(path.c_str(), "re"));
  if (file == nullptr) {
    return Status(StatusCode::kIo, path + ": cannot open: " + std::strerror(errno));
  }
  TraceReadResult result;
  result.trace.source = path;
  char* buffer = nullptr;
  std::size_t capacity = 0;
  std::uint64_t line_number = 0;
  Status failure;
  while (options.limit == 0 || result.trace.requests.size() < options.limit) {
    errno = 0;
    const ssize_t length = getline(&buffer, &capacity, file.get());
    if (length < 0) {
      if (std::ferror(file.get()) != 0) {
        failure = Status(StatusCode::kIo, path + ": cannot read: " + std::strerror(errno));
      }
      break;
    }
    ++line_number;
    const std::string_view line(buffer, static_cast<std::size_t>(length));
    Status status = line.size() > kLineBytesMax ? Status::Invalid("the line is longer than 4 MiB")
                                                : ParseTraceLine(line, result.trace);
    if (status.ok()) continue;
    const std::string where = path + ":" + std::to_string(line_number) + ": " + status.message();
    if (!options.skip_bad_lines) {
      failure = Status::Invalid(where);
      break;
    }
    if (result.skipped_lines++ == 0) result.first_skipped = where;
  }
  std::free(buffer);
  if (!failure.ok()) return failure;
  if (result.trace.requests.empty()) {
    return Status::Invalid(path + ": no request in " + std::to_string(line_number) + " lines" +
                           (result.skipped_lines == 0 ? "" : "; first: " + result.first_skipped));
  }
  return result;
}

void WriteTraceLine(std::ostream& out, const Trace& trace, std::size_t request) {
  const TraceRequest& entry = trace.requests[request];
  out << "{\"timestamp\": " << entry.timestamp_ms << ", \"input_length\": " << entry.input_tokens
      << ", \"output_length\": " << entry.output_tokens << ", \"hash_ids\": [";
  const char* separator = "";
  for (const std::uint64_t id : trace.BlocksOf(request)) {
    out << separator << id;
    separator = ", ";
  }
  out << "]}\n";
}

}  // namespace terrace::replay
