// HtmlReport: a report as one HTML page that needs nothing else: no network, no other file, and no
// script to be read. For those who decide a tier's size or a policy, and for those they send it to.
//
// Model. The page is made of the JSON document alone (document.h), so that an old report can be
// drawn again; what the document lacks is left out. Money is computed here, from two prices:
//     saved = GPU-seconds saved / 3600 * price of a GPU-hour - bytes written / 1e12 * price of a TB
// with flash at an assumed $100 per TB of capacity that lives for 1 drive write per day over 5
// years (1,825 TB written per TB): $0.055 per TB written. Bytes of a scaled-down run count at the
// real model's size. The page names both as assumptions.
// Thread: any; nothing is kept. Never fails: a document of another kind becomes a page that says
// so.
#pragma once

#include <optional>
#include <string>

#include "tools/replay/report/document.h"

namespace terrace::replay {

struct ReportPrices {
  double gpu_hour_dollars = 2.0;
  double flash_dollars_per_tb_written = 0.055;

  [[nodiscard]] double GpuDollars(double gpu_seconds) const noexcept {
    return gpu_seconds / 3600 * gpu_hour_dollars;
  }
  [[nodiscard]] double FlashDollars(double bytes_written) const noexcept {
    return bytes_written / 1e12 * flash_dollars_per_tb_written;
  }
};

/// gpu_hour_dollars: empty for what the document was made with ("gpu_hour_price"), or the default.
[[nodiscard]] std::string HtmlReport(const Document& document,
                                     std::optional<double> gpu_hour_dollars = std::nullopt);

}  // namespace terrace::replay
