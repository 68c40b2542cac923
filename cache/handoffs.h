// Handoffs: chains that a producer sends part by part to receivers that wait for it.
//
// Model. A hand-off names blocks of one chain on this reactor, and what becomes of each: reserved
// and being sent (a reservation, reservations.h), complete and pinned for the receivers, stored or
// brought by somebody else, or given up, and why. Its number is 128 random bits, the same on every
// reactor of the daemon. It ends when everything is complete and every receiver has said so, or
// kept for so long; when its producer aborts it or is gone, or nothing was sent for so long, while
// something is missing.
//
//   F1. A block is visible to everybody else once it is complete, and not before; a receiver with
//       the number reads the parts that have come, each with the sums it came with.
//   F2. Whatever changes, those who wait for it are told (Arrivals): nobody waits for a producer
//       that has gone.
//   F3. What hand-offs reserve and pin together is at most half of the arena, of one client a
//       quarter; so much of it as finds no room is told kRetry, and the rest goes on.
//   F4. How the last kEndedMax ended is remembered, so that a receiver that comes late is told.
//
// Thread: the owning reactor's.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/handoff_token.h"
#include "base/wait.h"
#include "cache/cache_impl.h"
#include "cache/reservations.h"

namespace terrace {

class Handoffs;

/// One hand-off. Flows keep it; it is open while `Handoffs` names it.
class Handoff final : public PutWatcher {
 public:
  struct Block {
    std::uint32_t position = 0;
    Locator locator;
    OpenPutRef put;  ///< while it is being sent
    Hold pin;        ///< of a complete one, for the receivers
    /// kPending: it is being sent. kOk: it is, or was, complete. kExists: somebody else brought it,
    /// or brings it. Else why it never will be.
    StatusCode state = StatusCode::kPending;
  };

  Handoff(Handoffs& all, HandoffNumber the_number, std::string the_tenant)
      : number(the_number), tenant(std::move(the_tenant)), all_(all) {}
  ~Handoff() = default;
  Handoff(const Handoff&) = delete;
  Handoff& operator=(const Handoff&) = delete;

  /// Null for a position that is none of its.
  [[nodiscard]] Block* Find(std::uint32_t position) noexcept;

  const HandoffNumber number;
  const std::string tenant;
  std::vector<Block> blocks;           ///< by position
  std::uint64_t owner = 0;             ///< the client that opened it
  std::vector<std::uint64_t> clients;  ///< that opened it or sent to it, and live
  Nanos patience = 0;
  Nanos keep = 0;
  Nanos expires = 0;
  std::uint32_t receivers = 1;     ///< that have not said that they are done
  std::size_t sends = 0;           ///< calls that bring parts now
  std::size_t planned = 0;         ///< blocks that it will have
  std::size_t unfinished = 0;      ///< blocks that are being sent
  std::uint64_t pinned_bytes = 0;  ///< reserved and pinned
  bool opening = false;
  bool ended = false;

 private:
  void OnChanged(OpenPut& put) override;
  void OnEnding(OpenPut& put, PutEnd how) override;
  Handoffs& all_;
};
using HandoffRef = std::shared_ptr<Handoff>;

/// The open hand-offs of a reactor.
class Handoffs {
 public:
  /// Most open ones, of one client and of all, and most blocks of all.
  static constexpr std::size_t kOpenPerClientMax = 4096;
  static constexpr std::size_t kOpenMax = 16'384;
  static constexpr std::size_t kBlocksMax = 262'144;
  /// One part in so many of the arena, of one client and of all.
  static constexpr std::uint64_t kClientShare = 4;
  static constexpr std::uint64_t kShare = 2;
  static constexpr std::size_t kEndedMax = 4096;

  explicit Handoffs(Cache::Impl& cache) : cache_(cache) {}
  ~Handoffs();
  Handoffs(const Handoffs&) = delete;
  Handoffs& operator=(const Handoffs&) = delete;

  /// A new one, without blocks, of so many to come. kRetry, naming the limit; kInvalid when the
  /// number is taken.
  Result<HandoffRef> Open(HandoffNumber number, const std::string& tenant, std::uint64_t client,
                          std::size_t blocks);
  /// Null: none of the tenant is open (any more).
  [[nodiscard]] HandoffRef Find(HandoffNumber number, const std::string& tenant) const;
  /// How it ended: kOk when it was complete; kMiss when nobody knows of it.
  [[nodiscard]] StatusCode Ended(HandoffNumber number, const std::string& tenant) const;

  /// Room for a block more, reserved or pinned, of its client and of all.
  [[nodiscard]] bool HasRoom(const Handoff& handoff, std::uint64_t block_bytes) const;
  /// The next block, behind the ones it has. What `block` reserves or pins is counted.
  void Add(const HandoffRef& handoff, Handoff::Block block);
  /// All of its blocks are named.
  void Opened(const HandoffRef& handoff);
  /// The client sends to it from now on; the patience begins anew.
  void Join(Handoff& handoff, std::uint64_t client);
  /// A receiver is done.
  void Acknowledge(const HandoffRef& handoff);
  /// Ends it: what is being sent is given up, for the reason `why`; what is complete stays stored.
  void End(const HandoffRef& handoff, StatusCode why);
  /// The client has gone.
  void OnClientGone(std::uint64_t client);
  /// Ends all of them, and the watch.
  Task<void> Close();

  // Of a hand-off, about its blocks.
  void OnChanged(Handoff& handoff, OpenPut& put);
  void OnEnding(Handoff& handoff, OpenPut& put, PutEnd how);

 private:
  struct Usage {
    std::size_t open = 0;
    std::uint64_t bytes = 0;
  };
  struct Past {
    std::string tenant;
    StatusCode why;
  };
  /// Ends what has lost its patience or was kept long enough, while there are any.
  Task<void> Watch();
  /// Commits blocks that are complete, and ends those that were cleared, one after the other.
  Task<void> CommitBlocks();
  void EndWhenDone(const HandoffRef& handoff);
  void Unpin(Handoff& handoff, Handoff::Block& block);
  void Touch(Handoff& handoff);
  void CountNow();

  Cache::Impl& cache_;
  std::unordered_map<HandoffNumber, HandoffRef> open_;
  std::unordered_map<std::uint64_t, Usage> usage_;  // by client that opened
  std::size_t blocks_ = 0;                          // of all that are open
  std::uint64_t bytes_ = 0;                         // reserved and pinned for them
  std::unordered_map<HandoffNumber, Past> past_;
  std::deque<HandoffNumber> past_order_;
  std::deque<OpenPutRef> complete_;  // to be committed
  bool commits_ = false;             // CommitBlocks runs
  Event changed_;                    // the watch must look again
  bool watching_ = false;
  TaskScope tasks_;
};

}  // namespace terrace
