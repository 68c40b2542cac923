#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "tools/replay/commands/commands.h"
#include "tools/replay/page/html_report.h"

namespace terrace::replay {
namespace {

struct ReportOptions {
  std::string json;
  std::string html;
  std::optional<double> gpu_hour_dollars;
};

int Render(const ReportOptions& options) {
  const Result<Document> document = ReadDocument(options.json);
  if (!document.ok()) return UsageError(document.status().message());
  const Status written = WriteText(options.html, HtmlReport(*document, options.gpu_hour_dollars));
  if (!written.ok()) return UsageError(written.message());
  std::cout << options.html << '\n';
  return kExitOk;
}

}  // namespace

Status WriteText(const std::string& path, const std::string& text) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (file) return Status::Ok();
  return Status(StatusCode::kIo, "cannot write " + path + ": " + std::strerror(errno));
}

void AddPriceOption(CLI::App& command, std::optional<double>& gpu_hour_dollars) {
  command
      .add_option("--gpu-hour-price", gpu_hour_dollars,
                  "dollars that an hour of one GPU costs, for the money in the HTML report; "
                  "default: what the report was made with, or 2")
      ->check(CLI::Range(0.0, 1e6));
}

void AddReportCommand(CLI::App& app, Chosen& chosen) {
  const auto options = std::make_shared<ReportOptions>();
  CLI::App* command =
      app.add_subcommand("report", "draw a report of run or simulate as one HTML page");
  command->add_option("--json", options->json, "the report, as run or simulate wrote it")
      ->required();
  command->add_option("--html", options->html, "file that is written")->required();
  AddPriceOption(*command, options->gpu_hour_dollars);
  command->callback([options, &chosen] { chosen = [options] { return Render(*options); }; });
}

}  // namespace terrace::replay
