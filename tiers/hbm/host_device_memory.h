// HostDeviceMemory: the double of a GPU's memory, in memory of the host, for tests and simulations.
//
// Model. Every allocation is a memfd of its own, mapped; addresses are numbers far from what the
// host maps, with gaps between allocations, so that a wrong one is found at once. A copy moves its
// bytes when it ends, after its latency on the current Scheduler's clock: who gives a buffer away
// too early is seen. The poller has nothing to do. Tests arm faults; each comes once, but a broken
// device stays broken.
//
// Thread: the scheduler's.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

struct HostDeviceOptions {
  std::string name = "double:0";
  std::uint64_t total_bytes = std::uint64_t{64} << 20;  ///< Allocations together, at most.
  Nanos latency = 10 * kMicrosecond;                    ///< Of each copy,
  Nanos per_mebibyte = 20 * kMicrosecond;               ///< and of its bytes.
  std::size_t copies_in_flight = 16;                    ///< Others queue; at least 1.
  /// Opens what this process exported, for tests whose client lives in the daemon's process.
  bool open_own = false;
};

class HostDeviceMemory final : public DeviceMemory {
 public:
  explicit HostDeviceMemory(HostDeviceOptions options);
  /// REQUIRES: no copy is under way. Unmaps everything.
  ~HostDeviceMemory() override;
  HostDeviceMemory(const HostDeviceMemory&) = delete;
  HostDeviceMemory& operator=(const HostDeviceMemory&) = delete;

  [[nodiscard]] const std::string& name() const noexcept override { return options_.name; }
  [[nodiscard]] std::uint64_t total_bytes() const noexcept override { return options_.total_bytes; }
  [[nodiscard]] Status State() const override { return state_; }
  [[nodiscard]] Poller& poller() noexcept override;

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

  // For tests. Copies are counted as they begin, Checksum among them; 1 is the next one.

  /// Every allocation is refused, as if others had taken the device's memory.
  void RefuseAllocations(bool refuse) noexcept { refuse_ = refuse; }
  /// That copy ends with kIo and moves nothing.
  void FailCopy(std::uint64_t number) { fail_at_ = begun_ + number; }
  /// From that copy on the device is broken, as after a sticky error.
  void BreakAtCopy(std::uint64_t number) { break_at_ = begun_ + number; }
  /// Now. Copies under way end with it too.
  void Break(const std::string& cause);
  /// That copy brings one byte that differs from the source's, in its middle.
  void FlipInCopy(std::uint64_t number) { flip_at_ = begun_ + number; }

  /// What stands there, to be looked at or spoilt. REQUIRES: within one allocation.
  [[nodiscard]] std::span<std::byte> Bytes(DeviceAddress from, std::uint64_t bytes);
  [[nodiscard]] std::uint64_t allocated_bytes() const noexcept { return allocated_bytes_; }
  [[nodiscard]] std::uint64_t registered_bytes() const noexcept;
  /// Mappings of other processes' memory.
  [[nodiscard]] std::size_t opened() const noexcept;
  [[nodiscard]] std::uint64_t copies_begun() const noexcept { return begun_; }
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }
  [[nodiscard]] std::size_t most_in_flight() const noexcept { return most_in_flight_; }

 private:
  class IdlePoller;
  struct Mapping;
  struct Slot;
  struct Copy;

  Result<DeviceAddress> Map(int fd, std::uint64_t bytes, bool opened);
  void Unmap(DeviceAddress memory, bool opened);
  Mapping& MappingOf(DeviceAddress from, std::uint64_t bytes, DeviceAddress& start);
  void PinMappings(const Copy& copy, bool pin);
  [[nodiscard]] Status Failed(const char* call, const std::string& cause, StatusCode code) const;
  Task<Status> Run(Copy copy, CopyUrgency urgency);
  Task<Status> RunInSlot(const Copy* copy);
  void MoveBytes(const Copy& copy, bool flip);
  void ReleaseSlot();

  const HostDeviceOptions options_;
  const std::unique_ptr<IdlePoller> poller_;
  Status state_;
  std::map<DeviceAddress, Mapping> mappings_;
  std::map<const std::byte*, std::size_t> registered_;
  DeviceAddress next_address_;
  std::uint64_t allocated_bytes_ = 0;
  std::deque<std::coroutine_handle<>> waiting_[2];  // by urgency
  std::size_t in_flight_ = 0;
  std::size_t most_in_flight_ = 0;
  std::uint64_t begun_ = 0;
  bool refuse_ = false;
  std::uint64_t fail_at_ = 0;
  std::uint64_t break_at_ = 0;
  std::uint64_t flip_at_ = 0;
};

}  // namespace terrace
