// CudaDeviceMemory: a DeviceMemory over the CUDA runtime.
//
// Model. Each lane (direction and urgency) has a stream of its own, demand with the higher
// priority, and each urgency two for kernels, in turn, so that one begins while the last thread
// blocks of another end. A batch's checksums wait for its copies by an event, and the next batch's
// copies do not wait for them. A batch has ended when both its events have. Its copies go to the
// driver in one call where it has that (CUDA 13), else one by one. Those within the device whose
// checksums are all asked for are made by the kernel that computes them, which reads each byte
// once.
//
// Host memory is registered once for all GPUs of the process, however many pin it.
//
// The checksums of a batch lie in pinned memory of its slot, which the kernel writes over the bus.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "tiers/hbm/cuda/checksum_kernel.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

class CudaDeviceMemory final : public DeviceMemory {
 public:
  /// As OpenGpu. REQUIRES: 0 <= index < number of GPUs.
  static Result<std::unique_ptr<DeviceMemory>> Open(int index);
  /// Waits for what is in flight.
  ~CudaDeviceMemory() override;
  CudaDeviceMemory(const CudaDeviceMemory&) = delete;
  CudaDeviceMemory& operator=(const CudaDeviceMemory&) = delete;

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] const std::string& uuid() const noexcept override { return uuid_; }
  [[nodiscard]] DeviceMemoryKind kind() const noexcept override { return DeviceMemoryKind::kCuda; }
  [[nodiscard]] const Status& health() const noexcept override { return health_; }
  Result<DeviceSpace> Space() override;
  Result<std::byte*> Allocate(std::uint64_t bytes) override;
  Status Free(std::byte* memory) override;
  Result<std::byte*> Renew(std::byte* old, std::uint64_t bytes) override;
  Status PinHost(std::span<std::byte> memory) override;
  Status UnpinHost(std::span<std::byte> memory) override;
  Result<DeviceExport> Export(std::span<const std::byte> memory) override;
  Result<std::span<std::byte>> OpenExport(const DeviceExport& exported) override;
  void CloseExport(std::span<std::byte> memory) override;
  Result<std::size_t> Submit(const CopyBatch& batch) override;
  std::optional<Status> Poll(std::size_t slot, std::span<std::uint64_t> checksums) override;
  [[nodiscard]] Nanos PollPause() const noexcept override { return 0; }

 private:
  static constexpr std::size_t kKernelStreams = 2;  ///< of an urgency
  using Pieces = std::array<KernelPiece, CopyBatch::kPiecesMax>;
  struct Slot {
    bool used = false;
    bool sums = false;  ///< has pieces that are summed after its copies
    Status failed;      ///< what was queued of it runs to its end first
    cudaEvent_t copied = nullptr;
    cudaEvent_t summed = nullptr;
    std::uint64_t* checksums = nullptr;  ///< pinned, kPiecesMax of them
  };

  explicit CudaDeviceMemory(int index);
  Status Start();
  /// Once, with and without copies, and what comes of them compared: the driver loads a kernel when
  /// it is launched first, which takes milliseconds, and says only then that it has none for this
  /// GPU. Blocks.
  Status TryKernels();
  Status TryKernels(std::span<std::byte> scratch);
  /// Makes the device current for this thread.
  Status Enter();
  /// cudaHostUnregister, with that device current.
  [[nodiscard]] Status Unregister(int index, std::byte* memory) const;
  /// The Status of what `call` answered.
  [[nodiscard]] Status StatusOf(cudaError_t error, std::string_view call) const;
  /// The same; keeps what is sticky.
  Status Note(cudaError_t error, std::string_view call);
  Status StartBatch(Slot& slot, const CopyBatch& batch);
  Status QueueCopies(const CopyBatch& batch, cudaStream_t stream);
  Status QueueSums(Slot& slot, const CopyBatch& batch, cudaStream_t stream);
  /// What the kernel has to do when it makes the copies as it sums them, and how much that is; 0:
  /// it cannot. It makes copies within the device whose pieces are all that they write.
  [[nodiscard]] static std::size_t PlanOneKernel(const CopyBatch& batch, Pieces& pieces) noexcept;
  [[nodiscard]] cudaStream_t NextKernelStream(CopyUrgency urgency) noexcept;

  const int index_;
  std::string name_;  ///< const once it is open
  std::string uuid_;
  Status health_;
  bool batch_call_ = true;  ///< the driver takes many copies in one call
  std::array<cudaStream_t, kCopyDirections * kCopyUrgencies> copy_streams_{};
  std::array<cudaStream_t, kKernelStreams * kCopyUrgencies> kernel_streams_{};
  std::size_t kernels_ = 0;  ///< queued
  std::array<Slot, kSlots> slots_;
  std::mutex mutex_;
  std::set<const std::byte*> pinned_;  ///< by this one; under mutex_
};

}  // namespace terrace
