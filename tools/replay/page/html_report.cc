#include "tools/replay/page/html_report.h"

#include "tools/replay/page/markup.h"
#include "tools/replay/page/pages.h"

namespace terrace::replay {

std::string HtmlReport(const Document& document, std::optional<double> gpu_hour_dollars) {
  ReportPrices prices;
  const double made_with = NumberOr(document, "gpu_hour_price", prices.gpu_hour_dollars);
  prices.gpu_hour_dollars = gpu_hour_dollars.value_or(made_with);
  const Result<DocumentKind> kind = KindOf(document);
  if (!kind.ok()) {
    return PageMarkup("No report", BannerMarkup("bad", "This is no report of terrace-replay",
                                                {kind.status().message()}));
  }
  return *kind == DocumentKind::kRun ? RunPage(document, prices) : SimulatePage(document, prices);
}

std::string HeaderMarkup(const std::string& kind, const std::string& title,
                         const std::string& about) {
  return "<header><p class=\"kind\">" + Escape(kind) + "</p><h1>" + Escape(title) +
         "</h1><p class=\"about\">" + Escape(about) + "</p></header>\n";
}

std::string HeadingMarkup(const std::string& title, const std::string& text) {
  return "<h2>" + Escape(title) + "</h2>\n" +
         (text.empty() ? "" : "<p class=\"quiet\">" + Escape(text) + "</p>\n");
}

std::string PriceText(const ReportPrices& prices) {
  return DollarsText(prices.gpu_hour_dollars) + " a GPU-hour and " +
         DollarsText(prices.flash_dollars_per_tb_written) + " a TB written to flash (assumptions)";
}

std::string FooterMarkup(const ReportPrices& prices) {
  return "<footer>Made by terrace-replay. GPU-seconds are computed from the model's FLOP and "
         "published rates of the GPU, not measured; money at " +
         Escape(PriceText(prices)) +
         ". This page is complete in itself and loads nothing.</footer>\n";
}

std::vector<Fact> ScalarFacts(const Document& object) {
  std::vector<Fact> facts;
  if (!object.is_object()) return facts;
  for (const auto& [key, value] : object.items()) {
    if (value.is_number()) {
      facts.push_back({key, FigureText(value.get<double>())});
    } else if (value.is_string()) {
      facts.push_back({key, value.get<std::string>()});
    } else if (value.is_boolean()) {
      facts.push_back({key, value.get<bool>() ? "yes" : "no"});
    }
  }
  return facts;
}

}  // namespace terrace::replay
