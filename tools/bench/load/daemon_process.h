// DaemonProcess: a terraced of this build, started for one benchmark and stopped after it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "tools/bench/cpu_times.h"

namespace terrace::bench {

struct DaemonSettings {
  std::uint64_t dram_bytes = 1ULL << 30;
  std::uint32_t reactors = 1;
  std::uint32_t spin_us = 0;
  std::uint32_t blocks_max = 0;          ///< of the index; 0: the daemon's own choice
  std::uint64_t event_bytes = 16 << 20;  ///< of the log of events; 0: none
  std::string nvme_folder{};     ///< of the NVMe tier's log and index, kept; empty: no such tier
  std::uint64_t nvme_bytes = 0;  ///< of its log
  std::uint64_t nvme_read_bytes_per_s = 0;  ///< its limit; 0: none
};

/// The NVMe tier's log within DaemonSettings::nvme_folder.
inline constexpr const char* kLogName = "log-0";
/// The folder of its index there.
inline constexpr const char* kIndexName = "index";

class DaemonProcess {
 public:
  /// Starts bin/terraced beside this program on a free port and waits for it. Exits with a message
  /// when it does not come up within 30 s.
  explicit DaemonProcess(const DaemonSettings& settings);
  /// SIGTERM, and SIGKILL after 15 s.
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  /// SIGKILL, and waits for its end. The other members are not called after it.
  void Kill();

  /// "127.0.0.1:PORT" of reactor 0.
  [[nodiscard]] const std::string& address() const noexcept { return address_; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// From the start of the process until its ports were written, seconds; within 1 ms.
  [[nodiscard]] double seconds_to_ready() const noexcept { return seconds_to_ready_; }
  /// CPU time used so far.
  [[nodiscard]] CpuTimes Cpu() const;
  /// Bytes that it has caused to be written to storage so far: those past the page cache, and pages
  /// that it made dirty.
  [[nodiscard]] std::uint64_t StorageBytesWritten() const;

 private:
  void WaitUntilReady(const std::string& program);

  std::string folder_;
  std::string address_;
  pid_t pid_ = -1;
  double seconds_to_ready_ = 0;
};

}  // namespace terrace::bench
