#include "tiers/hbm/cuda/pinned_memory.h"

#include <cuda_runtime_api.h>

#include <map>
#include <mutex>

#include "base/check.h"
#include "base/cuda_status.h"

namespace terrace {
namespace {

struct Pinned {
  std::size_t bytes = 0;
  std::size_t users = 0;
};

struct Registry {
  std::mutex mutex;
  std::map<const std::byte*, Pinned> pinned;
};

// Of the process, as the driver's own is.
Registry& TheRegistry() {
  static Registry registry;
  return registry;
}

}  // namespace

Status PinHostMemory(std::span<std::byte> memory) {
  if (memory.empty()) return Status::Invalid("0 bytes");
  Registry& registry = TheRegistry();
  const std::lock_guard lock(registry.mutex);
  if (const auto found = registry.pinned.find(memory.data());
      found != registry.pinned.end() && found->second.bytes == memory.size()) {
    ++found->second.users;
    return {};
  }
  for (const auto& [start, pinned] : registry.pinned) {
    if (start < memory.data() + memory.size() && memory.data() < start + pinned.bytes) {
      return Status::Invalid("some of it is registered already");
    }
  }
  if (const cudaError_t error =
          cudaHostRegister(memory.data(), memory.size(), cudaHostRegisterPortable);
      error != cudaSuccess) {
    const Status status = CudaStatus(error, "cudaHostRegister");
    return {StatusCode::kUnsupported, status.message()};
  }
  registry.pinned[memory.data()] = {.bytes = memory.size(), .users = 1};
  return {};
}

void UnpinHostMemory(std::span<std::byte> memory) {
  Registry& registry = TheRegistry();
  const std::lock_guard lock(registry.mutex);
  const auto found = registry.pinned.find(memory.data());
  TERRACE_CHECK(found != registry.pinned.end() && found->second.bytes == memory.size());
  if (--found->second.users > 0) return;
  registry.pinned.erase(found);
  (void)cudaHostUnregister(memory.data());
  (void)cudaGetLastError();
}

}  // namespace terrace
