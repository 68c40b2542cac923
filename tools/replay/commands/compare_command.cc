#include <iostream>
#include <memory>
#include <string>

#include "tools/replay/commands/commands.h"
#include "tools/replay/page/compare_views.h"

namespace terrace::replay {
namespace {

struct CompareOptions {
  std::string a;
  std::string b;
  bool json = false;
  std::string html;  // file; empty: none
};

int RunCompare(const CompareOptions& options) {
  Status apart = CheckAnotherFile("--html", options.html, "A", options.a);
  if (apart.ok()) apart = CheckAnotherFile("--html", options.html, "B", options.b);
  if (!apart.ok()) return UsageError(apart.message());
  const Result<Document> a = ReadDocument(options.a);
  if (!a.ok()) return UsageError(a.status().message());
  const Result<Document> b = ReadDocument(options.b);
  if (!b.ok()) return UsageError(b.status().message());
  const Comparison comparison = Compare(*a, *b);
  if (!options.html.empty()) {
    const Status written = WriteText(options.html, ComparePage(comparison, options.a, options.b));
    if (!written.ok()) return UsageError(written.message());
  }
  if (options.json) {
    std::cout << CompareJson(comparison, options.a, options.b)
                     .dump(2, ' ', false, Document::error_handler_t::replace)
              << '\n';
  } else {
    std::cout << CompareText(comparison, options.a, options.b);
  }
  return kExitOk;
}

}  // namespace

void AddCompareCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand(
      "compare", "show two reports of run or simulate side by side: is B better than A?");
  command->add_option("a", options->a, "the report to compare with")->required();
  command->add_option("b", options->b, "the report that is judged")->required();
  command->add_flag("--json", options->json, "as JSON");
  command->add_option("--html", options->html, "file that an HTML page is written to, too");
  command->callback([options, &chosen] { chosen = [options] { return RunCompare(*options); }; });
}

}  // namespace terrace::replay
