#include "tools/terracectl/commands.h"

#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <thread>
#include <vector>

#include "client/terrace.hpp"
#include "tools/terracectl/stat_summary.h"
#include "tools/terracectl/text_table.h"

namespace terrace {

namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

int Fail(const std::string& message) {
  std::cerr << "terracectl: " << message << '\n';
  return 1;
}

Result<std::unique_ptr<Client>> Connect(const CommandOptions& options) {
  ClientOptions client;
  client.address = options.address;
  client.tenant = options.tenant;
  client.name = "terracectl";
  client.link = LinkChoice::kTcp;  // only control messages: nothing to gain from another link
  client.connect_timeout = options.timeout;
  return Client::Connect(client);
}

struct StatSample {
  StatSummary summary;
  SteadyTime time;
};

void PrintStat(const CommandOptions& options, const StatSample& now, const StatRates* rates,
               const std::vector<Sample>& samples) {
  if (options.json) {
    std::cout << StatJson(options.address, now.summary, rates, samples) << std::flush;
    return;
  }
  // A terminal shows one table in place; a pipe gets one after the other.
  if (rates != nullptr) std::cout << (isatty(STDOUT_FILENO) == 1 ? "\x1b[H\x1b[2J" : "\n");
  std::cout << StatText(options.address, now.summary, rates) << std::flush;
}

}  // namespace

std::string ConnectAdvice(const std::string& address, const Status& status) {
  switch (status.code()) {
    case StatusCode::kPeerDead:
    case StatusCode::kTimeout:
      return "no daemon answers at " + address + " (" + status.ToString() +
             "). Is terraced running there? Name its address with --connect HOST:PORT";
    case StatusCode::kIncompatible:
      return "the daemon at " + address + " is of another version (" + status.ToString() +
             "). Use the terracectl that was installed with it";
    case StatusCode::kRetry:
      return "the daemon at " + address + " takes no more clients now (" + status.ToString() +
             "). Try again, or raise server.clients_max";
    case StatusCode::kInvalid: return status.message() + ". Check --connect HOST:PORT and --tenant";
    default: return "cannot connect to " + address + ": " + status.ToString();
  }
}

int RunStat(const CommandOptions& options, double watch_seconds, std::uint64_t count) {
  const Result<std::unique_ptr<Client>> client = Connect(options);
  if (!client.ok()) return Fail(ConnectAdvice(options.address, client.status()));
  std::unique_ptr<StatSample> before;
  const bool watching = watch_seconds > 0;
  for (std::uint64_t round = 0; !watching || count == 0 || round < count; ++round) {
    const Result<std::vector<Sample>> samples = (*client)->Stat(In(options.timeout));
    if (!samples.ok()) {
      const std::string message =
          "stat of " + options.address + " failed: " + samples.status().ToString();
      // While watching, a daemon that is away comes back: the library reconnects.
      if (!watching) return Fail(message);
      std::cerr << "terracectl: " << message << '\n';
    } else {
      StatSample now{Summarize(*samples), std::chrono::steady_clock::now()};
      StatRates rates;
      if (before != nullptr) {
        const std::chrono::duration<double> between = now.time - before->time;
        rates = RatesBetween(before->summary, now.summary, between.count());
      }
      PrintStat(options, now, before != nullptr ? &rates : nullptr, *samples);
      before = std::make_unique<StatSample>(std::move(now));
    }
    if (!watching) break;
    if (!std::cout) return 1;  // nobody reads any more
    if (count == 0 || round + 1 < count) {
      std::this_thread::sleep_for(std::chrono::duration<double>(watch_seconds));
    }
  }
  return std::cout ? 0 : 1;
}

int RunNamespaces(const CommandOptions& options) {
  const Result<std::unique_ptr<Client>> client = Connect(options);
  if (!client.ok()) return Fail(ConnectAdvice(options.address, client.status()));
  const Result<std::vector<NamespaceInfo>> namespaces =
      (*client)->ListNamespaces(In(options.timeout));
  if (!namespaces.ok()) {
    return Fail("listing the namespaces of " + options.address +
                " failed: " + namespaces.status().ToString());
  }
  std::cout << (options.json ? NamespacesJson(*namespaces) : NamespacesText(*namespaces))
            << std::flush;
  return std::cout ? 0 : 1;
}

int RunClear(const CommandOptions& options, const std::string& name) {
  const Result<std::unique_ptr<Client>> client = Connect(options);
  if (!client.ok()) return Fail(ConnectAdvice(options.address, client.status()));
  const Result<std::uint64_t> blocks = (*client)->ClearNamespace(name, In(options.timeout));
  const std::string shown =
      "\"" + Printable(name) + "\" of tenant \"" + Printable(options.tenant) + "\"";
  if (blocks.code() == StatusCode::kMiss) {
    return Fail("there is no namespace " + shown +
                "; `terracectl namespaces` lists them, --tenant names another tenant");
  }
  if (!blocks.ok()) return Fail("clearing " + shown + " failed: " + blocks.status().ToString());
  std::cout << "cleared " << FormatCount(static_cast<double>(*blocks)) << " blocks of namespace "
            << shown << '\n';
  return 0;
}

int RunClearTenant(const CommandOptions& options) {
  const Result<std::unique_ptr<Client>> client = Connect(options);
  if (!client.ok()) return Fail(ConnectAdvice(options.address, client.status()));
  const Result<std::uint64_t> blocks = (*client)->ClearTenant(In(options.timeout));
  const std::string shown = "tenant \"" + Printable(options.tenant) + "\"";
  if (!blocks.ok()) return Fail("clearing " + shown + " failed: " + blocks.status().ToString());
  std::cout << "cleared " << FormatCount(static_cast<double>(*blocks)) << " blocks of " << shown
            << '\n';
  return 0;
}

}  // namespace terrace
