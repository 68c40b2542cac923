// SimulatedDevice: a Device in memory, driven by the current Scheduler's clock and a Random, that
// can lose power.
//
// Model. The device holds, per sector of 4 KiB, the synced bytes and every version written since.
// A read sees the newest version. Crash() is power loss: of each sector's versions since the last
// sync any one may be what remains, or none of them; of the writes in flight every sector may or
// may not have arrived. Each sector is drawn for itself, so any subset may survive; how many do is
// drawn per crash, so that also all, none, all but one and one alone come often, in long records
// too. Faults are another file's business (device_faulty.h), so what this one holds is what was
// really asked for: Peek() shows it to the judge of a simulation.
//
// Thread: the scheduler's. Memory: as much as was written, and every version until the next Sync.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/device.h"
#include "base/random.h"

namespace terrace {

struct SimulatedDeviceOptions {
  std::string name = "sim:0";
  std::uint64_t size_bytes = 0;  ///< multiple of 4 KiB
  Nanos latency_min = 50 * kMicrosecond;
  Nanos latency_max = 500 * kMicrosecond;  ///< drawn per call, so calls overtake each other
  Nanos per_mebibyte = 400 * kMicrosecond;
};

class SimulatedDevice final : public Device {
 public:
  static constexpr std::size_t kSectorBytes = 4096;

  /// `random` outlives the device. REQUIRES: size_bytes > 0, a multiple of 4 KiB.
  SimulatedDevice(SimulatedDeviceOptions options, Random& random);

  [[nodiscard]] const std::string& name() const noexcept override { return options_.name; }
  [[nodiscard]] std::uint64_t size() const noexcept override { return options_.size_bytes; }
  [[nodiscard]] std::uint32_t alignment() const noexcept override { return kSectorBytes; }

  using Device::Read;
  using Device::Write;
  Task<Status> Read(std::uint64_t offset, std::span<std::byte> first,
                    std::span<std::byte> second) override;
  Task<Status> Write(std::uint64_t offset, std::span<const std::byte> first,
                     std::span<const std::byte> second) override;
  Task<Status> Sync() override;

  /// Power loss, and power again: calls in flight end with kIo at their time and touch no buffer
  /// after this; calls made from now on work. REQUIRES: buffers of calls in flight still exist.
  void Crash();

  /// What a read at this moment would give, without time. REQUIRES: within size().
  void Peek(std::uint64_t offset, std::span<std::byte> destination) const;
  /// Sectors whose newest version a crash may take back.
  [[nodiscard]] std::size_t UnsyncedSectors() const noexcept { return unsynced_.size(); }
  [[nodiscard]] std::uint64_t crashes() const noexcept { return crashes_; }

 private:
  using Sector = std::array<std::byte, kSectorBytes>;
  struct Version {
    std::uint64_t write = 0;  ///< number of the write, in order of completion
    std::unique_ptr<Sector> bytes;
  };
  struct InFlight {
    std::uint64_t offset;
    std::array<std::span<const std::byte>, 2> parts;  ///< one behind the other
  };

  [[nodiscard]] Nanos Latency(std::size_t bytes);
  void Apply(std::uint64_t sector, const std::byte* bytes);
  /// Calls visit(sector, its bytes) in the order of the sectors.
  template <typename Visit>
  static void ForEachSector(const InFlight& write, const Visit& visit);
  void MakeDurable(std::uint64_t through_write);
  void CheckRange(std::uint64_t offset, std::size_t length) const;
  [[nodiscard]] Status Lost(const char* what) const;

  const SimulatedDeviceOptions options_;
  Random& random_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Sector>> synced_;  ///< absent: zeros
  std::unordered_map<std::uint64_t, std::vector<Version>> unsynced_;   ///< oldest first
  std::list<InFlight> writes_;
  std::uint64_t writes_done_ = 0;
  std::uint64_t crashes_ = 0;
};

}  // namespace terrace
