// The options that say when the requests of a run start.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "tools/replay/run/arrivals.h"

namespace terrace::replay {

struct PaceCommandOptions {
  bool as_fast_as_possible = false;
  bool closed_loop = false;
  double speed = 1;
  bool speed_given = false;
  std::uint64_t concurrency = 0;
  std::string think_time = "recorded";

  void Add(CLI::App& command);
  /// What they say. @return kInvalid names an option without effect, or of no sense; what depends
  /// on the trace is left to CheckPace.
  [[nodiscard]] Result<PaceOptions> Read(bool lockstep) const;
};

}  // namespace terrace::replay
