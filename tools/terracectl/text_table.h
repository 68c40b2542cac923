// TextTable: columns that line up.
#pragma once

#include <string>
#include <vector>

namespace terrace {

class TextTable {
 public:
  enum class Align : bool { kLeft, kRight };
  /// One title per column.
  explicit TextTable(std::vector<std::string> titles, std::vector<Align> aligns);
  /// REQUIRES: as many cells as columns.
  void AddRow(std::vector<std::string> cells);
  /// Two spaces between columns, no spaces at the end of lines, each line ended by a newline.
  [[nodiscard]] std::string ToString() const;

 private:
  std::vector<Align> aligns_;
  std::vector<std::vector<std::string>> rows_;  // the titles first
};

/// "12,345,678".
std::string FormatCount(double count);
/// "83.4 %", or "-" when `whole` is 0.
std::string FormatShare(double part, double whole);
/// "3 d 4 h", "2 h 5 min", "7 min 3 s", "12 s".
std::string FormatDuration(double seconds);
/// Control characters as \xNN: a client's or namespace's name must not steer the terminal.
std::string Printable(std::string_view text);

}  // namespace terrace
