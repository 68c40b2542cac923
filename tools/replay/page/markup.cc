#include "tools/replay/page/markup.h"

#include <array>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "tools/replay/page/page_style.h"

namespace terrace::replay {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr std::string_view kNoBreak = "\xc2\xa0";          // U+00A0
constexpr std::string_view kMinus = "\xe2\x88\x92";        // U+2212
constexpr std::string_view kDash = "\xe2\x80\x93";         // U+2013

/// Bytes of the UTF-8 character that `text` begins with; 0 when it begins with none that XML
/// allows.
std::size_t CharacterLength(std::string_view text) {
  const auto byte = [&text](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return lead >= 0x20 || lead == '\t' || lead == '\n' ? 1 : 0;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  std::uint32_t code = lead & (0xffU >> (length + 1));
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0U) != 0x80U) return 0;
    code = code << 6U | (byte(at) & 0x3fU);
  }
  constexpr std::array<std::uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  const bool control = code < 0xa0 || code == 0xfffe || code == 0xffff;
  return code < kLeast[length] || code > 0x10ffff || surrogate || control ? 0 : length;
}

std::string Format(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string Format(const char* format, ...) {
  char text[64];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

/// Three digits that matter; what has more before the point keeps them. REQUIRES: below 1e15.
std::string ThreeDigits(double number) {
  const double size = std::abs(number);
  if (size >= 999.5) return CountText(number);
  const int decimals = size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3;
  return (number < 0 ? std::string(kMinus) : "") + Format("%.*f", decimals, size);
}

std::string WithUnit(const std::string& number, std::string_view unit) {
  return number + std::string(kNoBreak) + std::string(unit);
}

}  // namespace

std::string Escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const std::size_t length = CharacterLength(text);
    if (length == 0) {
      out += kReplacement;
    } else if (text[0] == '&') {
      out += "&amp;";
    } else if (text[0] == '<') {
      out += "&lt;";
    } else if (text[0] == '>') {
      out += "&gt;";
    } else if (text[0] == '"') {
      out += "&quot;";
    } else if (text[0] == '\'') {
      out += "&#39;";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string CountText(double count) {
  if (!std::isfinite(count)) return std::string(kDash);
  if (std::abs(count) >= 1e15) return Format("%.3g", count);
  const std::string digits = Format("%.0f", std::abs(count));
  std::string out = count < 0 && digits != "0" ? std::string(kMinus) : std::string();
  for (std::size_t at = 0; at < digits.size(); ++at) {
    if (at > 0 && (digits.size() - at) % 3 == 0) out += ',';
    out += digits[at];
  }
  return out;
}

std::string PercentText(double ratio) {
  if (!std::isfinite(ratio)) return std::string(kDash);
  if (std::abs(ratio) >= 1e9) return WithUnit(Format("%.3g", ratio * 100), "%");
  const std::string number = Format("%.2f", std::abs(ratio) * 100);
  return WithUnit((ratio < 0 && number != "0.00" ? std::string(kMinus) : "") + number, "%");
}

std::string PointsText(double points) {
  if (!std::isfinite(points)) return std::string(kDash);
  if (std::abs(points) >= 1e9) return Format("%+.3g", points);
  std::string number = Format("%.2f", std::abs(points));
  if (number == "0.00") return number;
  return (points < 0 ? std::string(kMinus) : "+") + number;
}

std::string BytesText(double bytes) {
  if (!std::isfinite(bytes)) return std::string(kDash);
  constexpr std::array<std::string_view, 7> kUnits{"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  std::size_t unit = 0;
  while (std::abs(bytes) >= 999.5 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  return WithUnit(unit == 0 ? CountText(bytes) : ThreeDigits(bytes), kUnits[unit]);
}

std::string SecondsText(double seconds) {
  if (!std::isfinite(seconds)) return std::string(kDash);
  const double size = std::abs(seconds);
  if (size == 0) return WithUnit("0", "s");
  if (size < 999.5e-6) return WithUnit(ThreeDigits(seconds * 1e6), "µs");
  if (size < 999.5e-3) return WithUnit(ThreeDigits(seconds * 1e3), "ms");
  if (size < 300) return WithUnit(ThreeDigits(seconds), "s");
  if (size < 2 * 3600) return WithUnit(ThreeDigits(seconds / 60), "min");
  return WithUnit(ThreeDigits(seconds / 3600), "h");
}

std::string DollarsText(double dollars) {
  if (!std::isfinite(dollars)) return std::string(kDash);
  const double size = std::abs(dollars);
  const std::string sign = dollars < 0 ? std::string(kMinus) : std::string();
  if (size >= 1000) return sign + "$" + CountText(size);
  if (size >= 0.0995 || size == 0) return sign + Format("$%.2f", size);
  return sign + Format("$%.2g", size);
}

std::string CountOf(double count, const std::string& name) {
  return CountText(count) + " " + name + (count == 1 ? "" : "s");
}

std::string WithoutZeros(const std::string& figure) {
  const std::size_t point = figure.find('.');
  if (point == std::string::npos) return figure;
  std::size_t end = point + 1;
  while (end < figure.size() && figure[end] >= '0' && figure[end] <= '9') ++end;
  std::size_t keep = end;
  while (figure[keep - 1] == '0') --keep;
  if (keep == point + 1) keep = point;
  return figure.substr(0, keep) + figure.substr(end);
}

std::string FigureText(double number) {
  if (!std::isfinite(number)) return std::string(kDash);
  if (number == std::floor(number)) return CountText(number);
  if (std::abs(number) < 0.01) return Format("%.3g", number);
  return ThreeDigits(number);
}

std::string TableMarkup(const Table& table) {
  std::string out = "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>";
  for (const Table::Column& column : table.columns) {
    out += column.figures ? "<th class=\"n\" scope=\"col\">" : "<th scope=\"col\">";
    out += Escape(column.title) + "</th>";
  }
  out += "</tr></thead>\n<tbody>\n";
  for (const std::vector<Cell>& row : table.rows) {
    out += "<tr>";
    for (std::size_t at = 0; at < row.size() && at < table.columns.size(); ++at) {
      std::string tone(row[at].tone);
      if (table.columns[at].figures) tone += tone.empty() ? "n" : " n";
      out += tone.empty() ? "<td" : "<td class=\"" + tone + "\"";
      if (table.columns[at].figures && std::isfinite(row[at].sort_by)) {
        out += " data-v=\"" + Format("%.9g", row[at].sort_by) + "\"";
      }
      out += ">" + Escape(row[at].text) + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string FactsMarkup(const std::vector<Fact>& facts) {
  if (facts.empty()) return "";
  std::string out = "<dl class=\"facts\">\n";
  for (const Fact& fact : facts) {
    out += "<div><dt>" + Escape(fact.name) + "</dt><dd>" + Escape(fact.value) + "</dd></div>\n";
  }
  return out + "</dl>\n";
}

std::string HeadlinesMarkup(const std::vector<Headline>& headlines) {
  std::string out = "<div class=\"headlines\">\n";
  for (const Headline& headline : headlines) {
    out += "<div><p class=\"name\">" + Escape(headline.name) + "</p><p class=\"figure\">" +
           Escape(headline.figure) + "</p><p class=\"note\">" + Escape(headline.note) +
           "</p></div>\n";
  }
  return out + "</div>\n";
}

std::string BannerMarkup(std::string_view tone, const std::string& title,
                         const std::vector<std::string>& lines) {
  std::string out = "<div class=\"banner " + std::string(tone) + "\"";
  out += tone == "bad" ? " role=\"alert\"><strong>" : "><strong>";
  out += Escape(title) + "</strong>";
  if (!lines.empty()) {
    out += "<ul>";
    for (const std::string& line : lines) out += "<li>" + Escape(line) + "</li>";
    out += "</ul>";
  }
  return out + "</div>\n";
}

std::string PageMarkup(const std::string& title, const std::string& body) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<meta name=\"generator\" content=\"terrace-replay\"/>\n"
      // The browser itself refuses whatever the page could load: it is all here.
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\"/>\n<title>";
  out += Escape(title) + "</title>\n<style>\n";
  out += kPageStyle;
  out += "</style>\n</head>\n<body>\n<main>\n";
  out += body;
  out += "</main>\n<script>\n//<![CDATA[\n";
  out += kPageScript;
  return out + "//]]>\n</script>\n</body>\n</html>\n";
}

}  // namespace terrace::replay
