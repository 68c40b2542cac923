// terracectl advise: what more DRAM or NVMe would bring, and what could be given up.
#pragma once

#include <string>

#include "tools/common/advice.h"
#include "tools/terracectl/commands.h"

namespace terrace {

/// Asks, prints; 0 ok (also when it is too early to tell), 1 failed.
int RunAdvise(const CommandOptions& options);

/// For people.
std::string AdviceText(const Advice& advice);

}  // namespace terrace
