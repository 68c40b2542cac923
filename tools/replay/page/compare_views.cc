#include "tools/replay/page/compare_views.h"

#include <cmath>

#include "tools/replay/page/markup.h"

namespace terrace::replay {
namespace {

std::string ValueText(FigureUnit unit, std::optional<double> value) {
  if (!value) return "–";
  switch (unit) {
    case FigureUnit::kCount: return CountText(*value);
    case FigureUnit::kRatio: return PercentText(*value);
    case FigureUnit::kBytes: return BytesText(*value);
    case FigureUnit::kSeconds: return SecondsText(*value);
    case FigureUnit::kFigure: return FigureText(*value);
  }
  return "";
}

/// With its sign; of ratios in points.
std::string DifferenceText(const ComparedFigure& figure) {
  if (!figure.a || !figure.b) return "";
  const double difference = *figure.b - *figure.a;
  if (figure.unit == FigureUnit::kRatio) return PointsText(difference * 100) + " points";
  return (difference > 0 ? "+" : "") + ValueText(figure.unit, difference);
}

/// NaN where it means nothing.
double RelativeOf(const ComparedFigure& figure) {
  if (!figure.a || !figure.b || *figure.a == 0) return std::nan("");
  return (*figure.b - *figure.a) / std::abs(*figure.a);
}

std::string RelativeText(const ComparedFigure& figure) {
  const double relative = RelativeOf(figure);
  return std::isfinite(relative) ? PointsText(relative * 100) + "\xc2\xa0%" : "";
}

std::string NoiseText(const ComparedFigure& figure) {
  const Noise& noise = figure.noise;
  if (noise.absolute > 0) return WithoutZeros(FigureText(noise.absolute * 100)) + " points";
  if (noise.relative > 0) return WithoutZeros(FigureText(noise.relative * 100)) + "\xc2\xa0%";
  return "none";
}

std::string SummaryText(const Comparison& comparison) {
  const auto count = [&comparison](Verdict verdict) {
    return CountText(static_cast<double>(comparison.Count(verdict)));
  };
  return "B against A: " + count(Verdict::kBetter) + " better, " + count(Verdict::kWorse) +
         " worse, " + count(Verdict::kSame) + " same within noise, " + count(Verdict::kDiffers) +
         " differ without being better or worse";
}

/// A name of a file or trace must not steer the terminal.
std::string Printable(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    out += code < 0x20 || code == 0x7f ? '?' : letter;
  }
  return out;
}

/// Columns as wide as their widest cell, two spaces between them; the first to the left.
class Lines {
 public:
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  [[nodiscard]] std::string ToString(std::size_t left_columns) const {
    std::vector<std::size_t> widths;
    for (const std::vector<std::string>& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()));
      for (std::size_t at = 0; at < row.size(); ++at) {
        widths[at] = std::max(widths[at], Letters(row[at]));
      }
    }
    std::string out;
    for (const std::vector<std::string>& row : rows_) {
      std::string line = " ";
      for (std::size_t at = 0; at < row.size(); ++at) {
        const std::string space(widths[at] - Letters(row[at]), ' ');
        line += at < left_columns ? " " + row[at] + space : "  " + space + row[at];
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
    return out;
  }

 private:
  static std::size_t Letters(std::string_view text) {
    std::size_t letters = 0;
    for (const char letter : text) {
      letters += (static_cast<unsigned char>(letter) & 0xc0U) != 0x80U ? 1 : 0;
    }
    return letters;
  }

  std::vector<std::vector<std::string>> rows_;
};

std::string_view ToneOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kBetter: return "good";
    case Verdict::kWorse: return "bad";
    default: return "quiet";
  }
}

Document OptionalJson(std::optional<double> value) {
  return value ? Document(*value) : Document(nullptr);
}

}  // namespace

std::string CompareText(const Comparison& comparison, const std::string& a, const std::string& b) {
  std::string out = "A  " + Printable(a) + "\nB  " + Printable(b) + "\n";
  for (const std::string& warning : comparison.warnings) {
    out += "WARNING: " + Printable(warning) + "\n";
  }
  if (!comparison.settings.empty()) {
    out += "\nSettings that differ\n";
    Lines lines;
    for (const ComparedSetting& setting : comparison.settings) {
      lines.Add({setting.key, setting.a.empty() ? "–" : Printable(setting.a),
                 setting.b.empty() ? "–" : Printable(setting.b)});
    }
    out += lines.ToString(1);
  } else {
    out += "The settings are the same.\n";
  }
  out += "\n" + SummaryText(comparison) + "\n";
  Lines lines;
  for (const ComparedGroup& group : comparison.groups) {
    lines.Add({});
    lines.Add({"[" + Printable(group.name) + "]", "A", "B", "B - A", "change", "noise", "verdict"});
    for (const ComparedFigure& figure : group.figures) {
      lines.Add({Printable(figure.name), ValueText(figure.unit, figure.a),
                 ValueText(figure.unit, figure.b), DifferenceText(figure), RelativeText(figure),
                 NoiseText(figure), std::string(VerdictName(figure.verdict))});
    }
  }
  return out + lines.ToString(1);
}

std::string ComparePage(const Comparison& comparison, const std::string& a, const std::string& b) {
  std::string body = "<header><p class=\"kind\">terrace-replay compare</p><h1>" + Escape(b) +
                     "</h1><p class=\"about\">B, against A: " + Escape(a) + "</p></header>\n";
  if (!comparison.warnings.empty()) {
    body += BannerMarkup("warn", "These two are not alike", comparison.warnings);
  }
  body += "<p class=\"summary\">" + Escape(SummaryText(comparison)) + ".</p>\n";
  if (!comparison.settings.empty()) {
    Table table;
    table.columns = {{"setting", false}, {"A", false}, {"B", false}};
    for (const ComparedSetting& setting : comparison.settings) {
      table.rows.push_back({{setting.key, 0, "quiet"}, {setting.a, 0, ""}, {setting.b, 0, ""}});
    }
    body += "<h2>Settings that differ</h2>\n" + TableMarkup(table);
  }
  for (const ComparedGroup& group : comparison.groups) {
    Table table;
    table.columns = {{"figure", false}, {"A"}, {"B"}, {"B − A"}, {"change"}, {"noise"},
                     {"verdict", false}};
    for (const ComparedFigure& figure : group.figures) {
      const double none = std::nan("");
      table.rows.push_back(
          {{figure.name, 0, ""},
           {ValueText(figure.unit, figure.a), figure.a.value_or(none), ""},
           {ValueText(figure.unit, figure.b), figure.b.value_or(none), ""},
           {DifferenceText(figure), figure.b.value_or(none) - figure.a.value_or(none), ""},
           {RelativeText(figure), RelativeOf(figure), ""},
           {NoiseText(figure), 0, "quiet"},
           {std::string(VerdictName(figure.verdict)), 0, ToneOf(figure.verdict)}});
    }
    body += "<h2>" + Escape(group.name) + "</h2>\n" + TableMarkup(table);
  }
  body +=
      "<footer>A difference within the noise of its figure is the same. Figures of simulations are "
      "exact; their noise is what rounding shows.</footer>\n";
  return PageMarkup("Two reports compared", body);
}

Document CompareJson(const Comparison& comparison, const std::string& a, const std::string& b) {
  Document json;
  json["kind"] = "compare";
  json["a"] = a;
  json["b"] = b;
  json["warnings"] = comparison.warnings;
  json["settings"] = Document::array();
  for (const ComparedSetting& setting : comparison.settings) {
    json["settings"].push_back({{"key", setting.key}, {"a", setting.a}, {"b", setting.b}});
  }
  for (const Verdict verdict :
       {Verdict::kBetter, Verdict::kWorse, Verdict::kSame, Verdict::kDiffers}) {
    json[std::string(VerdictName(verdict))] = comparison.Count(verdict);
  }
  json["figures"] = Document::array();
  for (const ComparedGroup& group : comparison.groups) {
    for (const ComparedFigure& figure : group.figures) {
      Document line;
      line["group"] = group.name;
      line["name"] = figure.name;
      line["key"] = figure.key;
      line["a"] = OptionalJson(figure.a);
      line["b"] = OptionalJson(figure.b);
      line["difference"] =
          figure.a && figure.b ? Document(*figure.b - *figure.a) : Document(nullptr);
      line["relative"] = OptionalJson(RelativeOf(figure));  // NaN becomes null
      line["noise_absolute"] = figure.noise.absolute;
      line["noise_relative"] = figure.noise.relative;
      line["verdict"] = VerdictName(figure.verdict);
      json["figures"].push_back(std::move(line));
    }
  }
  return json;
}

}  // namespace terrace::replay
