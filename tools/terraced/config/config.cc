#include "tools/terraced/config/config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>
#include <ostream>
#include <sstream>
#include <vector>

#include <toml++/toml.h>

#include "tools/common/byte_size.h"
#include "tools/common/nearest_name.h"
#include "tools/terraced/config/config_check.h"
#include "tools/terraced/config/config_keys.h"

namespace terrace {

namespace {

constexpr std::size_t kFileBytesMax = 1 << 20;  // a configuration has a few KiB
constexpr std::size_t kErrorsMax = 100;         // told at once; a file of rubbish has no end
constexpr std::size_t kShownMax = 80;           // bytes of a value or name that a message repeats

std::string_view TypeName(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  if (node.is_string()) return "a text";
  if (node.is_integer()) return "an integer";
  if (node.is_floating_point()) return "a number with a fraction";
  if (node.is_boolean()) return "a flag";
  return "a date or time";
}

class Reader {
 public:
  Reader(std::string_view file_name, std::uint64_t memory_bytes)
      : file_name_(file_name), memory_bytes_(memory_bytes) {}

  Result<DaemonConfig> Read(const toml::table& root) {
    for (const auto& [name, node] : root) ReadSection(name, node);
    // Contradictions among values that were refused anyway would only confuse.
    if (errors_.empty()) {
      for (const ConfigProblem& problem : FindContradictions(config_, memory_bytes_)) {
        AddError(LineOf(problem.keys), problem.keys.front(), problem.reason);
      }
    }
    if (errors_.empty()) return config_;
    return Status::Invalid(AllErrors());
  }

 private:
  void AddError(std::size_t line, std::string_view path, std::string_view reason) {
    std::ostringstream text;
    text << file_name_ << ':' << line << ": " << path.substr(0, kShownMax) << ": " << reason;
    errors_.emplace(line, text.str());
  }

  // Errors in the order of the file, which is not that in which a table is walked.
  [[nodiscard]] std::string AllErrors() const {
    std::string text;
    std::size_t told = 0;
    for (const auto& [line, error] : errors_) {
      if (told == kErrorsMax) {
        text += "\nand " + std::to_string(errors_.size() - told) + " more errors";
        break;
      }
      if (told++ != 0) text += '\n';
      text += error;
    }
    return text;
  }

  // Where the first of `keys` that the file mentions stands; 1 when it mentions none.
  [[nodiscard]] std::size_t LineOf(const std::vector<std::string>& keys) const {
    for (const std::string& key : keys) {
      if (const auto found = lines_.find(key); found != lines_.end()) return found->second;
    }
    return 1;
  }

  void ReadSection(const toml::key& name, const toml::node& node) {
    const std::size_t line = name.source().begin.line;
    const auto sections = ConfigSections();
    const bool known = std::any_of(sections.begin(), sections.end(),
                                   [&](const auto& section) { return section.name == name.str(); });
    if (!known) {
      AddError(line, name.str(), UnknownSection(name.str(), node.is_table()));
      return;
    }
    const toml::table* table = node.as_table();
    if (table == nullptr) {
      AddError(line, name.str(),
               "expected a table, written [" + std::string(name.str()) + "], found " +
                   std::string(TypeName(node)));
      return;
    }
    for (const auto& [key, value] : *table) ReadKey(name.str(), key, value);
  }

  static std::string UnknownSection(std::string_view name, bool is_table) {
    std::vector<std::string_view> names;
    for (const ConfigSection& section : ConfigSections()) names.push_back(section.name);
    if (is_table) {
      const std::string_view near = NearestName(name, names);
      std::string reason = "unknown section";
      if (!near.empty()) return reason + "; did you mean [" + std::string(near) + "]?";
      reason += "; known are";
      for (const std::string_view section : names) reason += " [" + std::string(section) + "]";
      return reason;
    }
    const std::string near = NearestKey("", name);
    return "unknown key" + (near.empty() ? " outside of any section" : near);
  }

  // "; did you mean x?" or nothing. Compares with the keys of the section first, then by the name
  // alone with those of the others.
  static std::string NearestKey(std::string_view section, std::string_view name) {
    std::vector<std::string_view> here;
    std::vector<std::string_view> everywhere;
    for (const ConfigKey& key : ConfigKeys()) {
      if (key.section == section) here.push_back(key.name);
      everywhere.push_back(key.name);
    }
    for (const ConfigKey& key : ConfigKeys()) {
      if (key.name == name) return "; did you mean " + key.Path() + "?";
    }
    if (const std::string_view near = NearestName(name, here); !near.empty()) {
      return "; did you mean " + std::string(section) + "." + std::string(near) + "?";
    }
    const std::string_view near = NearestName(name, everywhere);
    for (const ConfigKey& key : ConfigKeys()) {
      if (key.name == near) return "; did you mean " + key.Path() + "?";
    }
    return "";
  }

  void ReadKey(std::string_view section, const toml::key& name, const toml::node& value) {
    const std::size_t line = name.source().begin.line;
    const auto keys = ConfigKeys();
    const auto key = std::find_if(keys.begin(), keys.end(), [&](const ConfigKey& known) {
      return known.section == section && known.name == name.str();
    });
    if (key == keys.end()) {
      AddError(line, std::string(section) + "." + std::string(name.str()),
               "unknown key" + NearestKey(section, name.str()));
      return;
    }
    lines_[key->Path()] = line;
    const Status stored = Store(*key, value);
    if (!stored.ok()) AddError(line, key->Path(), stored.message());
  }

  static Status Expected(const ConfigKey& key, std::string_view what, const toml::node& found) {
    return Status::Invalid("expected " + std::string(what) + " (" + ConfigRange(key) + "), found " +
                           std::string(TypeName(found)));
  }

  Status Store(const ConfigKey& key, const toml::node& value) {
    void* field = key.field(config_);
    switch (key.kind) {
      case ConfigKind::kFlag:
        if (!value.is_boolean()) return Expected(key, "a flag", value);
        *static_cast<bool*>(field) = value.as_boolean()->get();
        return Status::Ok();
      case ConfigKind::kNumber: return StoreNumber(key, value, field);
      case ConfigKind::kBytes:
      case ConfigKind::kAmount:
      case ConfigKind::kShare: return StoreBytes(key, value, field);
      case ConfigKind::kDecimal: return StoreDecimal(key, value, field);
      case ConfigKind::kTexts: return StoreTexts(key, value, field);
      default: break;
    }
    if (!value.is_string()) return Expected(key, "a text in quotes", value);
    return StoreText(key, value.as_string()->get(), field);
  }

  static Status OutOfRange(const ConfigKey& key, const std::string& found) {
    return Status::Invalid(found + " is out of range: " + ConfigRange(key) + " " +
                           std::string(key.unit));
  }

  static Status StoreNumber(const ConfigKey& key, const toml::node& value, void* field) {
    if (!value.is_integer()) return Expected(key, "an integer", value);
    const std::int64_t number = value.as_integer()->get();
    if (number < 0 || static_cast<std::uint64_t>(number) < key.minimum ||
        static_cast<std::uint64_t>(number) > key.maximum) {
      return OutOfRange(key, std::to_string(number));
    }
    *static_cast<std::uint32_t*>(field) = static_cast<std::uint32_t>(number);
    return Status::Ok();
  }

  static Status StoreDecimal(const ConfigKey& key, const toml::node& value, void* field) {
    const auto number = value.value<double>();
    if (!value.is_number() || !number) return Expected(key, "a number", value);
    if (!(*number >= static_cast<double>(key.minimum) &&
          *number <= static_cast<double>(key.maximum))) {
      return OutOfRange(key, std::to_string(*number));
    }
    *static_cast<double*>(field) = *number;
    return Status::Ok();
  }

  static Status StoreTexts(const ConfigKey& key, const toml::node& value, void* field) {
    const toml::array* array = value.as_array();
    if (array == nullptr) return Expected(key, "an array of texts", value);
    std::vector<std::string> texts;
    for (const toml::node& element : *array) {
      if (!element.is_string()) return Expected(key, "texts in the array", element);
      texts.push_back(element.as_string()->get());
      if (texts.back().empty() || texts.back().find('\0') != std::string::npos) {
        return Status::Invalid("holds a text that is empty or has a zero byte");
      }
    }
    *static_cast<std::vector<std::string>*>(field) = std::move(texts);
    return Status::Ok();
  }

  Status StoreBytes(const ConfigKey& key, const toml::node& value, void* field) const {
    std::uint64_t bytes = 0;
    std::string shown;
    if (value.is_integer()) {
      const std::int64_t number = value.as_integer()->get();
      shown = std::to_string(number);
      if (number < 0) return Status::Invalid(shown + " is negative");
      bytes = static_cast<std::uint64_t>(number);
    } else if (value.is_string()) {
      shown = "\"" + value.as_string()->get().substr(0, kShownMax) + "\"";
      const Result<ByteAmount> amount = ParseByteAmount(value.as_string()->get());
      if (!amount.ok()) return amount.status();
      if (amount->is_percent && key.kind == ConfigKind::kShare) {
        *static_cast<ByteAmount*>(field) = *amount;
        return Status::Ok();
      }
      if (amount->is_percent && key.kind != ConfigKind::kAmount) {
        return Status::Invalid(shown + " is a percentage; this key takes bytes");
      }
      bytes = amount->Of(memory_bytes_);
      if (amount->is_percent) {
        shown += " (" + FormatByteSize(bytes) + " of " + FormatByteSize(memory_bytes_) + ")";
      }
    } else {
      return Expected(key, "an integer of bytes or a text such as \"1GiB\"", value);
    }
    if (bytes < key.minimum || bytes > key.maximum) {
      return Status::Invalid(shown + " is out of range: " + ConfigRange(key));
    }
    if (key.kind == ConfigKind::kShare) {
      *static_cast<ByteAmount*>(field) = {.is_percent = false, .percent = 0, .bytes = bytes};
    } else {
      *static_cast<std::uint64_t*>(field) = bytes;
    }
    return Status::Ok();
  }

  static Status StoreText(const ConfigKey& key, const std::string& text, void* field) {
    if (key.kind == ConfigKind::kText) {
      if (text.find('\0') != std::string::npos) return Status::Invalid("holds a zero byte");
      *static_cast<std::string*>(field) = text;
      return Status::Ok();
    }
    if (key.kind == ConfigKind::kLevel) {
      const std::optional<LogLevel> level = LogLevelFromName(text);
      if (!level) {
        return Status::Invalid("unknown level \"" + text.substr(0, kShownMax) +
                               "\": " + ConfigRange(key));
      }
      *static_cast<LogLevel*>(field) = *level;
      return Status::Ok();
    }
    Result<ListenAddress> address = ParseListenAddress(text);
    if (!address.ok()) return address.status();
    *static_cast<ListenAddress*>(field) = *std::move(address);
    return Status::Ok();
  }

  const std::string file_name_;
  const std::uint64_t memory_bytes_;
  DaemonConfig config_;
  std::multimap<std::size_t, std::string> errors_;
  std::map<std::string, std::size_t> lines_;
};

// The limit in a control group's file, bytes; none for "max" or no file.
std::optional<std::uint64_t> ReadLimit(const char* path) {
  std::ifstream file(path);
  std::uint64_t bytes = 0;
  if (file >> bytes) return bytes;
  return std::nullopt;
}

}  // namespace

std::uint64_t MachineMemoryBytes() {
  std::uint64_t bytes = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    if (const auto limit = ReadLimit(path)) bytes = std::min(bytes, *limit);
  }
  return bytes;
}

Result<DaemonConfig> ParseConfig(std::string_view text, std::string_view file_name,
                                 std::uint64_t memory_bytes) {
  try {
    const toml::table root = toml::parse(text, std::string(file_name));
    return Reader(file_name, memory_bytes).Read(root);
  } catch (const toml::parse_error& error) {
    std::ostringstream message;
    message << file_name << ':' << error.source().begin.line
            << ": not TOML: " << error.description() << " (column " << error.source().begin.column
            << ')';
    return Status::Invalid(message.str());
  } catch (const std::exception& error) {
    return Status::Invalid(std::string(file_name) + ":1: cannot be read: " + error.what());
  }
}

Result<DaemonConfig> LoadConfig(const std::string& path) {
  struct stat facts{};
  if (stat(path.c_str(), &facts) != 0) {
    return Status(StatusCode::kIo, path + ": cannot be opened: " + std::strerror(errno));
  }
  if (S_ISDIR(facts.st_mode)) return Status(StatusCode::kIo, path + ": is a folder, not a file");
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Status(StatusCode::kIo, path + ": cannot be opened: " + std::strerror(errno));
  }
  std::string text(kFileBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.bad()) return Status(StatusCode::kIo, path + ": cannot be read");
  if (text.size() > kFileBytesMax) {
    return Status::Invalid(path + ":1: is longer than 1 MiB: not a configuration of terraced");
  }
  return ParseConfig(text, path, MachineMemoryBytes());
}

Result<DaemonConfig> LoadDefaultConfig() {
  return ParseConfig(PrintDefaultConfig(), "(default configuration)", MachineMemoryBytes());
}

int CheckConfigFile(const std::string& path, std::ostream& out, std::ostream& errors) {
  const Result<DaemonConfig> config = LoadConfig(path);
  if (!config.ok()) {
    errors << config.status().message() << '\n';
    return 1;
  }
  out << path << ": ok\n";
  return 0;
}

}  // namespace terrace
