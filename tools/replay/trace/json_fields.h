// Fields of JSON objects from outside, taken with their bounds.
//
// Model. A message names the field, what was found and what is allowed; where it stood (file, line
// or path) is added by the caller. What was found is shown shortened, so that a broken file cannot
// flood a log. Thread: any; nothing is kept. Failure: kInvalid.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace terrace::replay {

/// At most the first 40 characters of a value; containers are only named.
[[nodiscard]] std::string ShowJson(const nlohmann::json& value);

/// An object out of `text`. kInvalid: not JSON, not an object, or nested deeper than 64, which is
/// found out before it is parsed.
Result<nlohmann::json> ParseObject(std::string_view text);

/// A whole number in [low, high].
Result<std::uint64_t> WholeNumber(const nlohmann::json& value, const std::string& name,
                                  std::uint64_t low, std::uint64_t high);
/// The whole number of a field that must be there.
Result<std::uint64_t> WholeField(const nlohmann::json& object, const char* name, std::uint64_t low,
                                 std::uint64_t high);
/// Seconds, whole or not, from 0 to kTimestampMax, as milliseconds; the nearest.
Result<std::uint64_t> SecondsField(const nlohmann::json& object, const char* name);
/// A text of 1 to 64 bytes, or `absent` where the field is not there.
Result<std::string> NameField(const nlohmann::json& object, const char* name,
                              std::string_view absent);
/// The ids of field hash_ids, which must be there.
Status ReadHashIds(const nlohmann::json& object, std::vector<std::uint64_t>& ids);

}  // namespace terrace::replay
