// terrace-bench: figures as ratios to a limit or a peer measured in the same run.
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>

#include "tools/bench/paths.h"

int main(int argc, char** argv) {
  using terrace::bench::BenchOptions;
  CLI::App app("terrace-bench: measures one path of Terrace against a limit taken in the same run");
  std::string path;
  bool json = false;
  BenchOptions options;
  app.add_option("path", path, "dram, tcp, match, index or idle")
      ->required()
      ->check(CLI::IsMember({"dram", "tcp", "match", "index", "idle"}));
  app.add_flag("--json", json, "print JSON instead of a table");
  app.add_option("--rounds", options.rounds, "alternating rounds of limit and value")
      ->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);

  std::vector<terrace::bench::Figure> figures;
  if (path == "dram") figures = terrace::bench::BenchDram(options);
  if (path == "tcp") figures = terrace::bench::BenchTcp(options);
  if (path == "match") figures = terrace::bench::BenchMatch(options);
  if (path == "index") figures = terrace::bench::BenchIndex(options);
  if (path == "idle") figures = terrace::bench::BenchIdle(options);
  for (const auto& figure : figures) {
    if (figure.rounds == 0) {
      std::cerr << "terrace-bench: " << figure.name << ": no round succeeded\n";
      return 1;
    }
  }
  std::cout << (json ? terrace::bench::ToJson(path, figures) + "\n"
                     : terrace::bench::ToTable(path, figures));
  return 0;
}
