#include "transport/rdma/rdma_worker.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "transport/rdma/rdma_transports.h"
#include "transport/rdma/ucx_gpu.h"

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

RdmaWorker::~RdmaWorker() { End(); }

void RdmaWorker::End() {
  if (worker_ == nullptr) return;
  reactor_.RemovePoller(*worker_);
  worker_->Settle();  // it may be reading what is registered
  for (const Registered& one : std::exchange(registered_, {})) {
    worker_->Unregister(one.memory.handle);
  }
  worker_.reset();
}

Result<UcxWorker*> RdmaWorker::Get() { return Make(false, false); }

Result<UcxWorker*> RdmaWorker::Make(bool early, bool cuda) {
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
    options.shared = early || reactor_.shared();
    options.cuda = cuda;
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

GpuWire RdmaWorker::AttachPools(std::span<const DevicePool> pools) {
  const auto staged = [](GpuWire::Reason reason, std::string detail) {
    return GpuWire{.straight = false, .reason = reason, .detail = std::move(detail)};
  };
  if (!CurrentRdmaTransports().same_host && !HasVerbs()) {
    return staged(GpuWire::Reason::kNoNic, "the host has no NIC for RDMA");
  }
  const bool cuda = std::ranges::any_of(
      pools, [](const DevicePool& pool) { return pool.kind == DeviceMemoryKind::kCuda; });
  switch (cuda ? FindUcxCuda() : UcxCuda::kUsable) {
    case UcxCuda::kAbsent:
      return staged(GpuWire::Reason::kUcxWithoutCuda, "the UCX found has no CUDA support");
    case UcxCuda::kTooOld:
      return staged(GpuWire::Reason::kUcxTooOld,
                    std::string("UCX ") + ucp_get_version_string() + " is older than 1.16");
    case UcxCuda::kUsable: break;
  }
  if (const auto worker = Make(true, cuda); !worker.ok()) {
    none_ = Status();  // without memory of GPUs it may do
    return staged(cuda ? GpuWire::Reason::kRegistration : GpuWire::Reason::kNoNic,
                  worker.status().message());
  }
  for (const DevicePool& pool : pools) {
    for (const std::span<std::byte> memory : pool.memory) {
      if (Status failed = Register(pool, memory); !failed.ok()) {
        End();  // the next one is as without GPUs
        return staged(GpuWire::Reason::kRegistration, failed.message());
      }
    }
  }
  return {.straight = true, .reason = GpuWire::Reason::kRegistered, .detail = {}};
}

Status RdmaWorker::Register(const DevicePool& pool, std::span<std::byte> memory) {
  const auto made = worker_->Register(memory, pool.kind);
  if (!made.ok()) {
    return {made.code(), pool.name + ", " + std::to_string(memory.size()) +
                             " bytes: " + made.status().message()};
  }
  registered_.push_back({pool.gpu, {memory, pool.kind, made->memory}});
  return {};
}

bool RdmaWorker::Reaches(const DeviceCopier& gpu) const noexcept {
  return std::ranges::any_of(registered_,
                             [&gpu](const Registered& one) { return one.gpu == &gpu; });
}

const UcxMemory* RdmaWorker::MemoryAt(std::span<const std::byte> bytes) const noexcept {
  for (const Registered& one : registered_) {
    const std::span<std::byte> memory = one.memory.bytes;
    if (bytes.data() >= memory.data() && bytes.size() <= memory.size() &&
        bytes.data() - memory.data() <= static_cast<std::ptrdiff_t>(memory.size() - bytes.size())) {
      return &one.memory;
    }
  }
  return nullptr;
}

std::size_t RdmaWorker::in_flight() const noexcept {
  return worker_ == nullptr ? 0 : worker_->in_flight();
}

}  // namespace terrace
