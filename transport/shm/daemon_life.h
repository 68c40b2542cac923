// DaemonProcess: the process of a daemon, as a client on its host sees it. DaemonLife: waits for
// its end, for a client whose memory of a GPU it copies.
//
// Model. When a daemon is killed, the system closes its socket and its GPU in no order that can be
// relied on: after the end of the socket a copy may still be under way. Both are closed before the
// process counts as exited, so who waits for that knows. A daemon that closed the socket and lives
// on has ended its copies before (DeviceMoves). So memory of a GPU is for daemons whose process can
// be watched alone: from another PID namespace, say, it cannot.
//
// Thread: of DaemonProcess any; of DaemonLife the reactor's.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "transport/socket.h"

namespace terrace {

class DaemonProcess {
 public:
  /// The process at the other end of a unix socket. kUnsupported, with the reason, when its life
  /// cannot be watched from here.
  static Result<std::shared_ptr<const DaemonProcess>> Behind(int socket);

  /// Readable once it has exited.
  [[nodiscard]] int life() const noexcept { return life_.get(); }
  [[nodiscard]] bool Exited() const noexcept { return AwaitExit(0); }
  /// It is about to exit, or has.
  [[nodiscard]] bool Exiting() const noexcept;
  /// True once it has exited, false after so long (ns). Blocks.
  [[nodiscard]] bool AwaitExit(Nanos patience) const noexcept;
  /// Of two that have not exited.
  [[nodiscard]] bool IsSame(const DaemonProcess& other) const noexcept {
    return pid_ == other.pid_;
  }

 private:
  DaemonProcess(pid_t pid, UniqueFd life, UniqueFd about)
      : pid_(pid), life_(std::move(life)), about_(std::move(about)) {}
  /// Flags of the kernel's; none when they are not to be read. Allocates nothing.
  [[nodiscard]] std::optional<unsigned long> Flags() const noexcept;

  const pid_t pid_;
  const UniqueFd life_;   // pidfd
  const UniqueFd about_;  // /proc/PID/stat, of this process whoever has its number later
};

class DaemonLife final : private SocketEvents {
 public:
  /// `poll` outlives it.
  DaemonLife(SocketPoll& poll, std::shared_ptr<const DaemonProcess> process)
      : poll_(poll), process_(std::move(process)) {}
  ~DaemonLife();
  DaemonLife(const DaemonLife&) = delete;
  DaemonLife& operator=(const DaemonLife&) = delete;

  [[nodiscard]] const DaemonProcess& process() const noexcept { return *process_; }
  /// True: the process is about to exit, and `exited` is called once it has; this may be destroyed
  /// in there. False: it lives, or has exited. Once.
  [[nodiscard]] bool AwaitExit(std::function<void()> exited);

 private:
  void OnSocket(bool readable, bool writable) override;

  SocketPoll& poll_;
  const std::shared_ptr<const DaemonProcess> process_;
  std::function<void()> exited_;
};

}  // namespace terrace
