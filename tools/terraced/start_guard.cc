#include "tools/terraced/start_guard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace terrace {

StartGuard::StartGuard(const std::string& folder) : path_(folder + "/starts") {
  std::ifstream file(path_);
  std::int64_t start = 0;
  while (starts_.size() < 1000 && file >> start) starts_.push_back(start);
}

bool StartGuard::Tripped(std::int64_t now_unix_s) const {
  const auto recent = std::count_if(starts_.begin(), starts_.end(), [&](std::int64_t start) {
    // A clock that was set back makes old starts look new: those are not counted.
    return start <= now_unix_s && now_unix_s - start <= kWindowSeconds;
  });
  return static_cast<std::size_t>(recent) >= kCrashesMax;
}

bool StartGuard::NoteStart(std::int64_t now_unix_s) {
  starts_.push_back(now_unix_s);
  if (starts_.size() > kCrashesMax) starts_.erase(starts_.begin(), starts_.end() - kCrashesMax);
  return Write();
}

bool StartGuard::Write() const {
  std::string text;
  for (const std::int64_t start : starts_) text += std::to_string(start) + '\n';
  const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return false;
  const bool written = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const bool synced = ::fsync(file) == 0;
  ::close(file);
  return written && synced;
}

void StartGuard::Clear() {
  starts_.clear();
  ::unlink(path_.c_str());
}

void StartGuard::Withdraw() {
  if (!starts_.empty()) starts_.pop_back();
  if (starts_.empty()) {
    Clear();
  } else {
    (void)Write();  // at worst a start too many is remembered
  }
}

}  // namespace terrace
