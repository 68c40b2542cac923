#include "tools/replay/trace/json_fields.h"

#include <cmath>

#include "tools/replay/trace/trace.h"

namespace terrace::replay {
namespace {

using Json = nlohmann::json;

/// Most levels of what is parsed. The formats need 2, a WEKA session whose sub-agents are nested
/// as deep as is allowed 36; a byte that opens one more takes some 75 bytes of memory.
constexpr int kJsonDepthMax = 64;

std::string Excerpt(const std::string& text) {
  constexpr std::size_t kExcerptBytes = 40;
  if (text.size() <= kExcerptBytes) return text;
  return text.substr(0, kExcerptBytes) + "...";
}

Status Missing(const char* name) {
  return Status::Invalid(std::string("field ") + name + " is missing");
}

/// Whether more than `depth_max` brackets outside texts are open at a time.
bool IsDeeperThan(std::string_view text, int depth_max) {
  int depth = 0;
  bool in_text = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char character = text[at];
    if (character == '"') {
      in_text = !in_text;
    } else if (in_text) {
      if (character == '\\') ++at;
    } else if (character == '[' || character == '{') {
      if (++depth > depth_max) return true;
    } else if (character == ']' || character == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

std::string ShowJson(const Json& value) {
  // Never written out: that takes a call for each level, and a line may have millions of them.
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  return Excerpt(value.dump(-1, ' ', true, Json::error_handler_t::replace));
}

Result<Json> ParseObject(std::string_view text) {
  if (IsDeeperThan(text, kJsonDepthMax)) {
    return Status::Invalid("the JSON is nested deeper than " + std::to_string(kJsonDepthMax));
  }
  Json object = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) {
    return Status::Invalid("not valid JSON: " + ShowJson(Json(std::string(text.substr(0, 100)))));
  }
  if (!object.is_object()) return Status::Invalid("not a JSON object: " + ShowJson(object));
  return object;
}

Result<std::uint64_t> WholeNumber(const Json& value, const std::string& name, std::uint64_t low,
                                  std::uint64_t high) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number >= low && number <= high) return number;
    return Status::Invalid(name + " is " + std::to_string(number) + ", must be from " +
                           std::to_string(low) + " to " + std::to_string(high));
  }
  if (value.is_number_integer()) {
    return Status::Invalid(name + " is negative: " + ShowJson(value));
  }
  if (value.is_number()) {
    return Status::Invalid(name + " is not a whole number of at most 64 bits: " + ShowJson(value));
  }
  return Status::Invalid(name + " is not a number: " + ShowJson(value));
}

Result<std::uint64_t> WholeField(const Json& object, const char* name, std::uint64_t low,
                                 std::uint64_t high) {
  const auto found = object.find(name);
  if (found == object.end()) return Missing(name);
  return WholeNumber(*found, name, low, high);
}

Result<std::uint64_t> SecondsField(const Json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return Missing(name);
  if (!found->is_number()) {
    return Status::Invalid(std::string(name) + " is not a number: " + ShowJson(*found));
  }
  constexpr double kSecondsMax = static_cast<double>(kTimestampMax) / 1000;
  const auto seconds = found->get<double>();
  if (!(seconds >= 0 && seconds <= kSecondsMax)) {  // so that NaN is outside, too
    return Status::Invalid(std::string(name) + " is " + ShowJson(*found) + ", must be from 0 to " +
                           std::to_string(kTimestampMax / 1000) + " s");
  }
  // One exactly rounded multiplication: the same on every machine.
  return static_cast<std::uint64_t>(std::llround(seconds * 1000));
}

Result<std::string> NameField(const Json& object, const char* name, std::string_view absent) {
  const auto found = object.find(name);
  if (found == object.end()) return std::string(absent);
  if (!found->is_string()) {
    return Status::Invalid(std::string(name) + " is not a text: " + ShowJson(*found));
  }
  const auto& text = found->get_ref<const std::string&>();
  if (text.empty() || text.size() > kCategoryBytesMax) {
    return Status::Invalid(std::string(name) + " has " + std::to_string(text.size()) +
                           " bytes, must have 1 to " + std::to_string(kCategoryBytesMax));
  }
  return text;
}

Status ReadHashIds(const Json& object, std::vector<std::uint64_t>& ids) {
  const auto found = object.find("hash_ids");
  if (found == object.end()) return Missing("hash_ids");
  if (!found->is_array()) return Status::Invalid("hash_ids is not an array: " + ShowJson(*found));
  ids.reserve(found->size());
  for (const Json& element : *found) {
    if (element.is_number_unsigned()) {  // first, so that a name is only made for what is wrong
      ids.push_back(element.get<std::uint64_t>());
      continue;
    }
    return WholeNumber(element, "hash_ids[" + std::to_string(ids.size()) + "]", 0,
                       ~std::uint64_t{0})
        .status();
  }
  return Status::Ok();
}

}  // namespace terrace::replay
