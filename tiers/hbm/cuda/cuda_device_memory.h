// CudaDeviceMemory: the memory of one GPU (device_memory.h), by the CUDA runtime.
//
// Model. A CopyLane for each direction and urgency. A call waits in its lane; Poll queues what has
// come in the same turn as one batch, and asks the device's events while anything is under way. A
// loop that goes to sleep meanwhile is woken by the device through an eventfd. Background copies of
// a direction are queued only while no demand copy of it is, or after some have gone before them.
// A sticky error ends everything, and is what every later call answers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "tiers/hbm/cuda/copy_lane.h"
#include "tiers/hbm/device_memory.h"
#include "tiers/hbm/gpus.h"

namespace terrace {

class CudaDeviceMemory final : public DeviceMemory, private Poller {
 public:
  /// Longest copy, bytes: its checksums fit a batch.
  static constexpr std::uint64_t kCopyBytesMax = std::uint64_t{512} << 20;

  /// Makes the device's context and streams; may take seconds. @return the driver's error.
  static Result<std::unique_ptr<CudaDeviceMemory>> Make(const Gpu& gpu);
  /// Frees and closes everything. REQUIRES: no copy is under way.
  ~CudaDeviceMemory() override;
  CudaDeviceMemory(const CudaDeviceMemory&) = delete;
  CudaDeviceMemory& operator=(const CudaDeviceMemory&) = delete;

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] std::uint64_t total_bytes() const noexcept override { return gpu_.bytes; }
  [[nodiscard]] Status State() const override { return state_; }
  [[nodiscard]] Poller& poller() noexcept override { return *this; }

  Result<DeviceAddress> Allocate(std::uint64_t bytes) override;
  void Free(DeviceAddress memory) override;
  Status RegisterHost(std::span<std::byte> memory) override;
  void DeregisterHost(std::span<std::byte> memory) override;

  Task<Status> CopyIn(DeviceAddress to, std::span<const std::byte> from,
                      std::span<std::uint64_t> checksums, CopyUrgency urgency) override;
  Task<Status> CopyOut(std::span<std::byte> to, DeviceAddress from,
                       std::span<std::uint64_t> checksums, CopyUrgency urgency) override;
  Task<Status> CopyWithin(DeviceAddress to, DeviceAddress from, std::uint64_t bytes,
                          std::span<std::uint64_t> checksums, CopyUrgency urgency) override;
  Task<Status> Checksum(DeviceAddress from, std::uint64_t bytes, std::span<std::uint64_t> checksums,
                        CopyUrgency urgency) override;

  Result<ExportedMemory> Export(DeviceAddress memory) override;
  Result<DeviceAddress> OpenExported(const ExportedMemory& memory) override;
  void CloseExported(DeviceAddress memory) override;

 private:
  static constexpr std::size_t kWays = 3;
  static constexpr std::size_t kUrgencies = 2;
  struct Direction {
    std::unique_ptr<CopyLane> lanes[kUrgencies];
    std::size_t passed_over = 0;  // demand batches since the last background one
  };
  struct Enqueue;
  struct Opened {
    std::size_t count = 0;  // the driver gives one address for a handle that is opened twice
  };

  explicit CudaDeviceMemory(const Gpu& gpu);
  Status Prepare();
  Status UseDevice();
  /// Takes a driver's error into State() when it is sticky.
  Status Noted(cudaError_t error, const char* call);
  void Break(const Status& status);
  Task<Status> Run(DeviceCopy copy, CopyWay way, CopyUrgency urgency, const char* call);
  Status SubmitDirection(Direction& direction, unsigned& queued);
  [[nodiscard]] bool IsRegistered(std::span<const std::byte> memory) const;
  [[nodiscard]] bool HasWork() const noexcept;
  static void CUDART_CB RingBell(void* self);

  unsigned Poll() override;
  [[nodiscard]] int Fd() const noexcept override { return bell_; }
  bool Arm() override;
  [[nodiscard]] bool Expecting() const noexcept override { return HasWork(); }

  const Gpu gpu_;
  const std::string name_;
  Status state_;
  int bell_ = -1;
  std::atomic<bool> rang_{false};
  Direction directions_[kWays];
  std::map<DeviceAddress, std::uint64_t> allocated_;  // bytes
  std::map<DeviceAddress, Opened> opened_;
  std::map<const std::byte*, std::size_t> registered_;
};

}  // namespace terrace
