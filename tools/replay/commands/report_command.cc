#include <cerrno>
#include <cstring>
#include <filesystem>
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
  const Status apart = CheckAnotherFile("--html", options.html, "--json", options.json);
  if (!apart.ok()) return UsageError(apart.message());
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

Status CheckAnotherFile(const std::string& out_option, const std::string& out,
                        const std::string& other_option, const std::string& other) {
  if (out.empty() || other.empty() || out == "-" || other == "-") return Status::Ok();
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status there = fs::status(out, error);
  if (fs::exists(there) && !fs::is_regular_file(there)) return Status::Ok();
  bool same = fs::equivalent(out, other, error) && !error;
  if (!fs::exists(there)) {
    // Neither is there yet: by name.
    const fs::path path = fs::weakly_canonical(out, error);
    std::error_code other_error;
    same = path == fs::weakly_canonical(other, other_error) && !error && !other_error;
  }
  if (!same) return Status::Ok();
  return Status::Invalid(out_option + ": " + out + " is the file of " + other_option +
                         ", which it would overwrite");
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
