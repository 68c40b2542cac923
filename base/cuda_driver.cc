#include "base/cuda_driver.h"

#include <map>
#include <mutex>
#include <string>

#include "base/cuda_status.h"

namespace terrace {

namespace {

/// As CUDART_VERSION; 0: there is none.
int DriverVersion() noexcept {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

std::string VersionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// Asked of the driver by name: a program so starts on machines without one.
struct Driver {
  decltype(&cuInit) init = nullptr;
  decltype(&cuDeviceGet) device_get = nullptr;
  decltype(&cuDevicePrimaryCtxRetain) retain = nullptr;
  decltype(&cuCtxPushCurrent) push = nullptr;
  decltype(&cuCtxPopCurrent) pop = nullptr;
  decltype(&cuMemGetAddressRange) address_range = nullptr;
  decltype(&cuPointerGetAttribute) pointer_attribute = nullptr;
};

Status Failed(const char* call, CUresult result) {
  return {StatusCode::kIo, std::string(call) + ": error " + std::to_string(result)};
}

template <typename Function>
Status Find(const char* name, Function& function) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult answer{};
#if CUDART_VERSION >= 12050
  TERRACE_CUDA_TRY(
      cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &answer));
#else
  TERRACE_CUDA_TRY(cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &answer));
#endif
  if (answer != cudaDriverEntryPointSuccess || found == nullptr) {
    return {StatusCode::kUnsupported, std::string("the driver has no ") + name};
  }
  function = reinterpret_cast<Function>(found);
  return {};
}

/// What cudaErrorInsufficientDriver means: there is none, or it is older than this build wants.
Status WithVersions(const Status& status) {
  const int version = DriverVersion();
  if (version == 0) return {StatusCode::kUnsupported, "there is no driver of GPUs"};
  return {status.code(), status.message() + " (the driver is for CUDA " + VersionText(version) +
                             ", this build of CUDA " + VersionText(CUDART_VERSION) + ")"};
}

Result<Driver> FindAll() {
  Driver driver;
  Status status = Find("cuInit", driver.init);
  if (status.ok()) status = Find("cuDeviceGet", driver.device_get);
  if (status.ok()) status = Find("cuDevicePrimaryCtxRetain", driver.retain);
  if (status.ok()) status = Find("cuCtxPushCurrent", driver.push);
  if (status.ok()) status = Find("cuCtxPopCurrent", driver.pop);
  if (status.ok()) status = Find("cuMemGetAddressRange", driver.address_range);
  if (status.ok()) status = Find("cuPointerGetAttribute", driver.pointer_attribute);
  if (!status.ok()) return WithVersions(status);
  if (const CUresult result = driver.init(0); result != CUDA_SUCCESS) {
    return Status(StatusCode::kUnsupported, Failed("cuInit", result).message());
  }
  return driver;
}

/// What is found stays; what is not is looked for again.
Result<const Driver*> TheDriver() {
  static std::mutex mutex;
  static const Driver* known = nullptr;
  const std::lock_guard lock(mutex);
  if (known != nullptr) return known;
  const Result<Driver> found = FindAll();
  if (!found.ok()) return found.status();
  known = new Driver(*found);  // NOLINT: to the end of the process, on whatever thread
  return known;
}

/// The contexts that the runtime uses of devices, which live until the process ends or resets them.
class Contexts {
 public:
  static Contexts& OfProcess() {
    static auto* const contexts = new Contexts;  // threads may go on after main
    return *contexts;
  }
  /// Makes the device's the calling thread's.
  Status Push(const Driver& driver, int device) {
    for (const bool again : {false, true}) {
      const Result<CUcontext> context = Of(driver, device);
      if (!context.ok()) return context.status();
      const CUresult result = driver.push(*context);
      if (result == CUDA_SUCCESS) return {};
      const bool gone =
          result == CUDA_ERROR_INVALID_CONTEXT || result == CUDA_ERROR_CONTEXT_IS_DESTROYED;
      if (again || !gone) return Failed("cuCtxPushCurrent", result);
      const std::lock_guard lock(mutex_);
      contexts_.erase(device);
    }
    return {};
  }

 private:
  Result<CUcontext> Of(const Driver& driver, int device) {
    const std::lock_guard lock(mutex_);
    if (const auto known = contexts_.find(device); known != contexts_.end()) return known->second;
    CUdevice handle = 0;
    if (const CUresult result = driver.device_get(&handle, device); result != CUDA_SUCCESS) {
      return Failed("cuDeviceGet", result);
    }
    CUcontext context = nullptr;
    if (const CUresult result = driver.retain(&context, handle); result != CUDA_SUCCESS) {
      const Status failed = Failed("cuDevicePrimaryCtxRetain", result);
      if (result != CUDA_ERROR_OUT_OF_MEMORY) return failed;
      return Status(StatusCode::kRetry, failed.message());
    }
    contexts_.emplace(device, context);
    return context;
  }

  std::mutex mutex_;
  std::map<int, CUcontext> contexts_;
};

CUdeviceptr AddressOf(const void* memory) { return reinterpret_cast<CUdeviceptr>(memory); }

}  // namespace

bool HasGpuDriver() noexcept { return DriverVersion() > 0; }

Result<CudaAllocation> AllocationOf(const void* memory) {
  const Result<const Driver*> driver = TheDriver();
  if (!driver.ok()) return driver.status();
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  const CUresult result = (*driver)->address_range(&base, &bytes, AddressOf(memory));
  if (result == CUDA_SUCCESS) return CudaAllocation{.base = base, .bytes = bytes};
  // Its documentation speaks of memory of cuMemAlloc alone; what is mapped here is of elsewhere.
  const CUresult start =
      (*driver)->pointer_attribute(&base, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, AddressOf(memory));
  const CUresult size =
      (*driver)->pointer_attribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, AddressOf(memory));
  if (start == CUDA_SUCCESS && size == CUDA_SUCCESS && bytes > 0) {
    return CudaAllocation{.base = base, .bytes = bytes};
  }
  return Status::Invalid(Failed("cuMemGetAddressRange", result).message());
}

Result<int> DeviceOfMemory(const void* memory) {
  const Result<const Driver*> driver = TheDriver();
  if (!driver.ok()) return driver.status();
  const auto ask = [&](CUpointer_attribute attribute, void* answer) {
    return (*driver)->pointer_attribute(answer, attribute, AddressOf(memory)) == CUDA_SUCCESS;
  };
  unsigned kind = 0;
  unsigned managed = 0;
  int device = 0;
  if (!ask(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, &kind) || kind != CU_MEMORYTYPE_DEVICE) {
    return Status::Invalid("it is no memory of a GPU");
  }
  if (ask(CU_POINTER_ATTRIBUTE_IS_MANAGED, &managed) && managed != 0) {
    return Status::Invalid("it is managed memory, of no GPU for good");
  }
  if (!ask(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, &device)) {
    return Status::Invalid("the driver does not say of which GPU it is");
  }
  return device;
}

bool CanBeMappedElsewhere(const void* memory) {
  const Result<const Driver*> driver = TheDriver();
  int capable = 1;
  if (!driver.ok() ||
      (*driver)->pointer_attribute(&capable, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
                                   AddressOf(memory)) != CUDA_SUCCESS) {
    return true;
  }
  return capable != 0;
}

OnCudaDevice::OnCudaDevice(int device) {
  const Result<const Driver*> driver = TheDriver();
  status_ = driver.status();
  if (!status_.ok()) return;
  status_ = Contexts::OfProcess().Push(**driver, device);
  if (!status_.ok()) return;
  (void)cudaThreadExchangeStreamCaptureMode(&mode_);
}

OnCudaDevice::~OnCudaDevice() {
  if (!status_.ok()) return;
  (void)cudaThreadExchangeStreamCaptureMode(&mode_);
  CUcontext context = nullptr;
  (void)(*TheDriver())->pop(&context);
}

}  // namespace terrace
