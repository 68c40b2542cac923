// StartGuard: notices that a data folder makes the daemon crash again and again.
//
// Model. A file in the folder holds the times of starts that have not been followed by a clean stop
// or by a minute of running; a start that was refused (a taken port, another daemon) is none. Three
// of them within a minute: the next start leaves the NVMe tier alone, so that an operator finds a
// daemon that serves from DRAM and says why, not a loop.
//
// Thread: the main thread's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace terrace {

class StartGuard {
 public:
  static constexpr std::size_t kCrashesMax = 3;
  static constexpr std::int64_t kWindowSeconds = 60;

  /// `folder` exists. Reads the file; a missing or unreadable one counts as no crash.
  explicit StartGuard(const std::string& folder);
  /// True when so many starts within the last minute before `now_unix_s` did not end well.
  [[nodiscard]] bool Tripped(std::int64_t now_unix_s) const;
  /// Notes a start, on the disk when it returns. False: the file cannot be written (the guard then
  /// guards nothing).
  bool NoteStart(std::int64_t now_unix_s);
  /// All is well: forgets the starts.
  void Clear();
  /// The start that was just noted was refused: forgets it, and leaves the others, which may be
  /// those of a daemon that runs on the folder.
  void Withdraw();
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  bool Write() const;

  const std::string path_;
  std::vector<std::int64_t> starts_;
};

}  // namespace terrace
