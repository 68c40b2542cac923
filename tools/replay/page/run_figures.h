// The charts of a run's page that are drawn from series: "timeline" and "latency_us" of the
// document. Each is empty text when the document has no such series (reports of older versions),
// and bars of percentiles stand in for distributions.
// Thread: any; nothing is kept.
#pragma once

#include <string>

#include "tools/replay/page/html_report.h"

namespace terrace::replay {

/// Dollars; NaN where the document has not what it takes.
struct RunMoney {
  double total = 0;        ///< of GPU time, had all been computed
  double saved = 0;        ///< of GPU time
  double flash = 0;        ///< of flash worn
  double flash_bytes = 0;  ///< written, at the real model's size
};
[[nodiscard]] RunMoney MoneyOf(const Document& document, const ReportPrices& prices);

[[nodiscard]] std::string HitsOverTime(const Document& document);
[[nodiscard]] std::string BytesOverTime(const Document& document);
[[nodiscard]] std::string LatencyCurves(const Document& document);
/// Only where there are no distributions.
[[nodiscard]] std::string LatencyBars(const Document& document);
[[nodiscard]] std::string LatencyTable(const Document& document);

}  // namespace terrace::replay
