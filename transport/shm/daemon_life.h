// DaemonLife: waits for the end of a daemon's process, for a client whose memory of a GPU it
// copies.
//
// Model. When a daemon is killed, the system closes its socket and its GPU in no order that can be
// relied on: after the end of the socket a copy may still be under way. Both are closed before the
// process counts as exited, so who waits for that knows. A daemon that closed the socket and lives
// on has ended its copies before (DeviceMoves).
//
// Thread: the reactor's.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "transport/shm/client_process.h"
#include "transport/socket.h"

namespace terrace {

class DaemonLife final : private SocketEvents {
 public:
  /// The process at the other end of `socket`; null when it cannot be seen. `poll` outlives it.
  static std::unique_ptr<DaemonLife> Behind(SocketPoll& poll, int socket);
  ~DaemonLife();
  DaemonLife(const DaemonLife&) = delete;
  DaemonLife& operator=(const DaemonLife&) = delete;

  /// True: the process is about to exit, and `exited` is called once it has; this may be destroyed
  /// in there. False: it lives, or has exited. Once.
  [[nodiscard]] bool AwaitExit(std::function<void()> exited);

 private:
  DaemonLife(SocketPoll& poll, ClientProcess process) : poll_(poll), process_(std::move(process)) {}
  void OnSocket(bool readable, bool writable) override;
  [[nodiscard]] bool Exiting() const;

  SocketPoll& poll_;
  const ClientProcess process_;
  std::function<void()> exited_;
};

}  // namespace terrace
