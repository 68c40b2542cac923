// terracectl: looks at a running terraced and tends it, by the public client library only; and
// checks the store of a stopped one.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <string>

#include "tools/terracectl/advise_command.h"
#include "tools/terracectl/commands.h"
#include "tools/terracectl/events_command.h"
#include "tools/terracectl/explain_command.h"
#include "tools/terracectl/fsck_command.h"

namespace {

constexpr int kUsageError = 2;
constexpr double kWatchSecondsMax = 86'400;

CLI::App* AddFsck(CLI::App& app, terrace::FsckOptions& options) {
  CLI::App* fsck = app.add_subcommand("fsck", "check the NVMe store of a stopped terraced");
  fsck->add_option("FOLDER", options.folder, "of the store")->required();
  fsck->add_option("--files", options.files, "its devices, in their order (FOLDER/log-0)")
      ->type_name("A,B")
      ->allow_extra_args(false)
      ->delimiter(',');
  fsck->add_flag("--rebuild-index", options.rebuild_index, "make FOLDER/index anew from the log");
  fsck->add_flag("--json", options.json, "print one JSON object");
  fsck->footer("Exit status: 0 clean or rebuilt, 1 damage found, 2 could not run.");
  return fsck;
}

CLI::App* AddEvents(CLI::App& app, terrace::EventsOptions& options) {
  CLI::App* events = app.add_subcommand("events", "what happens to blocks, one line an event");
  events->add_option("--space", options.space, "only of that namespace")->type_name("NAME");
  events->add_flag("--snapshot", options.snapshot, "begin with what is stored");
  events->add_option("--count", options.count, "end after N lines")->type_name("N");
  return events;
}

CLI::App* AddAdvise(CLI::App& app, terrace::CommandOptions& options) {
  CLI::App* advise = app.add_subcommand(
      "advise", "what more DRAM or NVMe would bring, and what could be given up");
  advise->add_flag("--json", options.json, "print one JSON object");
  return advise;
}

CLI::App* AddExplain(CLI::App& app, terrace::CommandOptions& options,
                     terrace::ExplainOptions& explain) {
  CLI::App* command = app.add_subcommand("explain", "where blocks are, or why and when they left");
  command->add_option("--namespace", explain.space, "whose blocks")
      ->type_name("[TENANT/]NAME")
      ->required();
  command->add_option("--key", explain.keys, "of a block; several in prefix order: of a request")
      ->type_name("HEX")
      ->take_all();
  command->add_option("--keys", explain.file, "file of such keys, one a line; - is standard input")
      ->type_name("FILE");
  command->add_option("--group", explain.group, "of the blocks (0)")->type_name("N");
  command->add_option("--shard", explain.shard, "likewise (0)")->type_name("N");
  command->add_flag("--json", options.json, "print one JSON object");
  command->footer("Exit status: 0 all would be answered, 3 some would not, 1 failed, 2 usage.");
  return command;
}

int Run(int argc, char** argv) {
  terrace::CommandOptions options;
  double timeout_seconds = 5;
  double watch_seconds = 0;
  std::uint64_t count = 0;
  std::string name;

  CLI::App app("terracectl: looks at a running terraced and tends it", "terracectl");
  app.fallthrough();  // global options may stand behind the command
  app.require_subcommand(1);
  app.set_version_flag("--version", "terracectl " TERRACE_VERSION);
  app.add_option("--connect", options.address, "address of the daemon")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--tenant", options.tenant, "whose namespaces")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--timeout", timeout_seconds, "longest wait for an answer, seconds")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.001, 3600.0))
      ->capture_default_str();

  CLI::App* stat = app.add_subcommand("stat", "tiers, hit ratios, rates, memory, clients");
  stat->add_flag("--json", options.json, "print JSON, one object a line");
  CLI::Option* watch =
      stat->add_option("--watch", watch_seconds, "print again every SECONDS (2), with rates")
          ->type_name("[SECONDS]")
          ->expected(0, 1)
          ->default_str("2")
          ->check(CLI::Range(0.01, kWatchSecondsMax));
  stat->add_option("--count", count, "end after printing N times")->type_name("N")->needs(watch);
  CLI::App* namespaces = app.add_subcommand("namespaces", "the namespaces and what they hold");
  namespaces->add_flag("--json", options.json, "print JSON");
  CLI::App* clear =
      app.add_subcommand("clear", "forget every block of a namespace, or of a tenant");
  CLI::Option* const clear_name = clear->add_option("NAMESPACE", name, "its name");
  bool clear_all = false;
  clear->add_flag("--all", clear_all, "every namespace of the tenant (--tenant)")
      ->excludes(clear_name);

  const CLI::App* const advise = AddAdvise(app, options);
  terrace::ExplainOptions explain_options;
  const CLI::App* const explain = AddExplain(app, options, explain_options);
  terrace::EventsOptions events_options;
  CLI::App* events = AddEvents(app, events_options);
  terrace::FsckOptions fsck_options;
  CLI::App* fsck = AddFsck(app, fsck_options);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageError;
  }
  options.timeout = std::chrono::milliseconds(static_cast<std::int64_t>(timeout_seconds * 1e3));
  options.tenant_given = app.get_option("--tenant")->count() > 0;
  if (fsck->parsed()) return terrace::RunFsck(fsck_options);
  if (stat->parsed()) return terrace::RunStat(options, watch_seconds, count);
  if (events->parsed()) return terrace::RunEvents(options, events_options);
  if (advise->parsed()) return terrace::RunAdvise(options);
  if (explain->parsed()) return terrace::RunExplain(options, explain_options);
  if (namespaces->parsed()) return terrace::RunNamespaces(options);
  if (clear_all) return terrace::RunClearTenant(options);
  if (clear_name->count() == 0) {
    std::cerr << "terracectl: clear needs NAMESPACE or --all\n";
    return kUsageError;
  }
  return terrace::RunClear(options, name);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {  // of the libraries for arguments and JSON
    std::cerr << "terracectl: " << error.what() << '\n';
    return 1;
  }
}
