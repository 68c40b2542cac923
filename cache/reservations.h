// Reservations: blocks that several clients bring in parts, until they are committed.
//
// Model. A reservation is a reserved block of the index (everybody else is told kPending), the pin
// on its frame, and which of its bytes are there (written_ranges.h). A token names it to whoever
// may write: reactor, slot and 128 random bits, of one run of one daemon. It ends by commit, by
// abort, when its patience passed without a write, or when the last client that reserved it or
// wrote to it has gone.
//
//   V1. A fragment's bytes stay taken until the transport has let go of them (Hold), not until its
//       call has ended: bytes that come late would overwrite another writer's.
//   V2. Nothing is visible before commit. The sums that a fragment's bytes had when they came
//   become
//       the block's where they are of the block's own 256 KiB pieces; else commit makes the block's
//       and compares every fragment with its own.
//   V3. A block that is cleared meanwhile takes its frame along; its token stays until it ends, so
//       that commit can say what a put says then.
//   V4. While a fragment is on its way or a commit under way the patience does not run out.
//   V5. One that is part of a hand-off has a watcher (handoffs.h), who bounds it and ends it.
//
// Thread: the owning reactor's.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/put_token.h"
#include "base/random.h"
#include "base/wait.h"
#include "cache/cache_impl.h"
#include "cache/written_ranges.h"

namespace terrace {

enum class PutEnd : std::uint8_t { kCommitted, kAborted, kExpired, kAbandoned };

class OpenPut;

/// Who brings a reserved block part by part, and hears of it; the hand-off it belongs to.
class PutWatcher {
 public:
  /// Bytes of it have come, or it was cleared.
  virtual void OnChanged(OpenPut& put) = 0;
  /// It is about to end: its pin still holds the frame, unless it was cleared.
  virtual void OnEnding(OpenPut& put, PutEnd how) = 0;

 protected:
  ~PutWatcher() = default;
};

/// One reservation. Flows and Holds keep it; it is open while `Reservations` names it.
class OpenPut final : public Hold::Owner, public std::enable_shared_from_this<OpenPut> {
 public:
  OpenPut(const Namespace& the_space, std::uint64_t block_bytes)
      : space(the_space), bytes(block_bytes), ranges(block_bytes) {}
  ~OpenPut() = default;
  OpenPut(const OpenPut&) = delete;
  OpenPut& operator=(const OpenPut&) = delete;

  const Namespace& space;
  const std::uint64_t bytes;  ///< of the block
  PutTokenParts token;
  BlockId id = kNoBlock;
  std::uint32_t position = 0;
  Locator locator;
  FrameId frame = kNoFrame;
  Hold pin;  ///< until it ends, or the block is cleared
  std::vector<std::byte> placement;
  std::vector<std::byte> parent;  ///< key of the block before it, or empty
  WrittenRanges ranges;
  std::vector<std::uint64_t> clients;  ///< that reserved it or wrote to it, and live
  std::uint64_t owner = 0;             ///< the client that reserved it
  Nanos patience = 0;
  Nanos expires = 0;
  bool ended = false;
  bool cleared = false;
  bool committing = false;
  StatusCode failure = StatusCode::kOk;  ///< of its commit: kRetry when it was cleared, kCorrupt
  PutWatcher* watcher = nullptr;         ///< of a hand-off, until it ends (V5); null of others

  /// The bytes of a fragment that is taken, to be given to a link; `frame_pin` pins the frame.
  Hold HoldFragment(Hold frame_pin, std::uint64_t offset, std::uint64_t length);
  /// The call that brought the fragment has ended. Written: all of its bytes are there.
  void FinishFragment(std::uint64_t offset, bool written, std::vector<std::uint64_t> sums);
  /// Fragments that a link may still bring.
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_.size(); }

 private:
  struct Flight {
    std::shared_ptr<OpenPut> self;  // a Hold's owner outlives it
    Hold frame_pin;
    bool released = false;  // by the link
    bool ended = false;     // the call
    bool written = false;
    std::vector<std::uint64_t> sums;
  };
  void Release(std::uint64_t offset) noexcept override;
  void Land(std::uint64_t offset);
  std::map<std::uint64_t, Flight> in_flight_;  // by offset
};
using OpenPutRef = std::shared_ptr<OpenPut>;

/// The open reservations of a reactor.
class Reservations {
 public:
  /// Most open ones, of one client and of all.
  static constexpr std::size_t kOpenPerClientMax = 256;
  static constexpr std::size_t kOpenMax = 1024;
  /// One part in so many of the arena, of one client and of all.
  static constexpr std::uint64_t kClientShare = 8;
  static constexpr std::uint64_t kShare = 4;

  explicit Reservations(Cache::Impl& cache) : cache_(cache) {}
  ~Reservations();
  Reservations(const Reservations&) = delete;
  Reservations& operator=(const Reservations&) = delete;

  /// Whose tokens are made here. `random` outlives this.
  void Name(Random& random, std::uint64_t incarnation, std::uint16_t reactor);
  [[nodiscard]] std::uint64_t incarnation() const noexcept { return incarnation_; }
  /// kRetry, naming the limit, when `client` may not have another one of so many bytes.
  [[nodiscard]] Status CheckLimits(std::uint64_t client, std::uint64_t block_bytes) const;
  /// Opens one whose block is reserved already; gives it a token. With a watcher: `patience` means
  /// nothing, and no limit counts it.
  void Open(const OpenPutRef& put, std::uint64_t client, Nanos patience);
  /// kExpired unless the token is of one that is open and of the tenant.
  [[nodiscard]] Result<OpenPutRef> Find(const PutTokenParts& token,
                                        const std::string& tenant) const;
  /// The same of one that has ended, and whose fragments a link may still bring; or null.
  [[nodiscard]] OpenPutRef FindEnding(const PutTokenParts& token, const std::string& tenant);
  /// It was committed, not too long ago.
  [[nodiscard]] bool WasCommitted(const PutTokenParts& token) const;

  /// The client writes to it from now on; the patience begins anew.
  void Join(OpenPut& put, std::uint64_t client);
  void Touch(OpenPut& put);
  /// Ends one. Unless it was committed its block is forgotten.
  void Finish(const OpenPutRef& put, PutEnd how);
  /// The client has gone.
  void OnClientGone(std::uint64_t client);
  /// A reserved block was forgotten by somebody else.
  void OnForgotten(BlockId id);
  /// Ends all of them, and the watch.
  Task<void> Close();

 private:
  struct Usage {
    std::size_t open = 0;
    std::uint64_t bytes = 0;
  };
  /// Ends what has lost its patience, while there are any.
  Task<void> Watch();
  [[nodiscard]] Nanos NextExpiry() const;
  void Uncount(const OpenPut& put, PutEnd how);
  void CountNow();

  Cache::Impl& cache_;
  Random* random_ = nullptr;
  std::uint64_t incarnation_ = 0;
  std::uint16_t reactor_ = 0;
  std::map<std::uint32_t, OpenPutRef> open_;          // by slot
  std::unordered_map<BlockId, OpenPutRef> by_block_;  // but those that were cleared
  std::unordered_map<std::uint64_t, Usage> usage_;    // by client that reserved
  std::uint64_t bytes_ = 0;                           // of all that are open
  std::uint32_t next_slot_ = 0;
  std::vector<std::weak_ptr<OpenPut>> ending_;
  std::deque<std::uint64_t> committed_;  // nonces, oldest first
  Event changed_;                        // the watch must look again
  bool watching_ = false;
  TaskScope watch_;
};

}  // namespace terrace
