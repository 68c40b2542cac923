#include "transport/ucx_workers.h"

#include "transport/data_message.h"
#include "transport/rdma_transports.h"

namespace terrace {

UcxWorkers::~UcxWorkers() {
  for (const auto& [name, worker] : workers_) reactor_.RemovePoller(*worker);
  if (rdma_ != nullptr) reactor_.RemovePoller(*rdma_);
}

Result<UcxWorker*> UcxWorkers::Rdma() {
  if (!no_rdma_.ok()) return no_rdma_;
  if (rdma_ == nullptr) {
    UcxWorkerOptions options;
    options.name = "rdma";
    options.transports = CurrentRdmaTransports().transports;
    options.devices = CurrentRdmaTransports().devices;
    options.rma = true;
    options.shared = reactor_.shared();
    auto worker = UcxWorker::Create(options);
    if (!worker.ok()) {
      no_rdma_ = Status(StatusCode::kUnsupported, worker.status().message());
      return no_rdma_;
    }
    rdma_ = std::move(worker.value());
    reactor_.AddPoller(*rdma_);
  }
  return rdma_.get();
}

Result<UcxWorker*> UcxWorkers::For(const std::string& interface) {
  const auto found = workers_.find(interface);
  if (found != workers_.end()) return found->second.get();
  UcxWorkerOptions options;
  options.name = interface.empty() ? "tcp" : "tcp on " + interface;
  options.devices = interface.empty() ? "all" : interface;
  options.shared = reactor_.shared();
  auto worker = UcxWorker::Create(options);
  if (!worker.ok()) return worker.status();
  UcxWorker* raw = worker->get();
  raw->SetReceiver(kControlAmId, &receiver_);
  raw->SetReceiver(kDataAmId, &receiver_);
  raw->SetReceiver(UcxWorker::kOtherAmIds, &receiver_);
  reactor_.AddPoller(*raw);
  workers_[interface] = std::move(worker.value());
  return raw;
}

void UcxWorkers::CloseIdleListeners() {
  for (const auto& [name, worker] : workers_) worker->CloseIdleListeners();
}

std::size_t UcxWorkers::in_flight() const noexcept {
  std::size_t total = rdma_ == nullptr ? 0 : rdma_->in_flight();
  for (const auto& [name, worker] : workers_) total += worker->in_flight();
  return total;
}

}  // namespace terrace
