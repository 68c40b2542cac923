#include "transport/rdma/rdma_worker.h"

#include <filesystem>
#include <system_error>

#include "transport/rdma/rdma_transports.h"

namespace terrace {
namespace {

/// Whether the kernel knows a NIC for verbs. Without one UCX need not be asked, which starts
/// threads and takes a process's memory hooks: an engine's, perhaps.
bool HasVerbs() {
  std::error_code error;
  const std::filesystem::directory_iterator devices("/sys/class/infiniband", error);
  return !error && devices != std::filesystem::directory_iterator();
}

}  // namespace

RdmaWorker::~RdmaWorker() {
  if (worker_ != nullptr) reactor_.RemovePoller(*worker_);
}

Result<UcxWorker*> RdmaWorker::Get() {
  if (!none_.ok()) return none_;
  if (worker_ == nullptr && !CurrentRdmaTransports().same_host && !HasVerbs()) {
    none_ = Status(StatusCode::kUnsupported, "the host has no NIC for RDMA");
    return none_;
  }
  if (worker_ == nullptr) {
    UcxWorkerOptions options;
    options.name = "rdma";
    options.transports = CurrentRdmaTransports().transports;
    options.devices = CurrentRdmaTransports().devices;
    options.shared = reactor_.shared();
    auto worker = UcxWorker::Create(options);
    if (!worker.ok()) {
      none_ = Status(StatusCode::kUnsupported, worker.status().message());
      return none_;
    }
    worker_ = std::move(worker.value());
    reactor_.AddPoller(*worker_);
  }
  return worker_.get();
}

std::size_t RdmaWorker::in_flight() const noexcept {
  return worker_ == nullptr ? 0 : worker_->in_flight();
}

}  // namespace terrace
