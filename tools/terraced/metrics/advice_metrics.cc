// AppendMissMetrics and AppendAdviceMetrics of metrics.h.
#include <string>

#include "tools/terraced/metrics/metric_appender.h"
#include "tools/terraced/metrics/metrics.h"

namespace terrace {

namespace {

// 0.25, 1, 4: scales have two decimals at most.
std::string ScaleText(double scale) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", scale);
  return text;
}

/// What tells one simulated size from another; the HBM only where there is some.
Appender Sized(const Appender& all, const CurvePoint& point) {
  Appender sized =
      all.With("dram", ScaleText(point.dram_scale)).With("nvme", ScaleText(point.nvme_scale));
  const bool hbm = point.hbm_bytes > 0 || point.hbm_scale != 1;
  return hbm ? sized.With("hbm", ScaleText(point.hbm_scale)) : sized;
}

void AppendFigures(const CurveFigures& figures, Appender window) {
  window.Add(kAdviceSeconds, figures.seconds);
  window.Add(kAdviceReferences, figures.references);
  window.Add(kAdviceReferenceBytes, figures.reference_bytes);
  window.Add(kAdviceHits, figures.hits);
  window.Add(kAdviceSampled, figures.sampled);
  for (const CurveFigures::PointFigures& point : figures.points) {
    Appender size = Sized(window, point.point);
    size.Add(kAdvicePointHits, point.hits);
    size.Add(kAdvicePointDramHits, point.dram_hits);
    size.Add(kAdvicePointVariance, point.variance);
  }
}

}  // namespace

void AppendMissMetrics(const CacheCounters& counters, const MetricLabels& labels,
                       std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  Appender gets = all.With("request", "get");
  Appender matches = all.With("request", "match");
  for (std::size_t reason = 1; reason < kMissReasonCount; ++reason) {
    const std::string_view name = MissReasonName(static_cast<MissReason>(reason));
    gets.With("reason", name).Add(kMisses, counters.get_missed[reason]);
    matches.With("reason", name).Add(kMisses, counters.match_missed[reason]);
  }
  std::uint64_t so_far = 0;
  std::uint64_t seconds = 1;
  for (std::size_t bucket = 0; bucket < kMissAges; ++bucket) {
    so_far += counters.miss_ages[bucket].load(std::memory_order_relaxed);
    const bool last = bucket + 1 == kMissAges;
    all.With("le", last ? "+Inf" : std::to_string(seconds)).Add(kMissAgeBucket, so_far);
    seconds *= 4;
  }
  const auto milliseconds = counters.miss_age_ms.load(std::memory_order_relaxed);
  all.Add(kMissAgeSum, static_cast<double>(milliseconds) * 1e-3);
  all.Add(kMissAgeCount, so_far);
}

void AppendAdviceMetrics(const MissRatioCurve& curve, std::uint64_t advice_bytes,
                         const MetricLabels& labels, std::vector<MetricSample>& samples) {
  Appender all(labels, samples);
  const CurveFigures figures = curve.Read(false);
  AppendFigures(figures, all.With("window", "start"));
  AppendFigures(curve.Read(true), all.With("window", "hour"));
  for (const CurveFigures::PointFigures& point : figures.points) {
    Sized(all, point.point)
        .Add(kAdvicePointUnfilled, static_cast<std::uint64_t>(point.filled ? 0 : 1));
  }
  all.Add(kAdviceSampling, 1 / static_cast<double>(std::uint64_t{1} << curve.Shift()));
  all.Add(kAdviceMemory, advice_bytes);
  all.Add(kAdviceCpu, static_cast<double>(curve.SpentNanos()) * 1e-9);
}

}  // namespace terrace
