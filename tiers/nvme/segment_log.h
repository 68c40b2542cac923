// SegmentLog: one reactor's slice of the NVMe devices, written in a ring of segments.
//
// Model. Each device of the slice is a *lane* with a ring of segments (format.h). A lane appends to
// its current segment; when half of it is taken, the next of the ring is made ready: its owner
// moves or forgets what is in it (Owner::Reclaim), then its header gets the next generation and is
// synced. Meanwhile the last quarter of the current segment is kept for what the owner moves.
// Appends go to the lane with the fewest bytes under way, so devices fill, and are read, in
// parallel.
//
//   G1. A record is written to pages of a segment that nobody else is given before the segment's
//       next generation (format.h, N2), and that generation begins only when no write of an older
//       one is under way.
//   G2. A read is of one generation: Read answers kExpired when the segment has another one now,
//       before or after the bytes came, whatever they are.
//   G3. Sequences of blocks rise in the order in which records are given their places; a removal
//       has that of the moment when the block was forgotten. So a block that is forgotten after it
//       was given its place is ended by the removal's own record.
//   G4. A lane whose device failed `errors_max` times within `errors_window`, or holds an operation
//       for longer than `stuck_after`, is offline: nothing is read from it or written to it but a
//       probe every `probe_period`, and when that succeeds it is back.
//   G5. Reads go before writes: while reads keep a lane busy, one write at a time takes at most
//       `write_share` of its time (after one that took t, the next waits t * (1 / write_share -
//       1)); while there are fewer, writes have a little under way beside them.
//   G6. With a limit, reads of records have time slots, one after the other, in which a device of
//       that bandwidth would read them: each begins with its slot and is answered at its end.
//       What is read to be written again has none.
//
// Thread: the owning reactor's, except Counters(). Lifetime: the devices and the owner outlive it;
// Close ends what it does in the background, and calls of Append and Read have ended by then.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/device.h"
#include "base/result.h"
#include "base/task.h"
#include "base/wait.h"
#include "tiers/nvme/format.h"
#include "tiers/nvme/index_entry.h"
#include "tiers/nvme/live_generations.h"
#include "tiers/nvme/open_sequences.h"
#include "tiers/nvme/page_pool.h"

namespace terrace::nvme {

struct SegmentLogOptions {
  std::array<std::uint64_t, 2> store_id{};
  std::uint64_t salt = 0;
  std::uint32_t slice = 0;
  std::uint32_t segments = 0;  ///< of a lane
  std::uint64_t segment_bytes = 0;
  double write_share = 0.2;
  std::uint64_t read_bytes_per_s = 0;  ///< of a lane (G6); 0: no limit
  std::uint32_t errors_max = 8;
  Nanos errors_window = 60 * kSecond;
  Nanos stuck_after = 10 * kSecond;
  Nanos probe_period = 2 * kSecond;
  LiveGenerations* generations = nullptr;  ///< told of every generation, when not null
};

/// A device of the slice and what its segment headers say, in order (log_scan, store.h).
struct LaneStart {
  Device* device = nullptr;  ///< offset 0 is the slice's first byte
  std::vector<SegmentHeader> headers;
  std::uint32_t unreadable_headers = 0;  ///< generation 0 because the device did not answer
};

/// Single writer (the reactor), readable from any thread.
struct SegmentLogCounters {
  std::atomic<std::uint64_t> records_written{0}, bytes_written{0};  ///< bytes: of whole pages
  std::atomic<std::uint64_t> records_read{0}, bytes_read{0};
  std::atomic<std::uint64_t> read_errors{0}, write_errors{0}, sync_errors{0}, stuck{0};
  std::atomic<std::uint64_t> bad_headers{0}, bad_payloads{0}, reread{0}, expired{0};
  std::atomic<std::uint64_t> syncs{0}, segments_begun{0}, segments_reclaimed{0};
  std::atomic<std::uint64_t> lanes_online{0}, lanes_failed{0}, lanes_returned{0};
};

class SegmentLog {
 public:
  class Owner {
   public:
    /// Moves or forgets every record of a segment (its number counts over all lanes): when the
    /// task has ended, nothing names one of them. May Append with Room::kWhatIsLeft.
    virtual Task<void> Reclaim(std::uint32_t segment) = 0;
    /// A lane went offline or came back. For the log of the daemon.
    virtual void OnLane(std::uint32_t lane, bool online, const std::string& why) = 0;

   protected:
    ~Owner() = default;
  };

  SegmentLog(const SegmentLogOptions& options, std::vector<LaneStart> lanes, Owner& owner,
             Scheduler& scheduler);
  ~SegmentLog();
  SegmentLog(const SegmentLog&) = delete;
  SegmentLog& operator=(const SegmentLog&) = delete;

  /// No record has this sequence or a higher one yet; call before the first Append.
  void RaiseSequence(std::uint64_t sequence) noexcept;

  /// A sequence above that of every record so far; it is open until its taker Ends it.
  [[nodiscard]] std::uint64_t TakeSequence() {
    open_.Begin(++sequence_, scheduler_.Now());
    return sequence_;
  }
  [[nodiscard]] OpenSequences& open() noexcept { return open_; }
  /// Every sequence below it was given out and is open no more.
  [[nodiscard]] std::uint64_t Settled() const { return open_.Lowest(sequence_ + 1); }

  enum class Room {
    kWait,        ///< waits until a segment is ready
    kWhatIsLeft,  ///< kRetry when the current segment of no lane has room: for Reclaim
  };
  /// Gives the record its place and sequence, seals the header and writes both parts in one
  /// operation. `header`: on a page of its own, everything set but place and checksum; a sequence
  /// of 0 stands for the next one, which TakeSequence gives: who finds one there afterwards Ends
  /// it. `payload`: page-aligned, payload_bytes rounded up to whole pages, or empty. Both stay
  /// until the task has ended. kIo: no lane is online, or the write failed. kMiss: `wanted` (may be
  /// null; outlives the task) was asked when there was a place, and said no; nothing was written
  /// then.
  Task<Result<RecordPlace>> Append(RecordHeader* header, std::span<const std::byte> payload,
                                   Room room, const std::function<bool()>* wanted = nullptr);
  /// The same on one lane, for removals.
  Task<Result<RecordPlace>> AppendTo(std::uint32_t lane, RecordHeader* header,
                                     std::span<const std::byte> payload, Room room);

  /// Reads a record and checks it: header, place, length, generation, then the payload against the
  /// checksums in the header. `payload` as in Append. The identity is the caller's to check.
  /// kExpired: the segment is of another generation. kCorrupt: says which check failed, after a
  /// second read failed too. kIo: the device failed or is offline. Both buffers stay until the
  /// task has ended, which may be long after the reader lost patience.
  /// `limited`: it waits its turn where reads are limited (G6).
  Task<Status> Read(RecordPlace place, RecordHeader* header, std::span<std::byte> payload,
                    bool limited = true);
  /// When a limited read of that record would begin if it were asked for now.
  [[nodiscard]] Nanos ReadBegins(const RecordPlace& place) const noexcept;

  /// What Append has ended before the call survives power loss when it ends with kOk. Calls at the
  /// same time share one sync of the device.
  Task<Status> Sync(std::uint32_t lane);
  /// The same for the lane of a record, which Append has returned; kIo also when a sync failed
  /// since then, because the device may have dropped the record with it.
  Task<Status> SyncRecord(RecordPlace place);
  /// True when SyncRecord would answer so, whatever the device does now. REQUIRES: Current(place).
  [[nodiscard]] bool Doubtful(const RecordPlace& place) const noexcept;

  [[nodiscard]] std::uint32_t lanes() const noexcept {
    return static_cast<std::uint32_t>(lanes_.size());
  }
  [[nodiscard]] std::uint32_t LaneOf(const RecordPlace& place) const noexcept {
    return place.segment() / options_.segments;
  }
  [[nodiscard]] const std::string& NameOf(std::uint32_t lane) const noexcept;
  [[nodiscard]] bool Online(std::uint32_t lane) const noexcept;
  [[nodiscard]] bool AnyOnline() const noexcept;
  /// True when a record of this place can be read now.
  [[nodiscard]] bool Readable(const RecordPlace& place) const noexcept;
  /// True when the place is one of this log, in the segment's present generation.
  [[nodiscard]] bool Current(const RecordPlace& place) const noexcept;
  /// The same, and Reclaim of that segment has not begun: who names the place now will be asked.
  [[nodiscard]] bool Lasts(const RecordPlace& place) const noexcept;
  /// The headers of a lane's segments as they are now, in order.
  [[nodiscard]] std::vector<SegmentHeader> HeadersOf(std::uint32_t lane) const;
  /// The segment that a lane reuses next, or is making ready already.
  [[nodiscard]] std::uint32_t OldestSegment(std::uint32_t lane) const noexcept;
  [[nodiscard]] std::uint32_t segments() const noexcept { return options_.segments * lanes(); }
  [[nodiscard]] std::uint64_t PagesOfSegment() const noexcept { return segment_pages_; }
  [[nodiscard]] const SegmentLogCounters& Counters() const noexcept { return counters_; }

  /// Ends the background work: preparing, probing. Appends that wait answer kIo.
  Task<void> Close();

 private:
  struct Lane;
  struct InFlight;
  struct ToWrite;

  Lane* Choose(std::uint64_t pages) noexcept;
  Task<Result<RecordPlace>> AppendOn(Lane* lane, RecordHeader* header,
                                     std::span<const std::byte> payload, Room room,
                                     const std::function<bool()>* wanted);
  [[nodiscard]] bool HasRoom(const Lane& lane, std::uint64_t pages, Room room) const noexcept;
  Task<Status> WaitForRoom(Lane* lane, std::uint64_t pages, Room room);
  Task<Status> WriteAt(Lane* lane, std::uint32_t segment, std::uint64_t page,
                       const RecordHeader* header, std::span<const std::byte> payload);
  [[nodiscard]] bool MayWrite(const Lane& lane, std::uint64_t bytes) const noexcept;
  Task<void> AcquireWrite(Lane* lane, std::uint64_t bytes);
  void ReleaseWrite(Lane& lane, std::uint64_t bytes, Nanos took);
  Task<Status> ReadOnce(Lane* lane, RecordPlace place, RecordHeader* header,
                        std::span<std::byte> payload, bool limited);
  [[nodiscard]] Status CheckRead(const RecordPlace& place, const RecordHeader& header,
                                 std::span<const std::byte> payload);
  /// When a read of so many bytes begins, and when it may be answered (G6).
  struct ReadSlot {
    Nanos begin = 0;
    Nanos end = 0;
  };
  [[nodiscard]] ReadSlot TakeReadSlot(Lane& lane, std::uint64_t bytes) const noexcept;
  void StartPreparing(Lane& lane);
  void TellGeneration(const Lane& lane, std::uint32_t segment) noexcept;
  Task<void> Prepare(Lane* lane);
  void MakeSegmentHeader(const Lane& lane, std::uint32_t segment, SegmentHeader& header) const;
  Task<Status> WriteSegmentHeader(Lane* lane, std::uint32_t segment);
  void NoteError(Lane& lane, const Status& status);
  void GoOffline(Lane& lane, const std::string& why);
  Task<Status> ProbeOnce(Lane* lane);
  Task<void> Probe(Lane* lane);
  void StartWatching();  // at the first call: what never ran must not be waited for
  Task<void> Watch();
  /// Until then, or until Close.
  Task<void> Pause(Nanos until);
  static void WakeAll(std::vector<Event*>& waiters);
  void CountLanes() noexcept;

  const SegmentLogOptions options_;
  const std::uint64_t segment_pages_;
  Owner& owner_;
  Scheduler& scheduler_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::uint64_t sequence_ = 0;
  OpenSequences open_;
  PagePool pages_;
  SegmentLogCounters counters_;
  bool watching_ = false;
  bool closing_ = false;
  std::vector<Event*> sleepers_;
  TaskScope background_;
};

}  // namespace terrace::nvme
