#include "transport/shm/daemon_life.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <sstream>
#include <string>
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
  if (const Result<unsigned long> flags = process->Flags(); !flags.ok()) return flags.status();
  // Who lives has had its number all the time: the file is its own.
  if (process->Exited()) return Status(StatusCode::kPeerDead, "the daemon has exited");
  return process;
}

Result<unsigned long> DaemonProcess::Flags() const {
  std::array<char, kStatBytesMax> text{};
  const ssize_t bytes = ::pread(about_.get(), text.data(), text.size(), 0);
  const std::string line(text.data(), static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
  // Behind its last bracket: the name before it may hold anything.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return NotToBeWatched("/proc says nothing of it");
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < kFieldsBeforeFlags; ++i) fields >> skipped;
  unsigned long flags = 0;
  if (!(fields >> flags)) return NotToBeWatched("/proc says nothing of it that is understood");
  return flags;
}

bool DaemonProcess::Exiting() const {
  const Result<unsigned long> flags = Flags();
  // Of whom nothing is to be read any more, although it once was, there is nothing left.
  return !flags.ok() || (*flags & kExiting) != 0;
}

bool DaemonProcess::AwaitExit(Nanos patience) const {
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
