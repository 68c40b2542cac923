// Document: a report of terrace-replay as JSON, read with suspicion: it may come from an older
// version, from a stranger or from an editor. A key that is missing, or that holds another type, is
// absent; a number that is not finite is absent. Thread: any. The functions keep nothing.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace terrace::replay {

using Document = nlohmann::ordered_json;

/// Larger files are no reports: a simulation of a thousand points has about 1 MB.
inline constexpr std::uint64_t kDocumentBytesMax = 64ULL << 20;

enum class DocumentKind : std::uint8_t { kRun, kSimulate };

/// What the document reports. Those of runs had no "kind" at first: they are known by their keys.
/// @return kInvalid says what is missing.
[[nodiscard]] Result<DocumentKind> KindOf(const Document& document);

/// Reads a report. @return kIo when the file cannot be read; kInvalid when it is no report. Both
/// name the file.
[[nodiscard]] Result<Document> ReadDocument(const std::string& path);

[[nodiscard]] std::optional<double> NumberOf(const Document& object, std::string_view key);
[[nodiscard]] double NumberOr(const Document& object, std::string_view key, double otherwise);
/// The text, or "" when there is none.
[[nodiscard]] std::string TextOf(const Document& object, std::string_view key);
/// False, too, when there is no such key.
[[nodiscard]] bool FlagOf(const Document& object, std::string_view key);
/// The array or object under the key; an empty array when there is none.
[[nodiscard]] const Document& PartOf(const Document& object, std::string_view key);

}  // namespace terrace::replay
