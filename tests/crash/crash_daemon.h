// CrashDaemon: one life of a terraced with an NVMe tier that is made to die.
//
// Thread: the main thread's, which no other thread outlives when a daemon is started (it forks).
// Failures of the system around it (no such program, no process to be had) are a Status.
#pragma once

#include <string>
#include <vector>

#include "tests/common/daemon_process.h"
#include "tests/crash/plan.h"

namespace terrace::crash {

class CrashDaemon : public DaemonProcess {
 public:
  using DaemonProcess::DaemonProcess;

  /// Starts it, with `point` armed unless null. REQUIRES: it does not run.
  Status Start(const StorePlan& store, const CyclePlan& cycle, const ArmedPoint* point);
  /// The same with a configuration of the caller's, whose server.port_file is PortFile().
  Status StartWith(const std::string& config, const ArmedPoint* point);
  /// FOLDER/store, nvme.folder.
  [[nodiscard]] std::string StoreFolder() const { return folder() + "/store"; }
  /// nvme.files; empty when the log is FOLDER/store/log-0.
  [[nodiscard]] std::vector<std::string> LogFiles(const StorePlan& store) const;
};

}  // namespace terrace::crash
