#include "tools/replay/page/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "tools/replay/page/chart_drawing.h"
#include "tools/replay/page/chart_scale.h"
#include "tools/replay/page/markup.h"

namespace terrace::replay {
namespace {

using Pixel = Drawing::Pixel;
using Anchor = Drawing::Anchor;

/// Above so many points markers would hide the line.
constexpr std::size_t kMarkersMax = 40;

struct Size {
  int width;
  int height;
  const char* css;
};
constexpr std::array kHalf{Size{560, 300, "w560"}, Size{340, 270, "w340"}};
constexpr std::array kFull{Size{1080, 380, "w1080"}, Size{560, 330, "w560"},
                           Size{340, 290, "w340"}};

struct Range {
  double least = 0;
  double most = 0;
  bool any = false;

  void Add(double value) {
    least = any ? std::min(least, value) : value;
    most = any ? std::max(most, value) : value;
    any = true;
  }
};

bool Shown(const LineChart& chart, const ChartPoint& point) {
  return Drawable(point.x) && Drawable(point.y) && (!chart.x.logarithmic || point.x > 0) &&
         (!chart.y.logarithmic || point.y > 0);
}

/// One line chart at one width.
class LinePlot {
 public:
  LinePlot(const LineChart& chart, const Size& size)
      : chart_(chart), size_(size), drawing_(size.width, size.height) {}

  std::string Svg(const std::string& label) {
    if (!FindRanges()) {
      drawing_.Text({size_.width / 2.0, size_.height / 2.0}, Anchor::kMiddle, "no data");
      return drawing_.Svg(size_.css, label);
    }
    MakeScales();
    DrawAxes();
    if (chart_.stacked) {
      DrawAreas();
    } else {
      // What others are compared with lies below them.
      for (const bool reference : {true, false}) {
        for (const ChartSeries& series : chart_.series) {
          if (series.reference == reference) DrawSeries(series);
        }
      }
    }
    DrawLevel();
    if (chart_.columns) DrawColumns();
    return drawing_.Svg(size_.css, label);
  }

 private:
  bool FindRanges() {
    std::vector<double> sums;
    for (const ChartSeries& series : chart_.series) {
      sums.resize(std::max(sums.size(), series.points.size()));
      for (std::size_t at = 0; at < series.points.size(); ++at) {
        const ChartPoint& point = series.points[at];
        if (!Shown(chart_, point)) continue;
        x_range_.Add(point.x);
        if (chart_.stacked) sums[at] += std::max(point.y, 0.0);
        y_range_.Add(chart_.stacked ? sums[at] : point.y);
      }
    }
    if (!x_range_.any) return false;
    if (chart_.level && Drawable(chart_.level->y)) y_range_.Add(chart_.level->y);
    if (!chart_.y.logarithmic) y_range_.Add(0);
    return true;
  }

  void MakeScales() {
    // Up to a round number, so that the highest line does not lie on the border.
    double most = y_range_.most;
    if (!chart_.y.logarithmic && most - y_range_.least > 1e-30) {
      const double step = RoundStep((most - y_range_.least) / 5);
      most = std::ceil(most / step - 1e-9) * step;
    }
    bottom_ = size_.height - 24.0 - (HasSecondLine() ? 14 : 0) - (chart_.x.title.empty() ? 0 : 18);
    y_ = ChartScale(chart_.y.logarithmic, y_range_.least, most, bottom_, 26);
    y_ticks_ = y_.Ticks(5);
    double widest = 0;
    for (const double tick : y_ticks_) {
      widest = std::max(widest, TextWidth(Formatted(chart_.y, tick)));
    }
    left_ = widest + 8;
    right_ = size_.width - 10.0;
    const double inset = chart_.stacked || chart_.columns ? 0 : 10;
    x_ = ChartScale(chart_.x.logarithmic, x_range_.least, x_range_.most, left_ + inset,
                    right_ - inset);
  }

  [[nodiscard]] bool HasSecondLine() const {
    return std::ranges::any_of(chart_.x.ticks,
                               [](const auto& tick) { return !tick.below.empty(); });
  }

  static std::string Formatted(const ChartAxis& axis, double value) {
    return WithoutZeros(axis.format ? axis.format(value) : FigureText(value));
  }

  void DrawAxes() {
    for (const double tick : y_ticks_) {
      const double y = y_.At(tick);
      drawing_.Line({left_, y}, {right_, y}, "grid");
      drawing_.Text({left_ - 8, y + 4}, Anchor::kEnd, Formatted(chart_.y, tick));
    }
    drawing_.Text({0, 12}, Anchor::kStart, chart_.y.title);
    std::vector<ChartTick> ticks = chart_.x.ticks;
    if (ticks.empty()) {
      for (const double tick : x_.Ticks(size_.width / 90)) {
        ticks.push_back({tick, Formatted(chart_.x, tick), ""});
      }
    }
    drawing_.Line({left_, bottom_}, {right_, bottom_}, "axis");
    double taken = -1e9;  // pixels up to which there is a label already
    for (const ChartTick& tick : ticks) {
      if (!Drawable(tick.at)) continue;
      const double x = x_.At(tick.at);
      drawing_.Line({x, bottom_}, {x, bottom_ + 4}, "axis");
      const double half = std::max(TextWidth(tick.text), TextWidth(tick.below)) / 2;
      const double middle = std::clamp(x, std::min(half, size_.width / 2.0),
                                       std::max(size_.width - half, size_.width / 2.0));
      if (middle - half < taken + 6) continue;
      taken = middle + half;
      drawing_.Text({middle, bottom_ + 18}, Anchor::kMiddle, tick.text);
      drawing_.Text({middle, bottom_ + 32}, Anchor::kMiddle, tick.below);
    }
    drawing_.Text({(left_ + right_) / 2, size_.height - 4.0}, Anchor::kMiddle, chart_.x.title);
  }

  void DrawSeries(const ChartSeries& series) {
    std::vector<Pixel> pixels;
    for (const ChartPoint& point : series.points) {
      if (Shown(chart_, point)) pixels.push_back({x_.At(point.x), y_.At(point.y)});
    }
    drawing_.Path(pixels, series.style, series.reference);
    const bool many = series.points.size() > kMarkersMax || chart_.columns || series.plain;
    if (many && pixels.size() != 1) return;
    for (const ChartPoint& point : series.points) {
      if (!Shown(chart_, point)) continue;
      drawing_.Marker({x_.At(point.x), y_.At(point.y)}, series.style, series.reference, point.note);
    }
  }

  void DrawAreas() {
    std::vector<double> floor;
    for (const ChartSeries& series : chart_.series) {
      floor.resize(std::max(floor.size(), series.points.size()));
      std::vector<Pixel> upper;
      std::vector<Pixel> lower;
      for (std::size_t at = 0; at < series.points.size(); ++at) {
        const ChartPoint& point = series.points[at];
        if (!Shown(chart_, point)) continue;
        lower.push_back({x_.At(point.x), y_.At(floor[at])});
        floor[at] += std::max(point.y, 0.0);
        upper.push_back({x_.At(point.x), y_.At(floor[at])});
      }
      upper.insert(upper.end(), lower.rbegin(), lower.rend());
      if (!upper.empty()) drawing_.Area(upper, series.style);
    }
  }

  void DrawLevel() {
    if (!chart_.level || !Drawable(chart_.level->y)) return;
    const double y = y_.At(chart_.level->y);
    drawing_.Line({left_, y}, {right_, y}, "levelline");
    drawing_.Text({left_ + 6, y - 6}, Anchor::kStart, chart_.level->text, "level");
  }

  /// From halfway to the point before to halfway to the point after, over the whole height.
  void DrawColumns() {
    if (chart_.series.empty()) return;
    const std::vector<ChartPoint>& points = chart_.series.front().points;
    for (std::size_t at = 0; at < points.size(); ++at) {
      if (!Shown(chart_, points[at]) || points[at].note.empty()) continue;
      const double here = x_.At(points[at].x);
      const double from = at == 0 ? here : (here + x_.At(points[at - 1].x)) / 2;
      const double to = at + 1 == points.size() ? here : (here + x_.At(points[at + 1].x)) / 2;
      drawing_.Box({from, 26}, {to, bottom_}, "hit", points[at].note);
    }
  }

  const LineChart& chart_;
  const Size& size_;
  Drawing drawing_;
  Range x_range_;
  Range y_range_;
  ChartScale x_{false, 0, 1, 0, 1};
  ChartScale y_{false, 0, 1, 0, 1};
  std::vector<double> y_ticks_;
  double left_ = 0;  // pixels: the borders of what is plotted
  double right_ = 0;
  double bottom_ = 0;
};

std::string BarSvg(const BarChart& chart, const Size& size, const std::string& label) {
  constexpr double kRow = 27;
  constexpr double kHead = 24;
  double names = 0;
  double texts = 0;
  double longest = chart.whole;
  double height = 4;
  for (const BarGroup& group : chart.groups) {
    if (!group.name.empty()) height += kHead;
    for (const Bar& bar : group.bars) {
      names = std::max(names, TextWidth(bar.name) + 10);
      texts = std::max(texts, TextWidth(bar.text) + 10);
      double sum = 0;
      for (const BarPart& part : bar.parts) {
        if (Drawable(part.value)) sum += std::max(part.value, 0.0);
      }
      longest = std::max(longest, sum);
    }
    height += static_cast<double>(group.bars.size()) * kRow + 6;
  }
  // Where the names would take more than a third they stand above the bars.
  const bool above = names > size.width / 3.0;
  if (above) {
    for (const BarGroup& group : chart.groups) {
      height += static_cast<double>(group.bars.size()) * 16;
    }
    names = 0;
  }
  Drawing drawing(size.width, static_cast<int>(height) + 4);
  const double room = std::max(size.width - names - texts, 40.0);
  double y = 4;
  for (const BarGroup& group : chart.groups) {
    if (!group.name.empty()) {
      drawing.Text({0, y + 15}, Anchor::kStart, group.name);
      y += kHead;
    }
    for (const Bar& bar : group.bars) {
      drawing.Text({0, y + 14}, Anchor::kStart, bar.name, "value");
      if (above) y += 18;
      double x = names;
      for (const BarPart& part : bar.parts) {
        if (!Drawable(part.value) || part.value <= 0 || longest <= 0) continue;
        const double end = x + part.value / longest * room;
        drawing.Box({x, y}, {end, y + 19}, "area c" + std::to_string(part.style % kChartStyles),
                    part.note);
        x = end;
      }
      drawing.Text({x + 7, y + 14}, Anchor::kStart, bar.text, "value");
      y += above ? kRow - 2 : kRow;
    }
    y += 6;
  }
  return drawing.Svg(size.css, label);
}

template <typename Draw>
std::string Figure(const FigureFrame& frame, const std::string& legend, const Draw& draw) {
  std::string out = "<figure class=\"";
  out += frame.full ? "full" : "half";
  out += "\">\n<figcaption><h3>" + Escape(frame.title) + "</h3>";
  if (!frame.caption.empty()) out += "<p>" + Escape(frame.caption) + "</p>";
  out += "</figcaption>\n";
  const std::span<const Size> sizes =
      frame.full ? std::span<const Size>(kFull) : std::span<const Size>(kHalf);
  for (const Size& size : sizes) out += draw(size);
  return out + legend + "</figure>\n";
}

}  // namespace

std::string LineFigure(const FigureFrame& frame, const LineChart& chart) {
  std::vector<LegendEntry> legend;
  for (const ChartSeries& series : chart.series) {
    if (!series.name.empty()) {
      legend.push_back({series.name, series.style, chart.stacked, series.reference,
                        chart.columns || series.plain});
    }
  }
  return Figure(frame, LegendMarkup(legend),
                [&](const Size& size) { return LinePlot(chart, size).Svg(frame.title); });
}

std::string BarFigure(const FigureFrame& frame, const BarChart& chart,
                      const std::vector<LegendEntry>& legend) {
  return Figure(frame, LegendMarkup(legend),
                [&](const Size& size) { return BarSvg(chart, size, frame.title); });
}

}  // namespace terrace::replay
