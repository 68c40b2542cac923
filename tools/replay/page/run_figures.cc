#include "tools/replay/page/run_figures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "tools/replay/page/chart.h"
#include "tools/replay/page/chart_scale.h"
#include "tools/replay/page/markup.h"

namespace terrace::replay {
namespace {

/// More points than pixels help nobody, and make the page large.
constexpr std::size_t kPointsMax = 240;

/// An interval of the run, several of the document's together where it has very many.
struct Interval {
  double begin_s = 0;
  double length_s = 0;
  double hits_dram = 0;
  double hits_nvme = 0;
  double missed = 0;
  double bytes_got = 0;
  double bytes_put = 0;
};

std::vector<Interval> IntervalsOf(const Document& document) {
  const Document& timeline = PartOf(document, "timeline");
  std::vector<Interval> intervals;
  if (!timeline.is_array() || timeline.empty()) return intervals;
  const std::size_t merge = (timeline.size() + kPointsMax - 1) / kPointsMax;
  std::size_t taken = 0;
  for (const Document& item : timeline) {
    const std::optional<double> begin_s = NumberOf(item, "t_s");
    if (!begin_s || (!intervals.empty() && *begin_s < intervals.back().begin_s)) continue;
    if (taken++ % merge == 0) intervals.push_back({.begin_s = *begin_s});
    Interval& interval = intervals.back();
    interval.hits_dram += NumberOr(item, "hits_dram", 0);
    interval.hits_nvme += NumberOr(item, "hits_nvme", 0);
    interval.missed += NumberOr(item, "blocks_missed", 0);
    interval.bytes_got += NumberOr(item, "bytes_got", 0);
    interval.bytes_put += NumberOr(item, "bytes_put", 0);
  }
  const double width = NumberOr(document, "timeline_interval_s", 0) * static_cast<double>(merge);
  for (std::size_t at = 0; at < intervals.size(); ++at) {
    const bool last = at + 1 == intervals.size();
    intervals[at].length_s = last
                                 ? NumberOr(document, "duration_s", intervals[at].begin_s + width) -
                                       intervals[at].begin_s
                                 : intervals[at + 1].begin_s - intervals[at].begin_s;
    if (last && width > 0) intervals[at].length_s = std::min(intervals[at].length_s, width);
    if (intervals[at].length_s <= 0) intervals[at].length_s = width > 0 ? width : 1;
  }
  return intervals;
}

ChartAxis TimeAxis() {
  ChartAxis axis;
  axis.title = "time into the run";
  axis.format = [](double seconds) { return SecondsText(seconds); };
  return axis;
}

struct Call {
  const char* key;
  const char* name;
  ChartStyle style;
};
constexpr std::array kCalls{Call{"match", "match", 1},      Call{"get", "get, a batch", 3},
                            Call{"put", "put, a batch", 2}, Call{"request", "request", 0},
                            Call{"prefill", "prefill", 4},  Call{"queue", "queue", 5}};

struct Percentiles {
  double p50_s;
  double p99_s;
  double max_s;
};

/// In the document as _us_ or as _ms_.
std::optional<Percentiles> PercentilesOf(const Document& document, const std::string& call) {
  for (const auto& [unit, seconds] : {std::pair{"_us_", 1e-6}, std::pair{"_ms_", 1e-3}}) {
    const std::optional<double> p50 = NumberOf(document, call + unit + "p50");
    if (!p50) continue;
    return Percentiles{*p50 * seconds, NumberOr(document, call + unit + "p99", 0) * seconds,
                       NumberOr(document, call + unit + "max", 0) * seconds};
  }
  return std::nullopt;
}

/// The share of calls that took no longer, at the upper end of each step of the distribution.
std::vector<ChartPoint> ShareCurve(const Document& steps) {
  std::vector<std::pair<double, double>> counts;  // upper bound in s, calls
  double all = 0;
  if (!steps.is_array()) return {};
  for (const Document& step : steps) {
    if (!step.is_array() || step.size() != 2 || !step[0].is_number() || !step[1].is_number()) {
      continue;
    }
    const auto bound_us = step[0].get<double>();
    const auto count = step[1].get<double>();
    if (!std::isfinite(bound_us) || !std::isfinite(count) || count <= 0 || bound_us < 0) continue;
    // Below 1 us the axis would be mostly empty: such calls stand at its begin.
    counts.emplace_back(std::max(bound_us, 1.0) * 1e-6, count);
    all += count;
  }
  std::ranges::sort(counts);
  std::vector<ChartPoint> points;
  double sum = 0;
  const double least_step = all / static_cast<double>(kPointsMax * 2);
  double drawn = -least_step;
  for (std::size_t at = 0; at < counts.size(); ++at) {
    if (at == 0) points.push_back({counts[0].first, 0, ""});
    sum += counts[at].second;
    // The slow end is what matters: it is drawn step by step.
    if (sum - drawn < least_step && sum < all * 0.98) continue;
    drawn = sum;
    points.push_back({counts[at].first, sum / all, ""});
  }
  return points;
}

}  // namespace

RunMoney MoneyOf(const Document& document, const ReportPrices& prices) {
  RunMoney money;
  money.total = prices.GpuDollars(NumberOr(document, "gpu_seconds_total", std::nan("")));
  money.saved = prices.GpuDollars(NumberOr(document, "gpu_seconds_saved", std::nan("")));
  money.flash_bytes =
      NumberOr(document, "device_bytes_written", 0) * NumberOr(document, "scale", 1);
  money.flash = prices.FlashDollars(money.flash_bytes);
  return money;
}

std::string HitsOverTime(const Document& document) {
  const std::vector<Interval> intervals = IntervalsOf(document);
  if (intervals.size() < 2) return "";
  LineChart chart;
  chart.stacked = true;
  chart.columns = true;
  chart.x = TimeAxis();
  chart.y.title = "blocks a second";
  ChartSeries dram{"DRAM", 1, false, {}};
  ChartSeries nvme{"NVMe", 5, false, {}};
  ChartSeries missed{"missed", 8, false, {}};
  for (const Interval& interval : intervals) {
    const double middle = interval.begin_s + interval.length_s / 2;
    const double all = interval.hits_dram + interval.hits_nvme + interval.missed;
    const std::string note =
        "at " + SecondsText(middle) + "\nDRAM " + CountText(interval.hits_dram) + "\nNVMe " +
        CountText(interval.hits_nvme) + "\nmissed " + CountText(interval.missed) + "\nhit " +
        PercentText(all > 0 ? (interval.hits_dram + interval.hits_nvme) / all : std::nan(""));
    dram.points.push_back({middle, interval.hits_dram / interval.length_s, note});
    nvme.points.push_back({middle, interval.hits_nvme / interval.length_s, ""});
    missed.points.push_back({middle, interval.missed / interval.length_s, ""});
  }
  chart.series = {std::move(dram), std::move(nvme), std::move(missed)};
  return LineFigure({"Hits by tier over time", "", true}, chart);
}

std::string BytesOverTime(const Document& document) {
  const std::vector<Interval> intervals = IntervalsOf(document);
  if (intervals.size() < 2) return "";
  LineChart chart;
  chart.columns = true;
  chart.x = TimeAxis();
  chart.y.title = "bytes a second";
  chart.y.format = [](double bytes) { return BytesText(bytes); };
  ChartSeries got{"got", 1, false, {}};
  ChartSeries put{"put", 2, false, {}};
  for (const Interval& interval : intervals) {
    const double middle = interval.begin_s + interval.length_s / 2;
    const double got_rate = interval.bytes_got / interval.length_s;
    const double put_rate = interval.bytes_put / interval.length_s;
    got.points.push_back({middle, got_rate,
                          "at " + SecondsText(middle) + "\ngot " + BytesText(got_rate) +
                              "/s\nput " + BytesText(put_rate) + "/s"});
    put.points.push_back({middle, put_rate, ""});
  }
  chart.series = {std::move(got), std::move(put)};
  return LineFigure({"Bytes over time", "", false}, chart);
}

std::string LatencyCurves(const Document& document) {
  const Document& distributions = PartOf(document, "latency_us");
  LineChart chart;
  chart.x.title = "time";
  chart.x.logarithmic = true;
  chart.x.format = [](double seconds) { return SecondsText(seconds); };
  chart.y.title = "share of calls that took no longer";
  chart.y.format = [](double share) { return CountText(share * 100) + "\xc2\xa0%"; };
  for (const Call& call : kCalls) {
    std::vector<ChartPoint> points = ShareCurve(PartOf(distributions, call.key));
    if (points.size() < 2) continue;
    // One step is a vertical line, which says as much.
    chart.series.push_back({call.name, call.style, false, std::move(points)});
    chart.series.back().plain = true;
  }
  if (chart.series.empty()) return "";
  return LineFigure({"Distribution of latencies",
                     "The height at a time is the share of calls that were done by then.", true},
                    chart);
}

std::string LatencyBars(const Document& document) {
  if (!LatencyCurves(document).empty()) return "";
  BarChart bars;
  for (const Call& call : kCalls) {
    const std::optional<Percentiles> times = PercentilesOf(document, call.key);
    if (!times) continue;
    const auto bar = [&call](const char* name, double seconds) {
      const std::string text = SecondsText(seconds);
      return Bar{name, text, {{seconds, call.style, text}}};
    };
    bars.groups.push_back({call.name, {bar("median", times->p50_s), bar("99 %", times->p99_s)}});
  }
  return bars.groups.empty() ? "" : BarFigure({"Latencies", "", false}, bars, {});
}

std::string LatencyTable(const Document& document) {
  Table table;
  table.columns = {{"call", false}, {"calls"}, {"median"}, {"99 %"}, {"longest"}};
  for (const Call& call : kCalls) {
    const std::optional<Percentiles> times = PercentilesOf(document, call.key);
    if (!times) continue;
    const double calls = NumberOr(document, call.key + std::string("_calls"), std::nan(""));
    table.rows.push_back({{call.name, 0, ""},
                          {CountText(calls), calls, ""},
                          {SecondsText(times->p50_s), times->p50_s, ""},
                          {SecondsText(times->p99_s), times->p99_s, ""},
                          {SecondsText(times->max_s), times->max_s, ""}});
  }
  return table.rows.empty() ? "" : TableMarkup(table);
}

}  // namespace terrace::replay
