// The pages of html_report.h, one for each kind of document, and what they share.
// REQUIRES of documents: KindOf says that they are of this kind. Thread: any; nothing is kept.
#pragma once

#include <string>
#include <vector>

#include "tools/replay/page/html_report.h"
#include "tools/replay/page/markup.h"

namespace terrace::replay {

[[nodiscard]] std::string RunPage(const Document& document, const ReportPrices& prices);
[[nodiscard]] std::string SimulatePage(const Document& document, const ReportPrices& prices);

// Texts are not escaped yet.
[[nodiscard]] std::string HeaderMarkup(const std::string& kind, const std::string& title,
                                       const std::string& about);
[[nodiscard]] std::string HeadingMarkup(const std::string& title, const std::string& text);
[[nodiscard]] std::string FooterMarkup(const ReportPrices& prices);
[[nodiscard]] std::string PriceText(const ReportPrices& prices);
/// Every number, text and flag of the object, in its order.
[[nodiscard]] std::vector<Fact> ScalarFacts(const Document& object);

}  // namespace terrace::replay
