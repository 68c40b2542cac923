#include "tools/replay/commands/hint_option.h"

namespace terrace::replay {

void HintOption::Add(CLI::App& command) {
  command
      .add_option(
          "--hints", name,
          "what is said of each request (session, turn, category, whether it goes on): none, "
          "truthful, absent-half, inverted, random")
      ->capture_default_str();
}

Result<HintSetting> HintOption::Read() const {
  const Result<HintSetting> setting = ParseHintSetting(name);
  if (!setting.ok()) return Status::Invalid("--hints " + setting.status().message());
  return *setting;
}

}  // namespace terrace::replay
