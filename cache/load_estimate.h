// LoadEstimate: how long blocks take to come, source by source, as one reactor has seen it.
//
// Model. Sources are the connection that blocks cross (Link::load) and the devices of the NVMe log.
// Each has a meter, which learns latency and bandwidth from what pushes and reads really took, and
// a queue: bytes that gets under way have yet to bring. Both together, by base/load_time.h, say
// what a get would take now. Every get of whole blocks is predicted when it begins and compared
// with what it took when it ends.
//
//   - A new connection begins with what the last one of its kind had learned.
//   - Before anything was read a device counts as one of 2 GB/s and 100 us, or as fast as its limit
//     allows.
//
// Thread: the owning reactor's, except the counters.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/link.h"
#include "base/load_source.h"
#include "base/tier_kind.h"
#include "base/transfer_meter.h"

namespace terrace {

/// Upper ends of the classes of actual time over predicted time; the last class has none.
inline constexpr std::array<double, 10> kLoadRatioEnds = {0.5,  0.67, 0.8,  0.9, 0.95,
                                                          1.05, 1.1,  1.25, 1.5, 2};

/// Single writer (the reactor), readable from any thread.
struct LoadCounters {
  struct Predictions {
    std::array<std::atomic<std::uint64_t>, kLoadRatioEnds.size() + 1> by_ratio{};
    std::atomic<std::uint64_t> count{0};
    std::atomic<std::uint64_t> error_millionths{0};  ///< sum of |actual / predicted - 1|
    std::atomic<std::uint64_t> predicted_us{0}, actual_us{0};
  };
  Predictions dram;  ///< gets that found everything in DRAM
  Predictions nvme;  ///< gets that read at least one block from NVMe
  /// As they are expected now: of the connection that moved bytes last; of all devices together,
  /// and the mean of their latencies.
  std::atomic<std::uint64_t> link_bytes_per_s{0}, link_latency_us{0};
  std::atomic<std::uint64_t> nvme_bytes_per_s{0}, nvme_latency_us{0};
};

class LoadEstimate {
 public:
  /// `clock` and `counters` outlive it.
  LoadEstimate(Clock& clock, LoadCounters& counters);

  /// The devices, numbered from 0. `read_bytes_per_s`: the limit of each; 0: none.
  void AddDevices(std::uint32_t count, std::uint64_t read_bytes_per_s);

  /// The number of a device in Sources.
  static std::uint8_t SourceOfDevice(std::uint32_t device) noexcept {
    return static_cast<std::uint8_t>(device + 1);
  }
  /// As they are now: the connection, then every device.
  [[nodiscard]] std::vector<LoadSource> Sources(const Link& link) const;

  /// Around every push, and every read of a record for a get or a prefetch. `bytes`: that came, 0
  /// when none did.
  void BeginPush(Link& link);
  void EndPush(Link& link, std::uint64_t bytes);
  void BeginRead(std::uint32_t device, std::uint64_t bytes);
  void EndRead(std::uint32_t device, std::uint64_t bytes, bool came);

  /// Bytes that a get has not begun to bring.
  void AddWaiting(std::uint8_t source, std::uint64_t bytes);
  void TakeWaiting(std::uint8_t source, std::uint64_t bytes);

  /// A get has ended whose time had been predicted.
  void Compare(TierKind slowest, double predicted_seconds, double actual_seconds);

  [[nodiscard]] Nanos Now() const { return clock_.Now(); }

 private:
  struct Device {
    TransferMeter meter;
    std::uint64_t waiting_bytes = 0;  // of gets under way
    std::uint64_t reading_bytes = 0;
  };
  [[nodiscard]] TransferMeter::Rate PriorOf(LinkKind kind) const;
  void ShowDevices();

  Clock& clock_;
  LoadCounters& counters_;
  std::vector<Device> devices_;
  std::array<TransferMeter::Rate, 5> kinds_;  // [LinkKind]: what its last connection had learned
};

/// What one get has yet to bring. Lives in the flow; takes off the queues what is left at its end.
class GetLoads {
 public:
  /// `estimate` and `link` outlive it. `blocks`: of the get.
  GetLoads(LoadEstimate& estimate, Link& link, std::size_t blocks);
  ~GetLoads();
  GetLoads(const GetLoads&) = delete;
  GetLoads& operator=(const GetLoads&) = delete;

  /// Block `index` lies at `source` (Sources) and has `block_bytes`, of which `moved_bytes` cross
  /// the connection. Each at most once, before Predict.
  void Add(std::size_t index, std::uint8_t source, std::uint64_t block_bytes,
           std::uint64_t moved_bytes);
  /// Says how long all of them will take, behind what others wait for, and joins the queues.
  void Predict();
  /// The block is about to be read from its device.
  void OnRead(std::size_t index);
  /// Nothing is to be brought of the block any more.
  void OnEnd(std::size_t index);
  /// Every block that was added has come. Compares, unless parts of blocks were asked for.
  void OnAllCame();

 private:
  struct Block {
    std::uint8_t device_source = 0;  // 0: none, or not waiting for it any more
    std::uint64_t device_bytes = 0;
    std::uint64_t link_bytes = 0;  // 0: not waiting for it any more
  };

  LoadEstimate& estimate_;
  Link& link_;
  std::vector<Block> blocks_;
  std::uint64_t largest_ = 0;
  bool whole_ = true;
  TierKind slowest_ = TierKind::kNone;
  Nanos started_ = 0;
  double predicted_ = 0;  // seconds
};

}  // namespace terrace
