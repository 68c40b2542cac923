// terrace-bench: figures as ratios to a limit or a peer measured in the same run.
#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "tools/bench/paths.h"
#include "tools/common/byte_size.h"

namespace {

using terrace::bench::BenchOptions;
using terrace::bench::Figure;
using Bench = std::function<std::vector<Figure>(const BenchOptions&)>;

constexpr std::uint64_t kLogBytesMin = 2ULL << 30;
constexpr std::uint64_t kLogBytesMax = 1ULL << 40;

/// Sets `bytes`; the reason why not, or nothing.
std::string ReadLogBytes(const std::string& text, std::uint64_t& bytes) {
  const terrace::Result<std::uint64_t> size = terrace::ParseByteSize(text);
  if (!size.ok()) return size.status().message();
  if (*size < kLogBytesMin || *size > kLogBytesMax) return text + " is not 2GiB to 1TiB";
  bytes = *size;
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, Bench> paths = {{"dram", terrace::bench::BenchDram},
                                              {"tcp", terrace::bench::BenchTcp},
                                              {"lend", terrace::bench::BenchLend},
                                              {"match", terrace::bench::BenchMatch},
                                              {"index", terrace::bench::BenchIndex},
                                              {"idle", terrace::bench::BenchIdle},
                                              {"events", terrace::bench::BenchEvents},
                                              {"nvme", terrace::bench::BenchNvme},
                                              {"nvme-mixed", terrace::bench::BenchNvmeMixed},
                                              {"plan", terrace::bench::BenchPlan},
                                              {"recovery", terrace::bench::BenchRecovery},
                                              {"fanout", terrace::bench::BenchFanout},
                                              {"scatter", terrace::bench::BenchScatter},
                                              {"gather", terrace::bench::BenchGather},
#if TERRACE_CUDA
                                              {"gather-gpu", terrace::bench::BenchGatherGpu},
#endif
                                              {"hbm", terrace::bench::BenchHbm},
                                              {"handoff", terrace::bench::BenchHandoff}};
  CLI::App app("terrace-bench: measures one path of Terrace against a limit taken in the same run");
  std::string path;
  bool json = false;
  BenchOptions options;
  app.add_option("path", path,
                 "dram, tcp, lend, fanout, scatter, gather, handoff, match, index, idle, events, "
                 "nvme, nvme-mixed, plan, recovery, hbm or, in builds with CUDA, gather-gpu")
      ->required()
      ->check(CLI::IsMember(&paths));
  app.add_flag("--json", json, "print JSON instead of a table");
  app.add_option("--rounds", options.rounds, "alternating rounds of limit and value")
      ->check(CLI::Range(1, 1000));
  app.add_option(
         "--folder", options.folder,
         "nvme, nvme-mixed, plan, recovery: where they make a folder of their own, which is "
         "removed at the end; its file system is what is measured")
      ->check(CLI::ExistingDirectory);
  app.add_option_function<std::string>(
      "--log-bytes",
      [&options](const std::string& text) {
        const std::string wrong = ReadLogBytes(text, options.log_bytes);
        if (!wrong.empty()) throw CLI::ValidationError("--log-bytes", wrong);
      },
      "nvme, nvme-mixed: the log, 2GiB to 1TiB (8GiB); nvme needs twice that in the folder");
  CLI11_PARSE(app, argc, argv);

  const std::vector<Figure> figures = paths.at(path)(options);
  for (const Figure& figure : figures) {
    if (figure.rounds == 0) {
      std::cerr << "terrace-bench: " << figure.name << ": no round succeeded"
                << (figure.note.empty() ? "" : ": " + figure.note) << "\n";
      return 1;
    }
  }
  std::cout << (json ? terrace::bench::ToJson(path, figures) + "\n"
                     : terrace::bench::ToTable(path, figures));
  return 0;
}
