// Charts as inline SVG: lines and stacked areas over a common x, and horizontal bars.
//
// Model. A chart says what to draw; ChartFigure draws it at the widths of a page, a tablet and a
// phone, so that its letters are as large as the text around it everywhere, and the page's style
// shows one of them. Series differ in colour, dash and marker (their `style`), so that print and
// colour-blind people can tell them apart. Values that are not finite, or beyond 1e30, are left
// out; a chart without values says so. Nothing in it refers to anything outside of it.
// Thread: any; nothing is kept.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace terrace::replay {

/// Style of a series: 0 ink, 1 to 7 colours, 8 pale (for what is not there, in areas and bars).
using ChartStyle = unsigned;
inline constexpr ChartStyle kChartStyles = 9;

struct ChartPoint {
  double x = 0;
  double y = 0;
  std::string note;  ///< shown when it is pointed at; empty: nothing is
};

struct ChartSeries {
  std::string name;
  ChartStyle style = 0;
  bool reference = false;          ///< a bold line that others are compared with
  std::vector<ChartPoint> points;  ///< x rises
  bool plain = false;              ///< no markers: the line says all
};

struct ChartTick {
  double at = 0;
  std::string text;
  std::string below;  ///< a second line, quieter
};

struct ChartAxis {
  std::string title;
  bool logarithmic = false;
  std::function<std::string(double)> format;  ///< of ticks that the chart chooses
  std::vector<ChartTick> ticks;               ///< empty: the chart chooses
};

struct ChartLevel {
  double y = 0;
  std::string text;
};

struct LineChart {
  ChartAxis x;
  ChartAxis y;
  std::vector<ChartSeries> series;
  std::optional<ChartLevel> level;  ///< a dashed line across
  bool stacked = false;             ///< areas on each other; every series must have the same x
  bool columns = false;             ///< notes belong to an x, those of the first series: no markers
};

struct BarPart {
  double value = 0;
  ChartStyle style = 0;
  std::string note;
};

struct Bar {
  std::string name;
  std::string text;            ///< behind the bar
  std::vector<BarPart> parts;  ///< one behind the other
};

struct BarGroup {
  std::string name;  ///< above its bars; may be empty
  std::vector<Bar> bars;
};

struct BarChart {
  std::vector<BarGroup> groups;
  double whole = 0;  ///< the value of the full width; 0: the longest bar
};

struct LegendEntry {
  std::string name;
  ChartStyle style = 0;
  bool area = false;  ///< a filled box, else a line
  bool reference = false;
  bool plain = false;  ///< a line without its marker
};

/// Names and texts are not escaped yet. title is the figure's, caption stands below it.
struct FigureFrame {
  std::string title;
  std::string caption;
  bool full = false;  ///< as wide as the page, else half of it
};

[[nodiscard]] std::string LineFigure(const FigureFrame& text, const LineChart& chart);
/// legend: what the colours mean; may be empty when the bars' names say it.
[[nodiscard]] std::string BarFigure(const FigureFrame& text, const BarChart& chart,
                                    const std::vector<LegendEntry>& legend);

}  // namespace terrace::replay
