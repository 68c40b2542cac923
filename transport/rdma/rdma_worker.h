// RdmaWorker: the UCX worker of one reactor for remote memory access, made when it is first wanted
// (about 10 ms). Thread: the reactor's.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/device_region.h"
#include "base/reactor.h"
#include "base/result.h"
#include "transport/gpu_wire.h"
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
  /// Registers the memory of these GPUs, all of it or none, which stays until the worker goes. Says
  /// whether the NIC can read blocks there. Once, before the reactor runs and before Get; the
  /// thread that runs it need not be this one. Blocks: some 10 ms, and what the driver takes to pin
  /// the memory.
  GpuWire AttachPools(std::span<const DevicePool> pools);
  /// Blocks of that GPU can be read by the NIC.
  [[nodiscard]] bool Reaches(const DeviceCopier& gpu) const noexcept;
  /// The registered memory that those bytes lie in; null when there is none.
  [[nodiscard]] const UcxMemory* MemoryAt(std::span<const std::byte> bytes) const noexcept;
  [[nodiscard]] std::size_t in_flight() const noexcept;

 private:
  struct Registered {
    const DeviceCopier* gpu = nullptr;
    UcxMemory memory;
  };
  Result<UcxWorker*> Make(bool early, bool cuda);
  Status Register(const DevicePool& pool, std::span<std::byte> memory);
  void End();

  Reactor& reactor_;
  std::unique_ptr<UcxWorker> worker_;
  std::vector<Registered> registered_;
  Status none_;  // why there is none, once it was tried
};

}  // namespace terrace
