// FaultyDevice: a Device that wraps another and makes faults, so many and no more.
//
// Each kind of fault has a probability per call (not per buffer: a fault hits either or both) and a
// greatest number of times; every fault made is counted and noted with its place, so that the judge
// of a test can tell a fault that we made from a bug that we have. All of it follows from the
// Random's seed.
//
// Thread: the wrapped device's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/device.h"
#include "base/random.h"

namespace terrace {

enum class DeviceFault : std::uint8_t {
  kReadError,         ///< kIo; the buffer holds garbage
  kWriteError,        ///< kIo, and nothing is written
  kSyncError,         ///< kIo, and nothing is synced
  kShortRead,         ///< kIo after a part was read
  kShortWrite,        ///< kIo after a part was written (torn)
  kFlippedRead,       ///< ok, one bit of the buffer is wrong, the medium is right
  kFlippedWrite,      ///< ok, one bit on the medium is wrong
  kMisdirectedRead,   ///< ok, the bytes of another place
  kMisdirectedWrite,  ///< ok, written to another place (which is overwritten)
  kLostWrite,         ///< ok, but nothing is written: later reads are stale
  kStaleRead,         ///< ok, the bytes that the last write of that place overwrote
  kDelay,             ///< the call takes `delay` longer, then goes on as usual
};
inline constexpr std::size_t kDeviceFaultCount = 12;
/// "read_error", ... for messages and metrics.
std::string_view DeviceFaultName(DeviceFault fault) noexcept;

struct DeviceFaultRate {
  double probability = 0;  ///< per call that the fault could hit
  std::uint64_t times_max = 0;
};

struct FaultyDeviceOptions {
  std::array<DeviceFaultRate, kDeviceFaultCount> rates;
  Nanos delay = 50 * kMillisecond;

  DeviceFaultRate& operator[](DeviceFault fault) { return rates[static_cast<std::size_t>(fault)]; }
};

class FaultyDevice final : public Device {
 public:
  struct Note {
    DeviceFault fault;
    std::uint64_t offset = 0;        ///< of the call
    std::uint64_t length = 0;        ///< of both buffers
    std::uint64_t other_offset = 0;  ///< misdirected: where it went
  };

  /// `device` and `random` outlive it.
  FaultyDevice(Device& device, Random& random, const FaultyDeviceOptions& options)
      : device_(device), random_(random), options_(options) {}

  [[nodiscard]] const std::string& name() const noexcept override { return device_.name(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return device_.size(); }
  [[nodiscard]] std::uint32_t alignment() const noexcept override { return device_.alignment(); }

  using Device::Read;
  using Device::Write;
  Task<Status> Read(std::uint64_t offset, std::span<std::byte> first,
                    std::span<std::byte> second) override;
  Task<Status> Write(std::uint64_t offset, std::span<const std::byte> first,
                     std::span<const std::byte> second) override;
  Task<Status> Sync() override;

  /// Faults are made only while enabled (the default).
  void Enable(bool enabled) noexcept { enabled_ = enabled; }
  [[nodiscard]] std::uint64_t Count(DeviceFault fault) const noexcept {
    return counts_[static_cast<std::size_t>(fault)];
  }
  /// The faults made so far, oldest first; at most kNotesMax, then only counted.
  [[nodiscard]] const std::vector<Note>& notes() const noexcept { return notes_; }
  static constexpr std::size_t kNotesMax = 4096;

 private:
  struct FreeBytes {
    void operator()(std::byte* bytes) const noexcept;
  };
  using Bytes = std::unique_ptr<std::byte[], FreeBytes>;
  struct Overwritten {
    std::uint64_t offset = 0;
    std::size_t length = 0;
    Bytes bytes;
  };
  static constexpr std::size_t kOverwrittenMax = 128;  ///< kept for stale reads

  [[nodiscard]] Bytes Allocate(std::size_t length) const;
  bool Draw(DeviceFault fault, std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] std::uint64_t OtherOffset(std::uint64_t length);
  [[nodiscard]] std::size_t Part(std::size_t length);
  /// Keeps what a write will overwrite, when reads may be stale.
  Task<void> Remember(std::uint64_t offset, std::size_t length);
  /// The newest of what was overwritten that lies there, taken out; empty: none.
  Overwritten TakeOverwritten(std::uint64_t offset, std::size_t length);
  void FlipBit(std::span<std::byte> first, std::span<std::byte> second);
  [[nodiscard]] Status Failed(DeviceFault fault, std::uint64_t offset) const;
  Task<Status> WriteFlipped(std::uint64_t offset, std::span<const std::byte> first,
                            std::span<const std::byte> second);

  Device& device_;
  Random& random_;
  FaultyDeviceOptions options_;
  bool enabled_ = true;
  std::array<std::uint64_t, kDeviceFaultCount> counts_{};
  std::vector<Note> notes_;
  std::deque<Overwritten> overwritten_;  ///< oldest first
  bool notes_full_ = false;              ///< the last fault was not noted
};

}  // namespace terrace
