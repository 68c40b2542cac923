// PrintDefaultConfig: the table of keys as a commented TOML file.
#include <string>
#include <string_view>

#include "tools/terraced/config/config.h"
#include "tools/terraced/config/config_keys.h"

namespace terrace {

namespace {

constexpr std::size_t kColumns = 96;

// Appends `text` as comment lines of at most kColumns, broken at spaces.
void AppendComment(std::string& out, std::string_view text) {
  while (!text.empty()) {
    constexpr std::size_t kRoom = kColumns - 2;  // "# "
    std::size_t taken = text.size();
    if (taken > kRoom) {
      taken = text.rfind(' ', kRoom);
      if (taken == std::string_view::npos || taken == 0) taken = kRoom;
    }
    out += "# ";
    out += text.substr(0, taken);
    out += '\n';
    text.remove_prefix(taken);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  }
}

}  // namespace

std::string PrintDefaultConfig() {
  std::string out =
      "# Configuration of terraced. Every key stands here at its default; all of them may be left "
      "out.\n# Check a file with: terraced --config FILE --check-config\n";
  std::string_view section;
  for (const ConfigKey& key : ConfigKeys()) {
    if (key.section != section) {
      section = key.section;
      out += "\n";
      for (const ConfigSection& known : ConfigSections()) {
        if (known.name == section) AppendComment(out, known.help);
      }
      out += "[" + std::string(section) + "]\n";
    }
    out += "\n";
    AppendComment(out, key.help);
    AppendComment(out, "Unit: " + std::string(key.unit) + ". Range: " + ConfigRange(key) + ".");
    out += std::string(key.name) + " = " + std::string(key.default_value) + "\n";
  }
  return out;
}

}  // namespace terrace
