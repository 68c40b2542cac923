#include "transport/shm/daemon_life.h"

#include <fstream>
#include <sstream>
#include <string>
#include <utility>

namespace terrace {
namespace {

constexpr unsigned long kExiting = 0x4;  // PF_EXITING of the kernel, in /proc/PID/stat
constexpr int kFieldsBeforeFlags = 6;    // after the name: state, ppid, pgrp, session, tty, tpgid

}  // namespace

std::unique_ptr<DaemonLife> DaemonLife::Behind(SocketPoll& poll, int socket) {
  auto process = ClientProcess::Behind(socket);
  if (!process.ok()) return nullptr;
  return std::unique_ptr<DaemonLife>(new DaemonLife(poll, std::move(*process)));
}

DaemonLife::~DaemonLife() {
  if (exited_) poll_.Remove(process_.life());
}

bool DaemonLife::Exiting() const {
  std::ifstream file("/proc/" + std::to_string(process_.pid()) + "/stat");
  std::string text;
  std::getline(file, text);
  // Behind its last bracket: the name before it may hold anything.
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < kFieldsBeforeFlags; ++i) fields >> skipped;
  unsigned long flags = 0;
  return static_cast<bool>(fields >> flags) && (flags & kExiting) != 0;
}

bool DaemonLife::AwaitExit(std::function<void()> exited) {
  if (exited_ || !process_.CheckLife().ok() || !Exiting()) return false;
  if (!poll_.Add(process_.life(), false, *this).ok()) return false;
  exited_ = std::move(exited);
  return true;
}

void DaemonLife::OnSocket(bool /*readable*/, bool /*writable*/) {
  poll_.Remove(process_.life());
  const std::function<void()> exited = std::exchange(exited_, nullptr);
  exited();
}

}  // namespace terrace
