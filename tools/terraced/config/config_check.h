// What no single key can tell: settings that contradict each other, the machine or its files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/terraced/config/config.h"

namespace terrace {

struct ConfigProblem {
  /// The keys that do not go together, the one to change first; paths as "server.listen".
  std::vector<std::string> keys;
  std::string reason;
};

/// Every problem of settings that are each in range. Reads the file system only to see that the
/// folders of `log.file` and `server.port_file` exist.
std::vector<ConfigProblem> FindContradictions(const DaemonConfig& config,
                                              std::uint64_t memory_bytes);

}  // namespace terrace
