// CopyEngine: the copies of one DeviceMemory, as tasks of one scheduler.
//
// Model. A request waits in the lane of its direction and urgency. What waits in a lane is handed
// to the device as one batch (a GPU needs microseconds between copies, not within a batch); a lane
// has at most `batches` of them in flight, so that the device never waits for the loop and a demand
// read never waits for more than that of background moves. A lane of background begins nothing
// while demand of its direction waits. While batches are in flight a task asks the device again in
// each turn of the loop, or as seldom as the device asks for; with none in flight nothing runs.
//
// A device that does not answer for `answer_within` is offline: requests that wait end with kIo,
// and so do new ones. Requests in flight stay so until it answers: it may still write their memory.
//
// Thread: the scheduler's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/task.h"
#include "base/wait.h"
#include "tiers/hbm/device_memory.h"

namespace terrace {

struct CopyLimits {
  std::size_t queued = 4096;  ///< requests that wait, in all lanes
  std::size_t batches = 2;    ///< in flight, of a lane
  /// A batch ends with the request that fills it; bytes. 8 MiB are 150 us of PCIe 5: what a demand
  /// read may have to wait for, times `batches`.
  std::uint64_t demand_batch_bytes = 32ULL << 20;
  std::uint64_t background_batch_bytes = 8ULL << 20;
  /// Within the device, where 8 MiB take 4 us, less than to queue a batch: both urgencies. 128 MiB
  /// are 70 us, and all that one batch may have of pieces.
  std::uint64_t within_batch_bytes = 128ULL << 20;
  std::size_t within_batches = 4;  ///< in flight, of a lane
  Nanos answer_within = 10 * kSecond;
};

/// See CopyBatch. What the spans show stays until the request has ended.
struct CopyRequest {
  static constexpr std::size_t kPiecesMax = 256;  ///< of a block of 64 MiB
  CopyDirection direction = CopyDirection::kIn;
  CopyUrgency urgency = CopyUrgency::kBackground;
  std::span<const DeviceCopy> copies;   ///< at most CopyBatch::kCopiesMax
  std::span<const DevicePiece> pieces;  ///< at most kPiecesMax
  std::span<std::uint64_t> checksums;   ///< one for each piece, valid when the request ended ok
};

struct CopyCounters {
  std::uint64_t requests = 0;
  std::uint64_t batches = 0;
  std::uint64_t failures = 0;                          ///< requests that the device failed
  std::array<std::uint64_t, kCopyDirections> bytes{};  ///< by direction, of requests that ended ok
};

class CopyEngine {
 public:
  /// `device` outlives the engine.
  explicit CopyEngine(DeviceMemory& device, const CopyLimits& limits = {});
  /// REQUIRES: every Run has ended, and so has Drain.
  ~CopyEngine();
  CopyEngine(const CopyEngine&) = delete;
  CopyEngine& operator=(const CopyEngine&) = delete;

  /// Ends when the device has. kInvalid: the request is beyond its limits, or names memory that is
  /// not the device's; kRetry: too many wait; kIo: the device failed.
  Task<Status> Run(CopyRequest request);
  /// Ends when nothing is in flight and nothing waits.
  Task<void> Drain();

  /// Why the device is offline; ok while it is not.
  [[nodiscard]] const Status& health() const noexcept { return health_; }
  [[nodiscard]] const CopyCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] DeviceMemory& device() noexcept { return device_; }

 private:
  struct Waiting {
    const CopyRequest& request;
    std::uint64_t bytes = 0;
    Status result;
    Event ended;
  };
  struct Batch {
    std::size_t slot = 0;
    Nanos submitted = 0;
    std::vector<Waiting*> requests;
    std::vector<std::uint64_t> checksums;
  };
  struct Lane {
    std::deque<Waiting*> waiting;
    std::deque<Batch> in_flight;  ///< oldest first
  };

  [[nodiscard]] Lane& LaneOf(CopyDirection direction, CopyUrgency urgency) noexcept {
    return lanes_[static_cast<std::size_t>(direction) * kCopyUrgencies +
                  static_cast<std::size_t>(urgency)];
  }
  [[nodiscard]] std::size_t BatchesMax(CopyDirection direction) const noexcept {
    return direction == CopyDirection::kWithin ? limits_.within_batches : limits_.batches;
  }
  [[nodiscard]] std::uint64_t BatchBytesMax(CopyDirection direction,
                                            CopyUrgency urgency) const noexcept;
  [[nodiscard]] Status Check(const CopyRequest& request) const;
  Task<void> Pump();
  void SubmitAll();
  void SubmitLane(CopyDirection direction, CopyUrgency urgency);
  /// Hands over what waits first; false: the device takes nothing more now.
  bool SubmitBatch(Lane& lane, CopyDirection direction, CopyUrgency urgency);
  /// Ends what has ended; false: nothing had.
  bool Reap();
  void EndBatch(Batch& batch, const Status& status);
  void End(Waiting& waiting, Status status);
  void TakeOffline(Status why);
  [[nodiscard]] bool InFlight() const noexcept { return in_flight_ > 0; }

  DeviceMemory& device_;
  const CopyLimits limits_;
  std::array<Lane, kCopyDirections * kCopyUrgencies> lanes_;
  std::size_t queued_ = 0;
  std::size_t in_flight_ = 0;  ///< batches
  bool pumping_ = false;
  Status health_;
  CopyCounters counters_;
  TaskScope scope_;
  // Of the batch that is being put together.
  std::vector<DeviceCopy> copies_;
  std::vector<DevicePiece> pieces_;
};

}  // namespace terrace
