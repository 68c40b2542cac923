// ClientProcess: the process at the other end of a unix socket, into whose memory the daemon
// copies.
//
// Model. A daemon that may trace every process (root) copies wherever a client says, so it must
// know whose memory that is. The number of a process does not say it:
//
//   C1. The number may have gone to another process: held by a pidfd, of the process that connected
//       where the system tells it (Linux 6.5), else of whoever has the number now.
//   C2. The process may have become another program, with the rights of another user: a client that
//       starts a program which is set-user-ID stays connected by a child of its own. Who owns the
//       process, as /proc has it, must be who connected.
//
// Thread: the reactor's.
#pragma once

#include <sys/types.h>

#include <utility>

#include "base/result.h"
#include "transport/socket.h"

namespace terrace {

/// A pidfd of the process `pid` that connected, or listens, at the other end of a unix socket: of
/// it alone where the system tells it (C1). None: it has exited, or cannot be had.
UniqueFd PidfdBehind(int socket, pid_t pid);

class ClientProcess {
 public:
  /// kUnsupported, with the reason, when the process is not visible, or is not its client's now.
  static Result<ClientProcess> Behind(int socket);

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Readable once the process has exited.
  [[nodiscard]] int life() const noexcept { return life_.get(); }
  /// kPeerDead: it has exited.
  [[nodiscard]] Status CheckLife() const;
  /// Before its memory is used by its number, and after it was read. kPeerDead: it has exited, or
  /// is another user's program. One system call.
  [[nodiscard]] Status CheckOwner() const;

 private:
  ClientProcess(pid_t pid, uid_t user, UniqueFd life, UniqueFd folder)
      : pid_(pid), user_(user), life_(std::move(life)), folder_(std::move(folder)) {}

  pid_t pid_;
  uid_t user_;
  UniqueFd life_;
  UniqueFd folder_;  // of the process in /proc; none: it cannot be seen, and is of our own user
};

}  // namespace terrace
