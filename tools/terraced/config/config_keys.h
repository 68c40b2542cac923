// The table of configuration keys: the one place where a key is described.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tools/terraced/config/config.h"

namespace terrace {

/// What a value may be, and the type of the field it is stored in.
enum class ConfigKind : std::uint8_t {
  kFlag,     ///< bool
  kNumber,   ///< std::uint32_t, in [minimum, maximum]
  kBytes,    ///< std::uint64_t: integer of bytes, or text as in byte_size.h
  kAmount,   ///< as kBytes, or a percentage of the machine's memory
  kShare,    ///< ByteAmount: as kBytes, or a percentage of something known later
  kDecimal,  ///< double, in [minimum, maximum]
  kText,     ///< std::string
  kTexts,    ///< std::vector<std::string>, an array of texts
  kAddress,  ///< ListenAddress
  kLevel,    ///< LogLevel
};

struct ConfigKey {
  std::string_view section;
  std::string_view name;
  ConfigKind kind;
  std::string_view unit;           ///< for people; never empty
  std::string_view default_value;  ///< as written in TOML
  std::uint64_t minimum;           ///< kNumber, kBytes, kAmount; both 0: no range
  std::uint64_t maximum;
  std::string_view help;  ///< what it is for, one or more sentences
  void* (*field)(DaemonConfig& config);

  /// "server.listen".
  [[nodiscard]] std::string Path() const { return std::string(section) + "." + std::string(name); }
};

/// Every key, ordered by section.
std::span<const ConfigKey> ConfigKeys();

struct ConfigSection {
  std::string_view name;
  std::string_view help;
};
std::span<const ConfigSection> ConfigSections();

/// The range of a key's value for people: "1 to 64", "2 MiB to 1 GiB", "true or false", "text".
std::string ConfigRange(const ConfigKey& key);

}  // namespace terrace
