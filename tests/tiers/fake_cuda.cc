#include "tests/tiers/fake_cuda.h"

#include <cuda.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "tiers/hbm/cuda/checksum_kernel.h"

using terrace::testing::FakeCuda;

FakeCuda& FakeCuda::Get() {
  static FakeCuda fake;
  return fake;
}

namespace {

constexpr std::size_t kMappedBytes = 1 << 20;
std::array<std::byte, kMappedBytes> exported;
int current = 0;

std::vector<int> before;  // of what was pushed

CUresult Init(unsigned /*flags*/) { return CUDA_SUCCESS; }
CUresult DeviceGet(CUdevice* handle, int device) {
  *handle = device;
  return CUDA_SUCCESS;
}
CUresult Retain(CUcontext* context, CUdevice device) {
  FakeCuda::Get().was_reset = false;
  *context = reinterpret_cast<CUcontext>(static_cast<std::intptr_t>(device) + 1);  // not followed
  return CUDA_SUCCESS;
}
CUresult Push(CUcontext context) {
  const int device = static_cast<int>(reinterpret_cast<std::intptr_t>(context)) - 1;
  if (FakeCuda::Get().lost == device) return CUDA_ERROR_UNKNOWN;
  if (FakeCuda::Get().was_reset) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  before.push_back(std::exchange(current, device));
  return CUDA_SUCCESS;
}
CUresult Pop(CUcontext* /*context*/) {
  current = before.back();
  before.pop_back();
  return CUDA_SUCCESS;
}
CUresult PointerAttribute(void* answer, CUpointer_attribute attribute, CUdeviceptr /*at*/) {
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      *static_cast<unsigned*>(answer) = CU_MEMORYTYPE_DEVICE;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      *static_cast<int*>(answer) = FakeCuda::Get().owner;
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      *static_cast<CUdeviceptr*>(answer) = reinterpret_cast<CUdeviceptr>(exported.data());
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      *static_cast<std::size_t*>(answer) = exported.size();
      return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult AddressRange(CUdeviceptr* base, std::size_t* bytes, CUdeviceptr /*at*/) {
  if (FakeCuda::Get().knows_no_range) return CUDA_ERROR_NOT_FOUND;
  *base = reinterpret_cast<CUdeviceptr>(exported.data());
  *bytes = exported.size();
  return CUDA_SUCCESS;
}

/// The calls of the driver that are asked for by name.
void* Named(std::string_view name) {
  if (name == "cuInit") return reinterpret_cast<void*>(&Init);
  if (name == "cuDeviceGet") return reinterpret_cast<void*>(&DeviceGet);
  if (name == "cuDevicePrimaryCtxRetain") return reinterpret_cast<void*>(&Retain);
  if (name == "cuCtxPushCurrent") return reinterpret_cast<void*>(&Push);
  if (name == "cuCtxPopCurrent") return reinterpret_cast<void*>(&Pop);
  if (name == "cuMemGetAddressRange") return reinterpret_cast<void*>(&AddressRange);
  if (name == "cuPointerGetAttribute") return reinterpret_cast<void*>(&PointerAttribute);
  return nullptr;
}

template <typename T>
cudaError_t MakeHandle(T* handle) {
  *handle = reinterpret_cast<T>(&current);  // not null, and never followed
  return cudaSuccess;
}

}  // namespace

namespace terrace {

cudaError_t LaunchPieces(std::span<const KernelPiece> pieces, std::uint64_t* results,
                         cudaStream_t /*stream*/) {
  FakeCuda& fake = FakeCuda::Get();
  ++fake.launches;
  if (fake.launch_error != cudaSuccess) return fake.launch_error;
  for (const KernelPiece& piece : pieces) {
    if (piece.to != nullptr) {
      std::memcpy(piece.to, piece.at, piece.bytes);
      fake.copied_by_kernel += piece.bytes;
      if (fake.miscopies && piece.bytes > 0) piece.to[piece.bytes / 2] ^= std::byte{1};
    }
    *results++ = Checksum64({piece.at, piece.bytes}) + fake.wrong_sums;
  }
  return cudaSuccess;
}

}  // namespace terrace

extern "C" {

const char* cudaGetErrorName(cudaError_t /*error*/) { return "cudaErrorOfAFake"; }
const char* cudaGetErrorString(cudaError_t /*error*/) { return "as the test wants it"; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 2;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  properties->name[0] = 'F';
  properties->uuid.bytes[0] = static_cast<char>(device + 1);
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  current = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
  *lowest = *highest = 0;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned /*flags*/, int /*prio*/) {
  return MakeHandle(stream);
}
cudaError_t cudaStreamDestroy(cudaStream_t /*stream*/) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t /*stream*/) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t /*stream*/, cudaEvent_t /*event*/,
                                unsigned /*flags*/) {
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  return MakeHandle(event);
}
cudaError_t cudaEventDestroy(cudaEvent_t /*event*/) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t /*event*/, cudaStream_t /*stream*/) { return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t /*event*/) {
  return FakeCuda::Get().running ? cudaErrorNotReady : cudaSuccess;
}
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  if (FakeCuda::Get().malloc_error != cudaSuccess) return FakeCuda::Get().malloc_error;
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned /*flags*/) {
  *memory = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) { return cudaFree(memory); }
cudaError_t cudaHostRegister(void* /*memory*/, std::size_t /*bytes*/, unsigned /*flags*/) {
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void* /*memory*/) {
  ++FakeCuda::Get().unregistered;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = 1 << 30;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind /*kind*/,
                            cudaStream_t /*stream*/) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
#if CUDART_VERSION >= 13000
cudaError_t cudaMemcpyBatchAsync(void* const* to, const void* const* from, const std::size_t* bytes,
                                 std::size_t count, cudaMemcpyAttributes* /*attributes*/,
                                 std::size_t* /*first*/, std::size_t /*attributes_count*/,
                                 cudaStream_t stream) {
  for (std::size_t i = 0; i < count; ++i) {
    cudaMemcpyAsync(to[i], from[i], bytes[i], cudaMemcpyDefault, stream);
  }
  return cudaSuccess;
}
#endif
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* /*memory*/) {
  *handle = {};
  return cudaSuccess;
}
cudaError_t cudaIpcOpenMemHandle(void** memory, cudaIpcMemHandle_t /*handle*/, unsigned /*flags*/) {
  ++FakeCuda::Get().mapped;
  *memory = exported.data();
  return cudaSuccess;
}
cudaError_t cudaIpcCloseMemHandle(void* /*memory*/) {
  --FakeCuda::Get().mapped;
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* memory) {
  *attributes = {};
  attributes->type = cudaMemoryTypeDevice;
  attributes->device = FakeCuda::Get().owner;
  attributes->devicePointer = const_cast<void*>(memory);
  return cudaSuccess;
}
#if CUDART_VERSION >= 12050
cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function,
                                             unsigned /*version*/, unsigned long long /*flags*/,
                                             cudaDriverEntryPointQueryResult* found) {
#else
cudaError_t cudaGetDriverEntryPoint(const char* symbol, void** function,
                                    unsigned long long /*flags*/,
                                    cudaDriverEntryPointQueryResult* found) {
#endif
  *function = Named(symbol);
  *found = *function == nullptr ? cudaDriverEntryPointSymbolNotFound : cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  *mode = std::exchange(FakeCuda::Get().capture_mode, *mode);
  return cudaSuccess;
}
}
