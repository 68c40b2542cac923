#include "transport/shm/daemon_life.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "transport/shm/client_process.h"

namespace terrace {
namespace {

constexpr unsigned long kExiting = 0x4;  // PF_EXITING of the kernel, in /proc/PID/stat
constexpr int kFieldsBeforeFlags = 6;    // after the name: state, ppid, pgrp, session, tty, tpgid
constexpr std::size_t kStatBytesMax = 4096;

Status NotToBeWatched(const std::string& why) {
  return {StatusCode::kUnsupported,
          "memory of a GPU: the daemon's process cannot be watched from here, by whose end one "
          "knows that its GPU has stopped: " +
              why};
}

/// The process of a pidfd, as /proc of this mount numbers it; 0: it does not show it.
pid_t NumberInProc(const UniqueFd& life) {
  std::ifstream file("/proc/self/fdinfo/" + std::to_string(life.get()));
  std::string word;
  while (file >> word) {
    pid_t pid = 0;
    if (word == "Pid:") return file >> pid ? std::max(pid, 0) : 0;
  }
  return 0;
}

}  // namespace

Result<std::shared_ptr<const DaemonProcess>> DaemonProcess::Behind(int socket) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 ||
      credentials.pid <= 0) {
    return NotToBeWatched("it is in another PID namespace");
  }
  UniqueFd life = PidfdBehind(socket, credentials.pid);
  if (!life) return NotToBeWatched("there is no pidfd of it");
  const pid_t pid = NumberInProc(life);
  if (pid == 0) return NotToBeWatched("/proc does not show it");
  UniqueFd about(::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  if (!about) return NotToBeWatched("/proc/" + std::to_string(pid) + "/stat is not to be read");
  std::shared_ptr<const DaemonProcess> process(
      new DaemonProcess(pid, std::move(life), std::move(about)));
  if (!process->Flags()) return NotToBeWatched("/proc says nothing of it that is understood");
  // Who lives has had its number all the time: the file is its own.
  if (process->Exited()) return Status(StatusCode::kPeerDead, "the daemon has exited");
  return process;
}

std::optional<unsigned long> DaemonProcess::Flags() const noexcept {
  std::array<char, kStatBytesMax> text{};
  const ssize_t bytes = ::pread(about_.get(), text.data(), text.size(), 0);
  const std::string_view line(text.data(), static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
  // Behind its last bracket: the name before it may hold anything.
  std::size_t at = line.rfind(')');
  for (int i = 0; i <= kFieldsBeforeFlags && at != std::string_view::npos; ++i) {
    at = line.find(' ', at + 1);
  }
  if (at == std::string_view::npos) return std::nullopt;
  unsigned long flags = 0;
  const char* const begin = line.data() + at + 1;
  const auto read = std::from_chars(begin, line.data() + line.size(), flags);
  return read.ec == std::errc() ? std::optional(flags) : std::nullopt;
}

bool DaemonProcess::Exiting() const noexcept {
  const std::optional<unsigned long> flags = Flags();
  // Of whom nothing is to be read any more, although it once was, there is nothing left.
  return !flags || (*flags & kExiting) != 0;
}

bool DaemonProcess::AwaitExit(Nanos patience) const noexcept {
  const SteadyClock clock;
  const Nanos end = clock.Now() + patience;
  for (;;) {
    pollfd life{life_.get(), POLLIN, 0};
    const Nanos left = std::max<Nanos>(end - clock.Now(), 0);
    const int ready = ::poll(&life, 1, static_cast<int>((left + kMillisecond - 1) / kMillisecond));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (clock.Now() >= end) return false;
  }
}

DaemonLife::~DaemonLife() {
  if (exited_) poll_.Remove(process_->life());
}

bool DaemonLife::AwaitExit(std::function<void()> exited) {
  if (exited_ || process_->Exited() || !process_->Exiting()) return false;
  if (!poll_.Add(process_->life(), false, *this).ok()) return false;
  exited_ = std::move(exited);
  return true;
}

void DaemonLife::OnSocket(bool /*readable*/, bool /*writable*/) {
  poll_.Remove(process_->life());
  const std::function<void()> exited = std::exchange(exited_, nullptr);
  exited();
}

}  // namespace terrace
