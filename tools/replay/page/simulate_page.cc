#include <algorithm>
#include <array>
#include <cmath>

#include "tools/replay/page/chart.h"
#include "tools/replay/page/pages.h"
#include "tools/replay/page/sweep.h"

namespace terrace::replay {
namespace {

using Measure = double SweepPoint::*;

/// A policy looks the same in every report.
ChartStyle StyleOf(const Sweep& sweep, const std::string& policy) {
  constexpr std::array<std::pair<std::string_view, ChartStyle>, 8> kKnown{{{"optimal", 0},
                                                                           {"lru", 1},
                                                                           {"terrace", 2},
                                                                           {"s3fifo", 3},
                                                                           {"sieve", 4},
                                                                           {"lfu", 5},
                                                                           {"leaf-lru", 6},
                                                                           {"fifo", 7}}};
  const auto known =
      std::ranges::find(kKnown, policy, &std::pair<std::string_view, ChartStyle>::first);
  if (known != kKnown.end()) return known->second;
  const auto place = std::ranges::find(sweep.policies(), policy) - sweep.policies().begin();
  return 1 + static_cast<ChartStyle>(place) % 7;
}

std::string NoteOf(const SweepPoint& point, const std::string& value) {
  return point.policy + ", " + CapacityText(point) + " (" + CountText(point.capacity_blocks) +
         " blocks)\n" + value;
}

/// A measure that grows with the capacity, or falls: one line per policy.
struct Curve {
  FigureFrame frame;
  std::string unit;  ///< title of the axis of values
  std::function<std::string(double)> format;
  std::function<double(const SweepPoint&)> value;
  bool optimum = true;  ///< whether the optimum gets a line, too
};

ChartAxis CapacityAxis(const Sweep& sweep) {
  ChartAxis axis;
  axis.logarithmic = true;
  const bool shares = std::ranges::all_of(
      sweep.points(), [](const SweepPoint& point) { return std::isfinite(point.capacity_share); });
  axis.title = shares ? "capacity, share of the distinct blocks" : "capacity, blocks";
  for (const double capacity : sweep.capacities()) {
    const auto point = std::ranges::find(sweep.points(), capacity, &SweepPoint::capacity_blocks);
    axis.ticks.push_back(
        {capacity, shares ? CapacityText(*point) : CountText(capacity),
         std::isfinite(point->capacity_gb) ? BytesText(point->capacity_gb * 1e9) : ""});
  }
  return axis;
}

std::string CurveBars(const Sweep& sweep, const Curve& curve) {
  BarChart bars;
  BarGroup group;
  group.name = curve.unit;
  for (const SweepPoint& point : sweep.points()) {
    if (!curve.optimum && point.policy == kOptimalPolicy) continue;
    const double value = curve.value(point);
    const std::string text = curve.format(value);
    group.bars.push_back(
        {point.policy, text, {{value, StyleOf(sweep, point.policy), NoteOf(point, text)}}});
  }
  bars.groups.push_back(std::move(group));
  return BarFigure(curve.frame, bars, {});
}

std::string CurveMarkup(const Sweep& sweep, const Curve& curve, std::optional<ChartLevel> level) {
  if (std::ranges::none_of(sweep.points(), [&curve](const SweepPoint& point) {
        return std::isfinite(curve.value(point));
      })) {
    return "";
  }
  // A line needs two capacities.
  if (sweep.capacities().size() < 2) return CurveBars(sweep, curve);
  LineChart chart;
  chart.x = CapacityAxis(sweep);
  chart.y.title = curve.unit;
  chart.y.format = curve.format;
  chart.level = std::move(level);
  for (const std::string& policy : sweep.policies()) {
    if (!curve.optimum && policy == kOptimalPolicy) continue;
    ChartSeries series;
    series.name = policy;
    series.style = StyleOf(sweep, policy);
    series.reference = policy == kOptimalPolicy;
    for (const SweepPoint& point : sweep.points()) {
      if (point.policy != policy) continue;
      const double value = curve.value(point);
      series.points.push_back({point.capacity_blocks, value, NoteOf(point, curve.format(value))});
    }
    chart.series.push_back(std::move(series));
  }
  return LineFigure(curve.frame, chart);
}

std::function<double(const SweepPoint&)> ValueOf(Measure measure) {
  return [measure](const SweepPoint& point) { return point.*measure; };
}

std::optional<ChartLevel> InfiniteLevel(const Document& document, std::string_view key) {
  const std::optional<double> ratio = NumberOf(document, key);
  if (!ratio) return std::nullopt;
  return ChartLevel{*ratio, "infinite cache: " + PercentText(*ratio)};
}

std::string PointsBelow(double points) {
  return PointsText(points).substr(points >= 0.005 ? 1 : 0);
}

std::string AxisPercent(double ratio) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g\xc2\xa0%%", ratio * 100);
  return text;
}

std::string HitFigures(const Document& document, const Sweep& sweep) {
  std::string out = HeadingMarkup(
      "Hit ratio against capacity",
      "Only the leading blocks of a request that are all there count as hits, as an engine needs "
      "them." +
          std::string(sweep.HasOptimum()
                          ? " The bold line is the optimum: the best that any policy could do with "
                            "that capacity if it knew the future."
                          : ""));
  out += "<div class=\"charts\">\n";
  out += CurveMarkup(sweep,
                     {{"Blocks hit", "", true},
                      "blocks hit, of those looked up",
                      AxisPercent,
                      ValueOf(&SweepPoint::block_hit_ratio)},
                     InfiniteLevel(document, "infinite_block_hit_ratio"));
  if (sweep.HasOptimum()) {
    out += CurveMarkup(
        sweep,
        {{"Distance to the optimum", "Percentage points of blocks that better eviction could win.",
          true},
         "points below the optimum",
         FigureText,
         [&sweep](const SweepPoint& point) {
           const SweepPoint* optimum = sweep.Find(kOptimalPolicy, point.capacity_blocks);
           return optimum == nullptr ? std::nan("")
                                     : (optimum->block_hit_ratio - point.block_hit_ratio) * 100;
         },
         false},
        std::nullopt);
  }
  out += CurveMarkup(sweep,
                     {{"Tokens hit", "Of the tokens of all prompts."},
                      "tokens hit",
                      AxisPercent,
                      ValueOf(&SweepPoint::token_hit_ratio)},
                     InfiniteLevel(document, "infinite_token_hit_ratio"));
  out += CurveMarkup(sweep,
                     {{"FLOP saved",
                       "Late tokens of a prompt cost more to compute than early "
                       "ones, and are hit less."},
                      "FLOP of prefill saved",
                      AxisPercent,
                      ValueOf(&SweepPoint::flop_hit_ratio)},
                     std::nullopt);
  return out + "</div>\n";
}

std::string WorthFigures(const Document& document, const Sweep& sweep) {
  const std::string gpu = TextOf(document, "gpu");
  std::string out = HeadingMarkup(
      "What it is worth",
      "Computed for " + TextOf(document, "model") +
          (gpu.empty() ? "" : " on " + CountText(NumberOr(document, "gpus", 1)) + " × " + gpu) +
          ", not measured.");
  out += "<div class=\"charts\">\n";
  std::optional<ChartLevel> total;
  out += CurveMarkup(sweep,
                     {{"GPU-seconds saved",
                       "Of " + FigureText(NumberOr(document, "gpu_seconds_total", std::nan(""))) +
                           " to compute every prompt."},
                      "GPU-seconds",
                      FigureText,
                      ValueOf(&SweepPoint::gpu_seconds_saved)},
                     total);
  out += CurveMarkup(sweep,
                     {{"Time to first token, mean", "Hits loaded, the rest computed."},
                      "time",
                      [](double ms) { return SecondsText(ms / 1e3); },
                      ValueOf(&SweepPoint::ttft_ms_mean_with)},
                     std::nullopt);
  out += CurveMarkup(sweep,
                     {{"Written", "What the policy writes to hold these hits: the wear of flash."},
                      "written",
                      [](double gb) { return BytesText(gb * 1e9); },
                      ValueOf(&SweepPoint::gb_written)},
                     std::nullopt);
  out += CurveMarkup(sweep,
                     {{"Written for a GPU-second saved", "Lower is better."},
                      "written for a GPU-second",
                      [](double gb) { return BytesText(gb * 1e9); },
                      ValueOf(&SweepPoint::gb_written_per_gpu_second_saved)},
                     std::nullopt);
  return out + "</div>\n";
}

double Saved(const SweepPoint& point, const ReportPrices& prices) {
  return prices.GpuDollars(point.gpu_seconds_saved) -
         (std::isfinite(point.gb_written) ? prices.FlashDollars(point.gb_written * 1e9) : 0);
}

std::string BestTable(const Sweep& sweep, const ReportPrices& prices) {
  Table table;
  table.columns = {{"capacity"},          {"size"},    {"best policy", false},
                   {"blocks hit"},        {"optimum"}, {"points below"},
                   {"GPU-seconds saved"}, {"written"}, {"money saved"}};
  for (const double capacity : sweep.capacities()) {
    const SweepPoint* best = sweep.Best(capacity);
    if (best == nullptr) continue;
    const SweepPoint* optimum = sweep.Find(kOptimalPolicy, capacity);
    const double most = optimum == nullptr ? std::nan("") : optimum->block_hit_ratio;
    const double below = (most - best->block_hit_ratio) * 100;
    table.rows.push_back({{CapacityText(*best), capacity, ""},
                          {BytesText(best->capacity_gb * 1e9), capacity, "quiet"},
                          {best->policy, 0, "good"},
                          {PercentText(best->block_hit_ratio), best->block_hit_ratio, ""},
                          {PercentText(most), most, "quiet"},
                          {PointsBelow(below), below, ""},
                          {FigureText(best->gpu_seconds_saved), best->gpu_seconds_saved, ""},
                          {BytesText(best->gb_written * 1e9), best->gb_written, ""},
                          {DollarsText(Saved(*best, prices)), Saved(*best, prices), ""}});
  }
  if (table.rows.empty()) return "";
  return "<h3>The best policy at each capacity, by blocks hit</h3>\n" + TableMarkup(table);
}

std::string AllResults(const Sweep& sweep, const ReportPrices& prices) {
  Table table;
  table.columns = {{"policy", false}, {"capacity"},   {"blocks"},         {"blocks hit"},
                   {"tokens hit"},    {"FLOP saved"}, {"blocks written"}, {"written"},
                   {"GPU-s saved"},   {"per GPU-s"},  {"money saved"},    {"first token mean"},
                   {"p50"},           {"p99"},        {"references/s"}};
  for (const SweepPoint& point : sweep.points()) {
    const double saved = Saved(point, prices);
    table.rows.push_back(
        {{point.policy, 0, ""},
         {CapacityText(point), point.capacity_blocks, ""},
         {CountText(point.capacity_blocks), point.capacity_blocks, "quiet"},
         {PercentText(point.block_hit_ratio), point.block_hit_ratio, ""},
         {PercentText(point.token_hit_ratio), point.token_hit_ratio, ""},
         {PercentText(point.flop_hit_ratio), point.flop_hit_ratio, ""},
         {CountText(point.blocks_written), point.blocks_written, ""},
         {BytesText(point.gb_written * 1e9), point.gb_written, ""},
         {FigureText(point.gpu_seconds_saved), point.gpu_seconds_saved, ""},
         {BytesText(point.gb_written_per_gpu_second_saved * 1e9),
          point.gb_written_per_gpu_second_saved, ""},
         {DollarsText(saved), saved, ""},
         {SecondsText(point.ttft_ms_mean_with / 1e3), point.ttft_ms_mean_with, ""},
         {SecondsText(point.ttft_ms_p50_with / 1e3), point.ttft_ms_p50_with, ""},
         {SecondsText(point.ttft_ms_p99_with / 1e3), point.ttft_ms_p99_with, ""},
         {CountText(point.references_per_second), point.references_per_second, "quiet"}});
  }
  return HeadingMarkup("All results", "") + TableMarkup(table);
}

/// Where most is decided: the capacity nearest to a tenth of the distinct blocks, or the middle.
const SweepPoint* Typical(const Sweep& sweep) {
  const SweepPoint* typical = nullptr;
  double nearest = 0;
  for (const double capacity : sweep.capacities()) {
    const SweepPoint* best = sweep.Best(capacity);
    if (best == nullptr) continue;
    const double share = std::isfinite(best->capacity_share) ? best->capacity_share : 0.1;
    const double distance = std::abs(std::log(std::max(share, 1e-9) / 0.1));
    if (typical == nullptr || distance < nearest) {
      typical = best;
      nearest = distance;
    }
  }
  return typical;
}

std::string Summary(const Document& document, const Sweep& sweep, const ReportPrices& prices) {
  const SweepPoint* best = Typical(sweep);
  if (best == nullptr) return "";
  std::string text = "With room for " + CapacityText(*best) +
                     (std::isfinite(best->capacity_share) ? " of the distinct blocks" : "");
  if (std::isfinite(best->capacity_gb)) text += " (" + BytesText(best->capacity_gb * 1e9) + ")";
  text += ", " + best->policy + " hits " + PercentText(best->block_hit_ratio) + " of the blocks";
  const SweepPoint* optimum = sweep.Find(kOptimalPolicy, best->capacity_blocks);
  if (optimum != nullptr && std::isfinite(optimum->block_hit_ratio)) {
    const double below = (optimum->block_hit_ratio - best->block_hit_ratio) * 100;
    text += ", " + PointsBelow(below) + " points below the optimum";
  }
  text += ".";
  if (std::isfinite(best->gpu_seconds_saved)) {
    text += " It saves " + FigureText(best->gpu_seconds_saved) + " GPU-seconds";
    const double total = NumberOr(document, "gpu_seconds_total", 0);
    if (total > 0) text += " (" + AxisPercent(best->gpu_seconds_saved / total) + " of all prefill)";
    text += ", worth " + DollarsText(prices.GpuDollars(best->gpu_seconds_saved));
    if (std::isfinite(best->gb_written)) {
      text += ", and writes " + BytesText(best->gb_written * 1e9) + ", which wears flash by " +
              DollarsText(prices.FlashDollars(best->gb_written * 1e9));
    }
    text += ".";
  }
  return "<p class=\"summary\">" + Escape(text) + "</p>\n";
}

std::string Headlines(const Document& document) {
  const auto number = [&document](std::string_view key) {
    return NumberOr(document, key, std::nan(""));
  };
  return HeadlinesMarkup(
      {{CountText(number("requests")), "requests",
        std::isfinite(number("duration_s")) ? "over " + SecondsText(number("duration_s")) : ""},
       {CountText(number("block_references")), "blocks looked up",
        CountText(number("distinct_blocks")) + " distinct"},
       {PercentText(number("infinite_block_hit_ratio")), "blocks hit, infinite cache",
        "all that comes back at all"},
       {BytesText(number("distinct_blocks") * number("block_bytes")), "all distinct blocks",
        BytesText(number("block_bytes")) + " a block of " + CountText(number("block_tokens")) +
            " tokens"}});
}

std::string TierFigures(const Document& document) {
  const Document& tiers = PartOf(document, "tiers");
  Table table;
  table.columns = {{"policy", false}, {"DRAM blocks"},      {"NVMe blocks"},  {"blocks hit"},
                   {"tokens hit"},    {"hits in DRAM"},     {"hits on NVMe"}, {"written"},
                   {"GPU-s saved"},   {"first token, mean"}};
  BarChart bars;
  bars.groups.emplace_back();
  // One pair of tiers, or one for each policy.
  const Document& list = tiers.is_object() ? Document::array({tiers}) : tiers;
  for (const Document& item : list) {
    const auto number = [&item](std::string_view key) { return NumberOr(item, key, std::nan("")); };
    const double dram = number("hits_dram");
    const double nvme = number("hits_nvme");
    if (!std::isfinite(dram) || !std::isfinite(nvme)) continue;
    const double missed = std::max(NumberOr(document, "block_references", 0) - dram - nvme, 0.0);
    const std::string policy = TextOf(item, "policy").empty() ? "blocks" : TextOf(item, "policy");
    const auto part = [](double blocks, ChartStyle style, const char* name) {
      return BarPart{blocks, style, name + (": " + CountText(blocks))};
    };
    bars.groups.back().bars.push_back(
        {policy,
         PercentText(number("block_hit_ratio")),
         {part(dram, 1, "DRAM"), part(nvme, 5, "NVMe"), part(missed, 8, "missed")}});
    const auto count = [&number](std::string_view key) {
      return Cell{CountText(number(key)), number(key), ""};
    };
    const auto ratio = [&number](std::string_view key) {
      return Cell{PercentText(number(key)), number(key), ""};
    };
    table.rows.push_back(
        {{policy, 0, ""},
         count("dram_blocks"),
         count("nvme_blocks"),
         ratio("block_hit_ratio"),
         ratio("token_hit_ratio"),
         count("hits_dram"),
         count("hits_nvme"),
         {BytesText(number("gb_written") * 1e9), number("gb_written"), ""},
         {FigureText(number("gpu_seconds_saved")), number("gpu_seconds_saved"), ""},
         {SecondsText(number("ttft_ms_mean_with") / 1e3), number("ttft_ms_mean_with"), ""}});
  }
  if (table.rows.empty()) return "";
  return HeadingMarkup("Two tiers", "DRAM in front of NVMe, as the daemon keeps them.") +
         "<div class=\"charts\">\n" +
         BarFigure({"Blocks looked up, by where they came from", "", true}, bars,
                   {{"DRAM", 1, true}, {"NVMe", 5, true}, {"missed", 8, true}}) +
         "</div>\n" + TableMarkup(table);
}

}  // namespace

std::string SimulatePage(const Document& document, const ReportPrices& prices) {
  const Sweep sweep(document);
  const std::string trace = TextOf(document, "trace");
  std::string about = CountText(static_cast<double>(sweep.policies().size())) + " policies at " +
                      CountText(static_cast<double>(sweep.capacities().size())) + " capacities";
  const std::string model = TextOf(document, "model");
  if (!model.empty()) about += ", KV of " + model;
  std::string body =
      HeaderMarkup("terrace-replay simulate", trace.empty() ? "Simulation" : trace, about);
  const std::string tiers = TierFigures(document);
  if (sweep.points().empty() && tiers.empty()) {
    body += BannerMarkup("bad", "This simulation has no results", {});
  }
  body += Summary(document, sweep, prices) + Headlines(document);
  if (!sweep.points().empty()) {
    body += BestTable(sweep, prices) + HitFigures(document, sweep) + WorthFigures(document, sweep);
  }
  body += tiers;
  if (!sweep.points().empty()) body += AllResults(sweep, prices);
  body += HeadingMarkup("Settings and totals", "") + FactsMarkup(ScalarFacts(document));
  return PageMarkup((trace.empty() ? "Simulation" : trace) + " – simulated",
                    body + FooterMarkup(prices));
}

}  // namespace terrace::replay
