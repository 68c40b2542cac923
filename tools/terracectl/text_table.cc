#include "tools/terracectl/text_table.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace terrace {

TextTable::TextTable(std::vector<std::string> titles, std::vector<Align> aligns)
    : aligns_(std::move(aligns)) {
  TERRACE_CHECK(titles.size() == aligns_.size());
  rows_.push_back(std::move(titles));
}

void TextTable::AddRow(std::vector<std::string> cells) {
  TERRACE_CHECK(cells.size() == aligns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::ToString() const {
  std::vector<std::size_t> widths(aligns_.size(), 0);
  for (const auto& row : rows_) {
    for (std::size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], row[column].size());
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (column > 0) line += "  ";
      const std::string padding(widths[column] - row[column].size(), ' ');
      const bool left = aligns_[column] == Align::kLeft;
      line += left ? row[column] + padding : padding + row[column];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string FormatCount(double count) {
  constexpr double kShownMax = 1e18;
  if (!(count > 0)) return "0";  // NaN too
  std::string digits =
      std::to_string(static_cast<std::int64_t>(std::llround(std::min(count, kShownMax))));
  for (std::size_t place = digits.size(); place > 3; place -= 3) digits.insert(place - 3, ",");
  return digits;
}

std::string FormatShare(double part, double whole) {
  if (!(whole > 0)) return "-";
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %%", 100 * part / whole);
  return text;
}

std::string FormatDuration(double seconds) {
  constexpr std::int64_t kMinute = 60;
  constexpr std::int64_t kHour = 60 * kMinute;
  constexpr std::int64_t kDay = 24 * kHour;
  constexpr double kShownMax = 1e12;
  const auto whole =
      seconds > 0 ? static_cast<std::int64_t>(std::min(seconds, kShownMax)) : std::int64_t{0};
  const auto two = [](std::int64_t first, const char* first_unit, std::int64_t second,
                      const char* second_unit) {
    return std::to_string(first) + first_unit + std::to_string(second) + second_unit;
  };
  if (whole >= kDay) return two(whole / kDay, " d ", whole % kDay / kHour, " h");
  if (whole >= kHour) return two(whole / kHour, " h ", whole % kHour / kMinute, " min");
  if (whole >= kMinute) return two(whole / kMinute, " min ", whole % kMinute, " s");
  return std::to_string(whole) + " s";
}

std::string Printable(std::string_view text) {
  std::string shown;
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (code >= 0x20 && code != 0x7f) {
      shown += letter;
      continue;
    }
    char escape[8];
    std::snprintf(escape, sizeof(escape), "\\x%02x", code);
    shown += escape;
  }
  return shown;
}

}  // namespace terrace
