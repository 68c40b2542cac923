// The commands of terracectl: each connects, asks, prints. Errors go to standard error and say
// what to do. Returns the exit status: 0 ok, 1 failed.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace terrace {

struct CommandOptions {
  std::string address = "127.0.0.1:7420";
  std::string tenant = "default";
  bool tenant_given = false;                ///< --tenant stood there
  std::chrono::milliseconds timeout{5000};  ///< of connecting, and of each request
  bool json = false;
};

/// watch_seconds 0: once. count: how many times to print while watching, 0: for ever.
int RunStat(const CommandOptions& options, double watch_seconds, std::uint64_t count);
int RunNamespaces(const CommandOptions& options);
int RunClear(const CommandOptions& options, const std::string& name);
int RunClearTenant(const CommandOptions& options);

/// What to tell when no connection could be made: cause, address and what to try.
std::string ConnectAdvice(const std::string& address, const Status& status);

}  // namespace terrace
