// ScratchFolder: a folder for gigabytes that are gone when the benchmark is, however it ends.
//
// A process of its own waits for the end of this one and removes the folder: destructors do not run
// after a benchmark's exit with a message, ctrl-C or kill -9.
#pragma once

#include <sys/types.h>

#include <string>

namespace terrace::bench {

class ScratchFolder {
 public:
  /// Makes PARENT/terrace-bench.XXXXXX. Exits with a message when that cannot be done. Forks:
  /// before the first thread of the program.
  explicit ScratchFolder(const std::string& parent);
  /// Removes it, and waits until it is gone.
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  /// Absolute.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  int lifeline_ = -1;  // its end is what the janitor waits for
  pid_t janitor_ = -1;
};

}  // namespace terrace::bench
