// Which UCX transports the RDMA worker uses, and how a test without a NIC exercises its logic.
#pragma once

#include <string>

namespace terrace {

struct RdmaTransports {
  std::string transports = "ib";  ///< UCX_TLS: every verbs transport, no tcp
  std::string devices = "all";
  /// True: clients of the same host use the link as well, before any other.
  bool same_host = false;
};

/// What workers made from now on use.
const RdmaTransports& CurrentRdmaTransports();
/// For tests only, before any reactor runs: e.g. tcp, whose emulated RMA behaves like verbs, with
/// the dangers that keep it out of production (docs/protocol.md, security).
void SetRdmaTransportsForTest(RdmaTransports transports);

}  // namespace terrace
