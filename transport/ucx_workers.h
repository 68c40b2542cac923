// UcxWorkers: the UCX workers of one reactor: for TCP one per network interface in use, for RDMA
// one of its own (ucx_worker.h, U4).
//
// A TCP worker is bound to one interface (UCX_NET_DEVICES), because UCX 1.13 would otherwise
// advertise every interface of the host and pick one that need not reach the peer, and because a
// daemon on the loopback interface must not open a UCX port on another. Made when first needed
// (about 10 ms). Thread: the reactor's, or before it runs.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/reactor.h"
#include "base/result.h"
#include "transport/ucx_worker.h"

namespace terrace {

class UcxWorkers {
 public:
  /// `receiver` hears the control and data messages of all of them.
  UcxWorkers(Reactor& reactor, AmReceiver& receiver) : reactor_(reactor), receiver_(receiver) {}
  ~UcxWorkers();
  UcxWorkers(const UcxWorkers&) = delete;
  UcxWorkers& operator=(const UcxWorkers&) = delete;

  /// The worker for an interface, e.g. "lo"; empty: the one for all interfaces.
  Result<UcxWorker*> For(const std::string& interface);
  /// The worker for remote memory access; kUnsupported when there is no NIC for it.
  Result<UcxWorker*> Rdma();
  void CloseIdleListeners();
  [[nodiscard]] std::size_t in_flight() const noexcept;

 private:
  Reactor& reactor_;
  AmReceiver& receiver_;
  std::map<std::string, std::unique_ptr<UcxWorker>> workers_;
  std::unique_ptr<UcxWorker> rdma_;
  Status no_rdma_;  // why there is none, once it was tried
};

}  // namespace terrace
