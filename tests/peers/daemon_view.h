// DaemonView: what a client that is gone must not leave behind in the daemon, looked at from
// outside: its counters, its descriptors and its threads.
//
// Thread: one. Lifetime: client and watch outlive it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "client/terrace.hpp"
#include "tests/peers/pause_watch.h"

namespace terrace::peers {

struct Traces {
  double connections = 0;
  double quarantined = 0;  ///< frames that wait for their transport
  double lent = 0;         ///< blocks
  double frames = 0;       ///< of DRAM, allocated: with no block left, what is pinned
  /// But for files, which are the store's, and the arena's memories: their numbers change anyway.
  double descriptors = 0;
  double threads = 0;    ///< but for RocksDB's and io_uring's, which come and go
  double unwritten = 0;  ///< bytes that wait for NVMe or are being written: their frames are pinned
  double extents_moved = 0;  ///< since the start, from one tenant to another
  bool operator==(const Traces&) const = default;
  [[nodiscard]] std::string ToString() const;
};

class DaemonView {
 public:
  DaemonView(Client& client, pid_t daemon, const PauseWatch& pauses)
      : client_(client), daemon_(daemon), pauses_(pauses) {}
  [[nodiscard]] Result<Traces> Look() const;
  /// Looks until `reached` says yes; how long that took, or kTimeout with what is there instead.
  /// Time in which nothing ran does not count towards the limit.
  Result<std::chrono::nanoseconds> Await(const std::function<bool(const Traces&)>& reached,
                                         std::chrono::milliseconds limit) const;

  /// What was there while Await last looked in vain, and since when: a line for each change, the
  /// first and the last few of them.
  [[nodiscard]] std::string in_the_way() const;

 private:
  Client& client_;
  const pid_t daemon_;
  const PauseWatch& pauses_;
  mutable std::vector<std::string> in_the_way_;
};

}  // namespace terrace::peers
