// HostDeviceMemory: a DeviceMemory whose device is memory of the host, for machines without a GPU.
//
// Model. A batch takes its latency and then its bytes at the bandwidth, one after the other in each
// lane (direction and urgency); its bytes move in the Poll that finds it due. So what is changed
// too early shows. Batches due are found by the clock of the current scheduler: under a ManualClock
// a whole run repeats. Faults are set for the calls to come.
//
// Its memory can be exported and mapped by other processes, as a GPU's; other than a GPU's, by the
// same process as well. Doubles of one uuid are one GPU.
//
// Thread: as DeviceMemory.
#pragma once

#include <unistd.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "tiers/hbm/device_memory.h"
#include "tiers/hbm/host_memory.h"

namespace terrace {

struct HostDeviceOptions {
  std::string name = "host double 0";
  std::string uuid = "DOUBLE-0";
  std::uint64_t total_bytes = 64ULL << 20;
  Nanos latency = 10 * kMicrosecond;             ///< of a batch
  std::uint64_t bytes_per_microsecond = 50'000;  ///< of a lane
  Nanos map_time = 0;                            ///< of OpenExport
  std::string hang_file{};                       ///< no batch ends while it exists; empty: none
};

class HostDeviceMemory final : public DeviceMemory {
 public:
  explicit HostDeviceMemory(HostDeviceOptions options = {});

  [[nodiscard]] const std::string& name() const noexcept override { return options_.name; }
  [[nodiscard]] const std::string& uuid() const noexcept override { return options_.uuid; }
  [[nodiscard]] DeviceMemoryKind kind() const noexcept override { return DeviceMemoryKind::kHost; }
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
  [[nodiscard]] Nanos PollPause() const noexcept override { return Hangs() ? kHangPause : kPause; }

  /// The device is lost: as a sticky error.
  void Lose(std::string why);
  // From here on to Hang, but for Rot: any thread.
  /// The next batches with copies, this many, get one byte wrong in their first copy.
  void CorruptBatches(std::uint64_t batches) noexcept { corrupt_ = batches; }
  /// The next batches, this many, end with kIo without their bytes, and the device goes on.
  void FailBatches(std::uint64_t batches) noexcept { fail_ = batches; }
  /// A bit flips in every page of what is allocated.
  void Rot() noexcept;
  /// No batch ends until this is set back.
  void Hang(bool hangs) noexcept { hangs_ = hangs; }

  [[nodiscard]] std::size_t in_flight() const noexcept;
  [[nodiscard]] std::uint64_t submitted() const noexcept { return submitted_; }
  [[nodiscard]] std::size_t pinned_ranges() const {
    const std::lock_guard lock(mutex_);
    return pinned_.size();
  }
  /// Pins that were made, ever.
  [[nodiscard]] std::uint64_t pins() const noexcept { return pins_.load(); }
  /// The next pins, this many, fail.
  void FailPins(std::uint64_t pins) noexcept { fail_pins_ = pins; }
  /// The next Renews, this many, find no memory.
  void FailRenewals(std::uint64_t renewals) noexcept { fail_renewals_ = renewals; }
  /// Allocations of others that are mapped now. Any thread.
  [[nodiscard]] std::size_t mapped() const;

 private:
  static constexpr Nanos kPause = 2 * kMicrosecond;
  static constexpr Nanos kHangPause = kMillisecond;  // a test's time passes in steps of it
  struct Slot {
    bool used = false;
    Nanos due = 0;
    bool corrupt = false;
    bool fails = false;
    std::vector<DeviceCopy> copies;
    std::vector<DevicePiece> pieces;
  };

  using Allocations = std::map<const std::byte*, HostMemory>;  // by first byte
  /// The allocation that holds those bytes; null.
  [[nodiscard]] static const HostMemory* Holder(const Allocations& allocations, const std::byte* at,
                                                std::size_t bytes);
  [[nodiscard]] bool OnDevice(const std::byte* at, std::size_t bytes) const;
  [[nodiscard]] bool OnPinnedHost(const std::byte* at, std::size_t bytes) const;
  [[nodiscard]] bool Hangs() const noexcept {
    return hangs_ ||
           (!options_.hang_file.empty() && ::access(options_.hang_file.c_str(), F_OK) == 0);
  }
  [[nodiscard]] Status CheckPlaces(const CopyBatch& batch) const;
  Result<std::byte*> AllocateZeros(std::uint64_t bytes);
  void Forget(std::byte* memory);

  const HostDeviceOptions options_;
  Status health_;
  mutable std::mutex mutex_;
  Allocations allocations_;  ///< guarded by mutex_
  Allocations opened_;       ///< of others; guarded by mutex_
  struct Opened {
    const std::byte* first = nullptr;
    std::size_t count = 0;
  };
  std::map<std::vector<std::byte>, Opened> handles_;  ///< of opened_; guarded by mutex_
  std::uint64_t allocated_ = 0;                       ///< bytes; guarded by mutex_
  std::map<const std::byte*, std::size_t> pinned_;    ///< bytes by first byte; under mutex_
  std::atomic<std::uint64_t> pins_{0};
  std::atomic<std::uint64_t> fail_pins_{0};
  std::atomic<std::uint64_t> fail_renewals_{0};
  std::array<Slot, kSlots> slots_;
  std::array<Nanos, kCopyDirections * kCopyUrgencies> lane_free_{};  ///< when its last batch ends
  std::atomic<std::uint64_t> corrupt_{0};
  std::atomic<std::uint64_t> fail_{0};
  std::atomic<std::uint64_t> submitted_{0};
  std::atomic<bool> hangs_{false};
};

}  // namespace terrace
