// Drawing: the pieces of SVG that charts are made of, appended to a text.
// Thread: any; a Drawing belongs to one chart and one width.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/replay/page/chart.h"

namespace terrace::replay {

/// Width of the text in a chart's letters, pixels: an estimate that is rather too large.
[[nodiscard]] double TextWidth(std::string_view text) noexcept;

class Drawing {
 public:
  struct Pixel {
    double x;
    double y;
  };
  enum class Anchor : unsigned char { kStart, kMiddle, kEnd };

  Drawing(int width, int height) : width_(width), height_(height) {}

  void Line(Pixel from, Pixel to, std::string_view css);
  /// `dashed`: in the way of the style. fewer than two points draw nothing.
  void Path(const std::vector<Pixel>& points, ChartStyle style, bool reference);
  void Area(const std::vector<Pixel>& outline, ChartStyle style);
  /// note: shown when it is pointed at; not escaped yet.
  void Marker(Pixel at, ChartStyle style, bool reference, const std::string& note);
  void Box(Pixel from, Pixel to, std::string_view css, const std::string& note);
  void Text(Pixel at, Anchor anchor, const std::string& text, std::string_view css = "");

  /// The <svg>. label: what it shows, for those who do not see it; not escaped yet.
  [[nodiscard]] std::string Svg(std::string_view css, const std::string& label) const;
  [[nodiscard]] int width() const noexcept { return width_; }
  [[nodiscard]] int height() const noexcept { return height_; }

 private:
  void Points(const std::vector<Pixel>& points);

  int width_;
  int height_;
  std::string body_;
};

/// The legend of a figure; nothing when it is empty.
[[nodiscard]] std::string LegendMarkup(const std::vector<LegendEntry>& entries);

}  // namespace terrace::replay
