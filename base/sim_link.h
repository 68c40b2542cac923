// SimLink: a Link between the cache and the memory of a simulated client, in one process.
//
// Model. A transfer takes a random time on the scheduler's timers; its first half arrives half way,
// the rest at the end, so that a peer may die in mid transfer. What may go wrong is drawn from
// Random, so one seed replays it all:
//   stall       the transfer never arrives: it ends at its deadline with kTimeout;
//   death       the peer dies half way: this and every other transfer ends with kPeerDead;
//   corruption  a bit flips on the way: the receiver's checksums find it, kCorrupt;
//   messages    one is dropped, or takes so long that later ones overtake it (Carry).
// A transfer that ended early keeps its Hold for a while after the call has ended (L2), and uses
// it at the end of that time: a late pull writes noise into the frame, a late push checks that the
// frame still holds what it was given. So a frame that is freed too early shows as wrong bytes or
// in late_changes().
//
// Thread: the scheduler's. Lifetime: scheduler, random and memory outlive the link; no call is in
// progress when it is destroyed, and Holds still in quarantine are released then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "base/link.h"
#include "base/random.h"
#include "base/scheduler.h"
#include "base/wait.h"

namespace terrace {

/// The registered memory of one simulated client. It outlives the client's links.
class SimMemory {
 public:
  /// The number of the region. `bytes` outlives the memory.
  std::uint32_t Register(std::span<std::byte> bytes);
  /// The bytes that a piece names; empty when it does not lie inside a region.
  [[nodiscard]] std::span<std::byte> Find(const Piece& piece) const noexcept;

 private:
  std::vector<std::span<std::byte>> regions_;  // [region - 1]
};

struct SimLinkFaults {
  Nanos latency_min = 10 * kMicrosecond;  ///< of one transfer
  Nanos latency_max = 100 * kMicrosecond;
  double stall = 0;  ///< probability per transfer, as the next two
  double death = 0;
  double corruption = 0;
  double message_drop = 0;                   ///< probability per message of Carry
  Nanos message_delay_max = 0;               ///< of a message; 0: it takes no time
  Nanos quarantine_max = 10 * kMillisecond;  ///< how long a Hold may be kept after an early end
};

class SimLink final : public Link {
 public:
  static constexpr std::size_t kMessagesMax = 1024;  ///< kept by Send; older ones are dropped

  SimLink(Scheduler& scheduler, Random& random, const SimMemory& memory, SimLinkFaults faults);
  ~SimLink() override;
  SimLink(const SimLink&) = delete;
  SimLink& operator=(const SimLink&) = delete;

  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kSim; }
  [[nodiscard]] bool Alive() const noexcept override { return alive_; }
  Task<Status> Push(Hold source, BlockTransfer transfer,
                    std::span<const std::uint64_t> checksums) override;
  Task<Status> Pull(Hold destination, BlockTransfer transfer,
                    std::span<std::uint64_t> checksums) override;
  void Send(std::vector<std::byte> message) override;
  void Close() override;

  /// The journey of one control message, either way, in a simulation whose calls are no messages.
  /// kTimeout when it was dropped: told at `deadline`; one that is late arrives all the same.
  /// kPeerDead when the link has ended meanwhile.
  Task<Status> Carry(Nanos deadline);
  /// The client stops: nothing arrives, in either direction, before that time.
  void FreezeUntil(Nanos time) { frozen_until_ = time; }

  /// Faults of transfers that start from now on.
  void SetFaults(const SimLinkFaults& faults) { faults_ = faults; }
  /// Messages sent since the last call, oldest first.
  std::vector<std::vector<std::byte>> TakeMessages();
  [[nodiscard]] std::size_t in_flight() const noexcept { return flights_.size(); }
  /// Transfers in progress at most so far.
  [[nodiscard]] std::size_t in_flight_most() const noexcept { return in_flight_most_; }
  /// Holds kept beyond the end of their calls now.
  [[nodiscard]] std::size_t quarantined() const noexcept { return quarantine_.size(); }
  /// Late pushes that found other bytes than they were given: always 0, or frames are reused
  /// while a transport still uses them.
  [[nodiscard]] std::uint64_t late_changes() const noexcept { return late_changes_; }
  /// Bits flipped so far; each must have been answered with kCorrupt, and nothing else may be.
  [[nodiscard]] std::uint64_t corruptions() const noexcept { return corruptions_; }
  /// Transfers that never arrived; deaths in mid transfer.
  [[nodiscard]] std::uint64_t stalls() const noexcept { return stalls_; }
  [[nodiscard]] std::uint64_t deaths() const noexcept { return deaths_; }
  [[nodiscard]] std::uint64_t messages_dropped() const noexcept { return messages_dropped_; }
  /// Messages that arrived after one that was sent later.
  [[nodiscard]] std::uint64_t messages_reordered() const noexcept { return messages_reordered_; }

 private:
  enum class Fault { kNone, kStall, kDeath, kCorruption };
  enum class Direction { kPush, kPull };
  struct Late {
    Hold hold;
    Direction direction;
    std::uint64_t checksum;  // of the bytes when the call ended
    Scheduler::TimerId timer;
  };

  /// Bytes that lie in several places, in order.
  using Places = std::vector<std::span<std::byte>>;
  /// Where the block's bytes are on the client's side; empty when a piece is wrong.
  [[nodiscard]] Places PlacesOf(const BlockTransfer& transfer, std::size_t block_bytes) const;
  [[nodiscard]] Fault DrawFault();
  /// The journey of one block. Ok: all of it arrived (or a bit of it flipped).
  /// `frame` and `places` have as many bytes, and outlive the task.
  Task<Status> Travel(const Places& frame, const Places& places, Direction direction,
                      Nanos deadline);
  /// Waits until `time`; the reason when the transfer ends before.
  Task<Status> WaitInFlight(Event& cut, Nanos time, Nanos deadline);
  /// The frame is let go of when its bytes have passed; the call ends a little later, when sender
  /// and receiver have compared their checksums. What a caller may rely on meanwhile shows here.
  Task<void> AwaitLastWord(Nanos deadline);
  void Quarantine(Hold hold, Direction direction);
  void EndQuarantine(std::list<Late>::iterator late);

  Scheduler& scheduler_;
  Random& random_;
  const SimMemory& memory_;
  SimLinkFaults faults_;
  bool alive_ = true;
  std::list<Event*> flights_;
  std::size_t in_flight_most_ = 0;
  std::list<Late> quarantine_;
  std::uint64_t late_changes_ = 0;
  std::uint64_t corruptions_ = 0;
  std::uint64_t stalls_ = 0;
  std::uint64_t deaths_ = 0;
  Nanos frozen_until_ = 0;
  std::uint64_t messages_sent_ = 0;
  std::uint64_t newest_arrived_ = 0;  // number of a message
  std::uint64_t messages_dropped_ = 0;
  std::uint64_t messages_reordered_ = 0;
  std::vector<std::vector<std::byte>> messages_;
};

}  // namespace terrace
