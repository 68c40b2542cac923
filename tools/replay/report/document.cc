#include "tools/replay/report/document.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

namespace terrace::replay {
namespace {

const Document* Find(const Document& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(std::string(key));
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

Result<DocumentKind> KindOf(const Document& document) {
  if (!document.is_object()) return Status::Invalid("it is no JSON object");
  const std::string kind = TextOf(document, "kind");
  const bool results = PartOf(document, "results").is_array() && document.contains("results");
  if (kind == "simulate" || (kind.empty() && results)) {
    if (results) return DocumentKind::kSimulate;
    return Status::Invalid("a report of simulate without \"results\"");
  }
  if (!kind.empty() && kind != "run") {
    return Status::Invalid("its \"kind\" is \"" + kind + "\", known are run and simulate");
  }
  for (const char* key : {"requests", "blocks_looked_up", "block_hit_ratio"}) {
    if (!NumberOf(document, key)) {
      return Status::Invalid(std::string("the number \"") + key +
                             "\" of a run is missing, and \"results\" of a simulation too");
    }
  }
  return DocumentKind::kRun;
}

Result<Document> ReadDocument(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return Status(StatusCode::kIo, "cannot read " + path + ": " + std::strerror(errno));
  std::string text;
  char piece[1 << 16];
  while (file.read(piece, sizeof piece) || file.gcount() > 0) {
    text.append(piece, static_cast<std::size_t>(file.gcount()));
    if (text.size() > kDocumentBytesMax) {
      return Status::Invalid(path + " is no report of terrace-replay: it has more than " +
                             std::to_string(kDocumentBytesMax >> 20) + " MiB");
    }
  }
  if (file.bad() || (text.empty() && errno != 0)) {  // a directory opens, but cannot be read
    return Status(StatusCode::kIo, "cannot read " + path + ": " + std::strerror(errno));
  }
  Document document = Document::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) {
    return Status::Invalid(path + " is no report of terrace-replay: it is not JSON");
  }
  const Result<DocumentKind> kind = KindOf(document);
  if (!kind.ok()) {
    return Status::Invalid(path + " is no report of terrace-replay: " + kind.status().message());
  }
  return document;
}

std::optional<double> NumberOf(const Document& object, std::string_view key) {
  const Document* value = Find(object, key);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  const auto number = value->get<double>();
  if (!std::isfinite(number)) return std::nullopt;
  return number;
}

double NumberOr(const Document& object, std::string_view key, double otherwise) {
  return NumberOf(object, key).value_or(otherwise);
}

std::string TextOf(const Document& object, std::string_view key) {
  const Document* value = Find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool FlagOf(const Document& object, std::string_view key) {
  const Document* value = Find(object, key);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

const Document& PartOf(const Document& object, std::string_view key) {
  static const Document kNothing = Document::array();
  const Document* value = Find(object, key);
  return value != nullptr && value->is_structured() ? *value : kNothing;
}

}  // namespace terrace::replay
