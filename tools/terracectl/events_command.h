// `terracectl events`: prints what happens to the tenant's blocks, one line an event.
#pragma once

#include <cstdint>
#include <string>

#include "client/events.hpp"
#include "tools/terracectl/commands.h"

namespace terrace {

struct EventsOptions {
  std::string space;        ///< empty: all of the tenant
  bool snapshot = false;    ///< what is stored comes first
  std::uint64_t count = 0;  ///< lines after which it ends; 0: none
};

/// Returns the exit status: 0 ok, 1 failed. While it follows, a daemon that is away comes back.
int RunEvents(const CommandOptions& options, const EventsOptions& events);

/// "reactor=0 sequence=12 committed space=llama position=3 tiers=dram identity=... key=... ...";
/// what is not known is left out. Without the end of the line.
[[nodiscard]] std::string EventLine(const BlockEventInfo& event);

}  // namespace terrace
