// terracectl fsck: checks a stopped store, and rebuilds its index from the log.
//
// It opens the devices read-only and shares their lock with other readers only, so that it refuses
// a store that a daemon holds. Only --rebuild-index changes anything, and only FOLDER/index.
//
// Thread: one.
#pragma once

#include <string>
#include <vector>

namespace terrace {

struct FsckOptions {
  std::string folder;
  std::vector<std::string> files;  ///< the devices; none: FOLDER/log-0
  bool rebuild_index = false;
  bool json = false;
};

/// Prints to standard output; errors and progress to standard error. Returns the exit status:
/// 0 clean, or rebuilt; 1 damage found; 2 could not run.
int RunFsck(const FsckOptions& options);

}  // namespace terrace
