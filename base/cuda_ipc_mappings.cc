#include "base/cuda_ipc_mappings.h"

#include <cuda_runtime_api.h>

#include <cstring>
#include <string>

#include "base/check.h"
#include "base/cuda_driver.h"
#include "base/cuda_status.h"

namespace terrace {
namespace {

/// What cudaIpcOpenMemHandle says of a handle.
StatusCode CodeOfOpen(cudaError_t error) {
  switch (error) {
    case cudaErrorMapBufferObjectFailed:
    case cudaErrorInvalidResourceHandle: return StatusCode::kPeerDead;
    case cudaErrorInvalidValue:
    case cudaErrorDeviceUninitialized:  // of a handle of its own process
    case cudaErrorAlreadyMapped: return StatusCode::kInvalid;
    default: return CudaStatus(error, "").code();
  }
}

}  // namespace

CudaIpcMappings& CudaIpcMappings::OfProcess() {
  static auto* const mappings = new CudaIpcMappings;  // threads may close mappings after main
  return *mappings;
}

Result<CudaIpcMappings::Mapping> CudaIpcMappings::Map(int device,
                                                      const std::vector<std::byte>& bytes) {
  cudaIpcMemHandle_t handle{};
  if (bytes.size() != sizeof(handle)) {
    return Status::Invalid("handle has " + std::to_string(bytes.size()) + " bytes, not " +
                           std::to_string(sizeof(handle)));
  }
  std::memcpy(&handle, bytes.data(), sizeof(handle));
  void* mapped = nullptr;
  const cudaError_t error = cudaIpcOpenMemHandle(&mapped, handle, cudaIpcMemLazyEnablePeerAccess);
  if (error != cudaSuccess) {
    return Status(CodeOfOpen(error),
                  "handle: " + CudaStatus(error, "cudaIpcOpenMemHandle").message());
  }
  Mapping mapping{.base = static_cast<std::byte*>(mapped)};
  // The driver maps memory of any GPU that reaches this one: copies would go between them, and be
  // ordered by streams of the wrong one.
  cudaPointerAttributes attributes{};
  if (const cudaError_t asked = cudaPointerGetAttributes(&attributes, mapped);
      asked != cudaSuccess) {
    Unmap(mapping);
    return CudaStatus(asked, "cudaPointerGetAttributes");
  }
  if (attributes.device != device) {
    Unmap(mapping);
    return Status::Invalid("handle: it is of memory of GPU " + std::to_string(attributes.device) +
                           " of this machine, and gpu names GPU " + std::to_string(device));
  }
  const Result<CudaAllocation> allocation = AllocationOf(mapped);
  if (!allocation.ok()) {
    Unmap(mapping);
    return Status(StatusCode::kIo, "handle: " + allocation.status().message());
  }
  mapping.bytes =
      allocation->base + allocation->bytes - reinterpret_cast<std::uintptr_t>(mapping.base);
  return mapping;
}

void CudaIpcMappings::Unmap(const Mapping& mapping) {
  (void)cudaIpcCloseMemHandle(mapping.base);
  (void)cudaGetLastError();
}

Result<std::span<std::byte>> CudaIpcMappings::Open(int device, const DeviceExport& exported) {
  const OnCudaDevice on_device(device);
  if (!on_device.status().ok()) return on_device.status();
  const std::lock_guard lock(mutex_);
  auto known = mappings_.find({device, exported.handle});
  if (known == mappings_.end()) {
    const Result<Mapping> mapping = Map(device, exported.handle);
    if (!mapping.ok()) return mapping.status();
    known = mappings_.emplace(std::pair(device, exported.handle), *mapping).first;
  }
  Mapping& mapping = known->second;
  if (exported.offset > mapping.bytes || exported.bytes > mapping.bytes - exported.offset) {
    Status status = Status::Invalid("length " + std::to_string(exported.bytes) + " from " +
                                    std::to_string(exported.offset) +
                                    " on, and the allocation has " + std::to_string(mapping.bytes));
    if (mapping.users == 0) {
      Unmap(mapping);
      mappings_.erase(known);
    }
    return status;
  }
  ++mapping.users;
  std::byte* const memory = mapping.base + exported.offset;
  opened_.emplace(std::pair(device, memory), known);
  return std::span(memory, exported.bytes);
}

void CudaIpcMappings::Close(int device, std::span<std::byte> memory) {
  const OnCudaDevice on_device(device);
  const std::lock_guard lock(mutex_);
  const auto opened = opened_.find({device, memory.data()});
  TERRACE_CHECK(opened != opened_.end());
  const Mappings::iterator known = opened->second;
  opened_.erase(opened);
  if (--known->second.users > 0) return;
  // What fails here has failed before: the device is lost, and all of its mappings with it.
  if (on_device.status().ok()) Unmap(known->second);
  mappings_.erase(known);
}

}  // namespace terrace
