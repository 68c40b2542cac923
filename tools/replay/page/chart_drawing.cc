#include "tools/replay/page/chart_drawing.h"

#include <array>
#include <cstdio>

#include "tools/replay/page/markup.h"

namespace terrace::replay {
namespace {

/// Dashes of the styles, so that lines differ on paper.
constexpr std::array<std::string_view, kChartStyles> kDashes{"",    "",     "7 3", "2 3", "9 3 2 3",
                                                             "4 4", "12 4", "1 4", "3 2"};

std::string Coordinate(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string StyleClass(ChartStyle style) { return "c" + std::to_string(style % kChartStyles); }

std::string TitleMarkup(const std::string& note) {
  return note.empty() ? "" : "<title>" + Escape(note) + "</title>";
}

std::string Polygon(Drawing::Pixel at, std::string_view corners) {
  return "<path transform=\"translate(" + Coordinate(at.x) + " " + Coordinate(at.y) + ")\" d=\"" +
         std::string(corners) + "\"/>";
}

/// Shapes of about equal weight around `at`.
std::string Shape(Drawing::Pixel at, ChartStyle style) {
  switch (style % kChartStyles) {
    case 1: return Polygon(at, "M-3.6-3.6H3.6V3.6H-3.6Z");    // square
    case 2: return Polygon(at, "M0-5 4.6 3.4H-4.6Z");         // triangle
    case 3: return Polygon(at, "M0-5.2 5.2 0 0 5.2-5.2 0Z");  // diamond
    case 4: return Polygon(at, "M0 5-4.6-3.4H4.6Z");          // triangle, down
    case 5: return Polygon(at, "M-1.6-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z");  // plus
    case 7: return Polygon(at, "M-4.4-2 0-5 4.4-2 2.8 4.2H-2.8Z");                      // pentagon
    default:
      return "<circle cx=\"" + Coordinate(at.x) + "\" cy=\"" + Coordinate(at.y) + "\" r=\"4.1\"/>";
  }
}

}  // namespace

double TextWidth(std::string_view text) noexcept {
  double width = 0;
  for (const char letter : text) {
    if ((static_cast<unsigned char>(letter) & 0xc0U) != 0x80U) width += 6.7;  // not within one
  }
  return width;
}

void Drawing::Line(Pixel from, Pixel to, std::string_view css) {
  body_ += "<line class=\"";
  body_ += css;
  body_ += "\" x1=\"" + Coordinate(from.x) + "\" y1=\"" + Coordinate(from.y) + "\" x2=\"" +
           Coordinate(to.x) + "\" y2=\"" + Coordinate(to.y) + "\"/>\n";
}

void Drawing::Points(const std::vector<Pixel>& points) {
  for (std::size_t at = 0; at < points.size(); ++at) {
    body_ += at == 0 ? "M" : " ";
    body_ += Coordinate(points[at].x) + " " + Coordinate(points[at].y);
  }
}

void Drawing::Path(const std::vector<Pixel>& points, ChartStyle style, bool reference) {
  if (points.size() < 2) return;
  body_ += "<path class=\"line " + StyleClass(style) + (reference ? " ref\"" : "\"");
  const std::string_view dashes = kDashes[style % kChartStyles];
  if (!dashes.empty()) body_ += " stroke-dasharray=\"" + std::string(dashes) + "\"";
  body_ += " d=\"";
  Points(points);
  body_ += "\"/>\n";
}

void Drawing::Area(const std::vector<Pixel>& outline, ChartStyle style) {
  body_ += "<path class=\"area " + StyleClass(style) + "\" d=\"";
  Points(outline);
  body_ += "Z\"/>\n";
}

void Drawing::Marker(Pixel at, ChartStyle style, bool reference, const std::string& note) {
  const bool hollow = style % kChartStyles == 6;
  body_ += "<g class=\"mark " + StyleClass(style) + (hollow ? " hollow" : "") +
           (reference ? " ref\">" : "\">") + TitleMarkup(note) + Shape(at, style);
  // What is pointed at is larger than what is seen.
  if (!note.empty()) {
    body_ += "<circle class=\"hit\" cx=\"" + Coordinate(at.x) + "\" cy=\"" + Coordinate(at.y) +
             "\" r=\"9\"/>";
  }
  body_ += "</g>\n";
}

void Drawing::Box(Pixel from, Pixel to, std::string_view css, const std::string& note) {
  body_ += "<rect class=\"";
  body_ += css;
  body_ += "\" x=\"" + Coordinate(from.x) + "\" y=\"" + Coordinate(from.y) + "\" width=\"" +
           Coordinate(to.x > from.x ? to.x - from.x : 0) + "\" height=\"" +
           Coordinate(to.y > from.y ? to.y - from.y : 0) + "\">" + TitleMarkup(note) + "</rect>\n";
}

void Drawing::Text(Pixel at, Anchor anchor, const std::string& text, std::string_view css) {
  if (text.empty()) return;
  body_ += "<text x=\"" + Coordinate(at.x) + "\" y=\"" + Coordinate(at.y) + "\"";
  if (anchor == Anchor::kMiddle) body_ += " text-anchor=\"middle\"";
  if (anchor == Anchor::kEnd) body_ += " text-anchor=\"end\"";
  if (!css.empty()) body_ += " class=\"" + std::string(css) + "\"";
  body_ += ">" + Escape(text) + "</text>\n";
}

std::string Drawing::Svg(std::string_view css, const std::string& label) const {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart " + std::string(css) +
         "\" role=\"img\" aria-label=\"" + Escape(label) + "\" viewBox=\"0 0 " +
         std::to_string(width_) + " " + std::to_string(height_) + "\">\n" + body_ + "</svg>\n";
}

std::string LegendMarkup(const std::vector<LegendEntry>& entries) {
  if (entries.empty()) return "";
  std::string out = "<ul class=\"legend\">\n";
  for (const LegendEntry& entry : entries) {
    Drawing swatch(34, 14);
    if (entry.area) {
      swatch.Box({8, 1}, {26, 13}, "area " + StyleClass(entry.style), "");
    } else {
      swatch.Path({{1, 7}, {33, 7}}, entry.style, entry.reference);
      if (!entry.plain) swatch.Marker({17, 7}, entry.style, entry.reference, "");
    }
    std::string svg = swatch.Svg("", "");
    // A swatch is decoration: the name beside it says all, and it is shown at every width.
    const std::string_view chart = "class=\"chart \" role=\"img\" aria-label=\"\"";
    svg.replace(svg.find(chart), chart.size(), "aria-hidden=\"true\"");
    out += "<li>" + svg + Escape(entry.name) + "</li>\n";
  }
  return out + "</ul>\n";
}

}  // namespace terrace::replay
