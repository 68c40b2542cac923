#include "tools/common/sample_labels.h"

#include <cstddef>

namespace terrace {

namespace {

// Reads one `name="value"` and what follows it. False at the end, or for what is not a label.
bool NextLabel(std::string_view& labels, std::string_view& name, std::string& value) {
  const std::size_t equals = labels.find("=\"");
  if (equals == std::string_view::npos) return false;
  name = labels.substr(0, equals);
  value.clear();
  std::size_t place = equals + 2;
  for (; place < labels.size() && labels[place] != '"'; ++place) {
    char letter = labels[place];
    if (letter == '\\' && place + 1 < labels.size()) {
      letter = labels[++place];
      if (letter == 'n') letter = '\n';
    }
    value += letter;
  }
  if (place >= labels.size()) return false;  // no closing quote
  labels.remove_prefix(place + 1);
  if (!labels.empty() && labels.front() == ',') labels.remove_prefix(1);
  return true;
}

}  // namespace

std::string LabelValue(std::string_view labels, std::string_view name) {
  std::string_view found;
  std::string value;
  while (NextLabel(labels, found, value)) {
    if (found == name) return value;
  }
  return "";
}

}  // namespace terrace
