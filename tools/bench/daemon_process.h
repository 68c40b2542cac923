// DaemonProcess: a terraced of this build, started for one benchmark and stopped after it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

namespace terrace::bench {

struct DaemonSettings {
  std::uint64_t dram_bytes = 1ULL << 30;
  std::uint32_t reactors = 1;
  std::uint32_t spin_us = 0;
};

class DaemonProcess {
 public:
  /// Starts bin/terraced beside this program on a free port and waits for it. Exits with a message
  /// when it does not come up within 30 s.
  explicit DaemonProcess(const DaemonSettings& settings);
  /// SIGTERM, and SIGKILL after 15 s.
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  /// "127.0.0.1:PORT" of reactor 0.
  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// CPU time used so far, seconds.
  [[nodiscard]] double CpuSeconds() const;

 private:
  std::string folder_;
  std::string address_;
  pid_t pid_ = -1;
};

}  // namespace terrace::bench
