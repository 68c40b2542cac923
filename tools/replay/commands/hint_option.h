// --hints, as run and simulate have it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "tools/replay/trace/trace_hints.h"

namespace terrace::replay {

struct HintOption {
  std::string name = "none";

  void Add(CLI::App& command);
  /// kInvalid names the option and what it may be.
  [[nodiscard]] Result<HintSetting> Read() const;
};

}  // namespace terrace::replay
