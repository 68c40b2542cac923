#include "tests/crash/crash_daemon.h"

#include <unistd.h>

#include <sstream>

namespace terrace::crash {

std::vector<std::string> CrashDaemon::LogFiles(const StorePlan& store) const {
  std::vector<std::string> files;
  for (std::uint32_t device = 0; store.devices > 1 && device < store.devices; ++device) {
    files.push_back(folder() + "/device-" + std::to_string(device));
  }
  return files;
}

Status CrashDaemon::Start(const StorePlan& store, const CyclePlan& cycle, const ArmedPoint* point) {
  std::ostringstream file;
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  file << "[server]\nlisten = \"127.0.0.1:0\"\nreactors = " << store.reactors << "\nport_file = \""
       << PortFile() << "\"\nio_uring = " << flag(cycle.io_uring)
       << "\nsame_host = " << flag(cycle.same_host) << "\n[dram]\ncapacity = " << cycle.dram_bytes
       << "\n[nvme]\nfolder = \"" << StoreFolder() << "\"\ncapacity = " << store.capacity_bytes
       << "\nblock_max = \"64KiB\"\nsync_ms = " << cycle.sync_ms
       << "\nwrite_share_percent = " << cycle.write_share_percent
       << "\nwrite_bytes_per_day = " << cycle.write_bytes_per_day << "\nfiles = [";
  for (const std::string& device : LogFiles(store)) file << '"' << device << "\", ";
  file << "]\n[cache]\nblocks_max = " << store.blocks_max << "\n[log]\nfile = \"" << folder()
       << "/daemon.log\"\n[metrics]\nenabled = false\n";
  return StartWith(file.str(), point);
}

Status CrashDaemon::StartWith(const std::string& config, const ArmedPoint* point) {
  // Crashes in a row are what this is about: the operator's remedy of docs/operations.md.
  ::unlink((StoreFolder() + "/starts").c_str());
  std::string variable;
  if (point != nullptr) {
    variable =
        "TERRACE_CRASH_POINT=" + std::string(point->name) + ":" + std::to_string(point->times);
  }
  return DaemonProcess::Start(config, variable);
}

}  // namespace terrace::crash
