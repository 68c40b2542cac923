// RdmaWorker: the UCX worker of one reactor for remote memory access, made when it is first wanted
// (about 10 ms). Thread: the reactor's.
#pragma once

#include <memory>

#include "base/reactor.h"
#include "base/result.h"
#include "transport/rdma/ucx_worker.h"

namespace terrace {

class RdmaWorker {
 public:
  explicit RdmaWorker(Reactor& reactor) : reactor_(reactor) {}
  ~RdmaWorker();
  RdmaWorker(const RdmaWorker&) = delete;
  RdmaWorker& operator=(const RdmaWorker&) = delete;

  /// kUnsupported when there is no NIC for it; then UCX is asked once only.
  Result<UcxWorker*> Get();
  [[nodiscard]] std::size_t in_flight() const noexcept;

 private:
  Reactor& reactor_;
  std::unique_ptr<UcxWorker> worker_;
  Status none_;  // why there is none, once it was tried
};

}  // namespace terrace
