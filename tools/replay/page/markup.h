// Markup: text and figures as they stand in report.html. The page is HTML that is well-formed XML
// too, so that whoever wants to can check every tag. Thread: any; nothing is kept.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace terrace::replay {

/// Text for content and for quoted attributes. What is not UTF-8, and control characters, become
/// U+FFFD: no name of a trace can end a tag, an attribute, or the document.
[[nodiscard]] std::string Escape(std::string_view text);

// Figures for people. A number that is not finite is "–". Spaces before units do not break.
[[nodiscard]] std::string CountText(double count);      ///< "12,345,678"
[[nodiscard]] std::string PercentText(double ratio);    ///< of 0.3825: "38.25 %"
[[nodiscard]] std::string PointsText(double points);    ///< "+1.30", "−0.25", with its sign
[[nodiscard]] std::string BytesText(double bytes);      ///< "31.4 GB": powers of 1000
[[nodiscard]] std::string SecondsText(double seconds);  ///< "31.4 ms", "2.50 s", "3.1 h"
[[nodiscard]] std::string DollarsText(double dollars);  ///< "$0.0034", "$1,234.50"
/// "3 workers", "1 worker": one is what `name` is.
[[nodiscard]] std::string CountOf(double count, const std::string& name);
/// Of "2.00 s": "2 s", for the ticks of axes.
[[nodiscard]] std::string WithoutZeros(const std::string& figure);
[[nodiscard]] std::string FigureText(double number);  ///< three digits that matter, or a count

struct Cell {
  std::string text;       ///< not escaped yet
  double sort_by = 0;     ///< of cells with figures
  std::string_view tone;  ///< class of the cell: "", "good", "bad", "quiet"
};

struct Table {
  struct Column {
    std::string title;
    bool figures = true;  ///< to the right, sorted by `sort_by`; else text, to the left
  };
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  ///< as many cells as columns
};

/// In a box of its own that scrolls when the screen is too narrow.
[[nodiscard]] std::string TableMarkup(const Table& table);

/// A name and what belongs to it, both not escaped.
struct Fact {
  std::string name;
  std::string value;
};
/// A list in as many columns as fit; nothing when it is empty.
[[nodiscard]] std::string FactsMarkup(const std::vector<Fact>& facts);

/// A figure that matters, large, with what it means below.
struct Headline {
  std::string figure;
  std::string name;
  std::string note;
};
[[nodiscard]] std::string HeadlinesMarkup(const std::vector<Headline>& headlines);

/// tone: "bad" cannot be overlooked, "warn" is to be read, "good" is quiet. lines: not escaped.
[[nodiscard]] std::string BannerMarkup(std::string_view tone, const std::string& title,
                                       const std::vector<std::string>& lines);

/// The whole document around the body, with style and script inside: it needs nothing else.
[[nodiscard]] std::string PageMarkup(const std::string& title, const std::string& body);

}  // namespace terrace::replay
