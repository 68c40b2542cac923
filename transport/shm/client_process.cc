#include "transport/shm/client_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace terrace {
namespace {

// Newer than the headers that this is built with: Linux 6.5.
constexpr int kSoPeerPidfd = 77;

Status NotVisible(const char* why) {
  return {StatusCode::kUnsupported, std::string("same-host copies do not work: ") + why};
}

}  // namespace

UniqueFd PidfdBehind(int socket, pid_t pid) {
  int number = -1;
  socklen_t length = sizeof(number);
  if (::getsockopt(socket, SOL_SOCKET, kSoPeerPidfd, &number, &length) == 0) {
    return UniqueFd(number);
  }
  if (errno != ENOPROTOOPT) return {};  // it has exited, and somebody else may have its number
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

Result<ClientProcess> ClientProcess::Behind(int socket) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 ||
      credentials.pid <= 0) {
    return NotVisible("the client's process is not visible");
  }
  UniqueFd life = PidfdBehind(socket, credentials.pid);
  if (!life) return NotVisible("there is no pidfd of the client's process");
  const std::string folder = "/proc/" + std::to_string(credentials.pid);
  UniqueFd opened(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  // Without rights over other users the system itself looks whose the process is, at each copy.
  if (!opened && credentials.uid != ::geteuid()) {
    return NotVisible("the client's process is not to be seen in /proc");
  }
  ClientProcess process(credentials.pid, credentials.uid, std::move(life), std::move(opened));
  // Who lives has had its number all the time: the folder is its own.
  Status status = process.CheckLife();
  if (status.ok()) status = process.CheckOwner();
  if (!status.ok()) return NotVisible(status.message().c_str());
  return process;
}

Status ClientProcess::CheckLife() const {
  pollfd life{life_.get(), POLLIN, 0};
  // Above 0 only: an interrupted poll (io_uring's task work does that) says nothing.
  if (::poll(&life, 1, 0) > 0) return {StatusCode::kPeerDead, "the client has exited"};
  return {};
}

Status ClientProcess::CheckOwner() const {
  struct stat about{};
  if (folder_ && (::fstat(folder_.get(), &about) != 0 || about.st_uid != user_)) {
    return {StatusCode::kPeerDead, "the client's process has exited, or become another user's"};
  }
  return {};
}

}  // namespace terrace
