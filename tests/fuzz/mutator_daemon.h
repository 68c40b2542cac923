// MutatorDaemon: a real terraced with a store of its own, looked at from outside.
//
// Thread: the main thread's. Lifetime: from Start to the destructor, which kills it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace terrace::fuzz {

class MutatorDaemon {
 public:
  /// `program`: terraced. `folder`: of its files; it exists.
  MutatorDaemon(std::string program, std::string folder);
  /// SIGKILL, if it runs.
  ~MutatorDaemon();
  MutatorDaemon(const MutatorDaemon&) = delete;
  MutatorDaemon& operator=(const MutatorDaemon&) = delete;

  /// kIo, kTimeout when no client can connect within a minute.
  Status Start();
  /// SIGTERM. Not ok: it ended otherwise than with 0 within a minute.
  Status Stop();
  /// How it ended; empty while it runs.
  [[nodiscard]] std::string Ended();
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::uint16_t http_port() const noexcept { return http_port_; }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::size_t OpenDescriptors() const;
  /// Resident, in MiB; 0 when it has gone.
  [[nodiscard]] std::size_t MemoryMib() const;
  [[nodiscard]] std::string ErrorFile() const { return folder_ + "/daemon.err"; }

 private:
  Status WriteConfig() const;

  const std::string program_;
  const std::string folder_;
  pid_t pid_ = -1;
  std::uint16_t port_ = 0;
  std::uint16_t http_port_ = 0;
  std::string ended_;
};

}  // namespace terrace::fuzz
