#include "tools/bench/load/scratch_folder.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

namespace terrace::bench {

namespace {

// A daemon that dies at the same moment may still be making files.
constexpr int kRemovalsMax = 50;
constexpr std::chrono::milliseconds kRemovalPause{100};

[[noreturn]] void WaitAndRemove(int lifeline, const std::string& path) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) std::signal(signal, SIG_IGN);
  char none = 0;
  while (::read(lifeline, &none, 1) < 0 && errno == EINTR) {
  }
  std::error_code failed;
  for (int removal = 0; removal < kRemovalsMax; ++removal) {
    std::filesystem::remove_all(path, failed);
    if (!failed && !std::filesystem::exists(path, failed)) ::_exit(0);
    std::this_thread::sleep_for(kRemovalPause);
  }
  std::fprintf(stderr, "terrace-bench: cannot remove %s\n", path.c_str());
  ::_exit(1);
}

}  // namespace

ScratchFolder::ScratchFolder(const std::string& parent) {
  std::error_code failed;
  path_ = (std::filesystem::absolute(parent, failed) / "terrace-bench.XXXXXX").lexically_normal();
  int ends[2] = {-1, -1};
  // Close-on-exec: a daemon must not hold the lifeline.
  if (failed || ::mkdtemp(path_.data()) == nullptr || ::pipe2(ends, O_CLOEXEC) != 0) {
    std::fprintf(stderr, "terrace-bench: cannot make a folder in %s: %s\n", parent.c_str(),
                 std::strerror(errno));
    std::exit(1);
  }
  janitor_ = ::fork();
  if (janitor_ == 0) {
    ::close(ends[1]);
    WaitAndRemove(ends[0], path_);
  }
  ::close(ends[0]);
  lifeline_ = ends[1];
}

ScratchFolder::~ScratchFolder() {
  ::close(lifeline_);
  if (janitor_ > 0) ::waitpid(janitor_, nullptr, 0);
}

}  // namespace terrace::bench
