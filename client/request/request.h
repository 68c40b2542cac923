// Request: one call of a caller, from its arguments to its answer.
//
// Made by the caller's thread (request_builder.h), handed to the loop by ClientCore, changed in its
// turns alone until `done` is set or its completion is pushed; after that the caller's again. A
// request has one part for each reactor that it concerns.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/scheduler.h"
#include "base/signal.h"
#include "base/wait.h"
#include "client/regions/region_table.h"
#include "client/request/call_limit.h"
#include "client/request/call_watch.h"
#include "client/request/prefix_match.h"
#include "client/request/shard_plan.h"
#include "client/terrace.hpp"
#include "transport/piece_memory.h"
#include "transport/shm/lent_memory.h"

namespace terrace {

class ShardConnection;

enum class RequestKind : std::uint8_t {
  kMatch,
  kGet,
  kPut,
  kLend,
  kRemove,
  kOpenNamespace,
  kPing,
  kStat,
  kListNamespaces,
  kClearNamespace,
  kPrefetch,
  kTouch,
  kRetain,
  kReleaseRetained,
  kRemovePrefix,
  kClearTenant,
  kMatchGroups,
  kRenewLease,
  kReserve,
  kWrite,
  kCommit,
  kAbort,
  kOpenHandoff,
  kEndHandoff,
  kReadEvents,
  kReadSnapshot,
  kExplain,
  kRegisterDevice,
  kForgetDevice,
};

/// True for the calls that answer per block.
[[nodiscard]] constexpr bool AnswersPerBlock(RequestKind kind) noexcept {
  return kind == RequestKind::kGet || kind == RequestKind::kPut || kind == RequestKind::kLend ||
         kind == RequestKind::kRemove || kind == RequestKind::kPrefetch ||
         kind == RequestKind::kTouch || kind == RequestKind::kRetain ||
         kind == RequestKind::kWrite || kind == RequestKind::kCommit ||
         kind == RequestKind::kOpenHandoff;
}
/// True for the calls that the daemon is told of when they are given up, because it works or moves
/// bytes for them.
[[nodiscard]] constexpr bool IsWorkedAt(RequestKind kind) noexcept {
  return kind == RequestKind::kGet || kind == RequestKind::kPut || kind == RequestKind::kLend ||
         kind == RequestKind::kWrite || kind == RequestKind::kPrefetch ||
         kind == RequestKind::kReadEvents || kind == RequestKind::kReadSnapshot;
}

/// A get, or a put and what it waits for; with a hand-off, what is received or sent in it.
struct TransferKind {
  RequestKind kind = RequestKind::kGet;  ///< kGet or kPut
  Ack ack = Ack::kCommitted;             ///< kPut only
  bool waits = false;                    ///< kGet only: for what is not there yet
  std::optional<HandoffToken> handoff{};
  /// kPut only: one per block, or none at all. Not kept beyond the call that makes the request.
  std::span<const std::span<const std::uint32_t>> token_ids{};
};
/// A put as its options say.
[[nodiscard]] inline TransferKind PutOf(const PutOptions& options) noexcept {
  return {.kind = RequestKind::kPut, .ack = options.ack, .token_ids = options.token_ids};
}

enum class PartState : std::uint8_t {
  kUnsent,
  kWaiting,   ///< sent, no reply yet
  kQuieting,  ///< outcome known, the daemon may still touch the memory
  kDoubtful,  ///< as kQuieting, and the call has been answered
  kDone,
};

struct RequestPart {
  std::uint32_t shard = 0;
  std::uint64_t request_id = 0;
  std::vector<std::byte> message;
  /// Per key, in the message's order: its entry in the answer.
  std::vector<std::uint32_t> blocks;
  /// Per key: get's destination or put's source. Empty for calls that move no bytes.
  PieceMemory memory;

  PartState state = PartState::kUnsent;
  bool replied = false;
  ShardConnection* connection = nullptr;  ///< while not kUnsent and not kDone
  std::vector<Tier> tiers;                ///< match: what this reactor found
  LoadPart loads;                         ///< match: and what it says about loading that
  PrefixPart prefix;                      ///< match over groups: likewise
};

/// The lease that a call renews, and for how long.
struct LeaseRenewal {
  LeaseId lease;
  std::uint32_t ms = 0;
};

struct Request {
  RequestKind kind = RequestKind::kPing;
  Ack ack = Ack::kCommitted;  ///< of a put or commit: what it asked for
  Nanos deadline = 0;         ///< on SteadyClock
  Nanos begun = 0;            ///< when its parts were sent
  Nanos round_trip = 0;       ///< match: what a call to the daemon takes, as known at its end
  std::uint64_t epoch = 0;    ///< the session it was made for
  Ticket ticket = 0;          ///< 0: somebody waits for `done`
  std::vector<RequestPart> parts;
  std::vector<MatchStep> match_steps;
  PrefixQuestion prefix_question;  ///< of kMatchGroups
  LeaseRenewal renews;             ///< of kRenewLease
  RegionUse regions;               ///< of get and put
  RegionTable::Region device;      ///< of kRegisterDevice; its id of kForgetDevice
  CallSlot slot;                   ///< counts it among the calls in flight
  NamespaceDescriptor descriptor;  ///< of kOpenNamespace
  std::string lend_gpu;            ///< of kLend: whose memory may be lent; empty: the host's alone

  // The answer.
  Status status;  ///< ok when what follows holds the answer
  MatchResult match;
  PrefixMatch prefix;
  std::vector<BlockResult> blocks;
  std::vector<std::unique_ptr<LentMemory>> lent;  ///< of kLend: per block; null unless kOk
  Reservation reservation;
  std::vector<Sample> samples;
  std::vector<NamespaceInfo> namespaces;
  std::uint64_t cleared = 0;
  std::vector<BlockStoryInfo> stories;  ///< of kExplain: per key
  EventBatch events;                    ///< its cursor is the caller's, and moves with each answer
  std::uint32_t events_most = 0;        ///< what was asked for
  std::uint32_t opened_id = 0;          ///< the daemon's id, of kOpenNamespace
  NamespaceId opened;                   ///< the client's id
  Signal done;

  // The library thread's.
  bool hurried = false;       ///< the daemon was asked to answer what is left at once
  std::uint32_t refused = 0;  ///< parts that were refused as a whole
  std::uint32_t absent = 0;   ///< parts that answered kMiss as a whole
  std::uint32_t waiting = 0;  ///< parts in that state; likewise the next two
  std::uint32_t quieting = 0;
  std::uint32_t doubtful = 0;
  bool ended = false;          ///< it has been answered
  std::size_t live_index = 0;  ///< among the calls that are not over (request_flow.h)
  std::vector<std::shared_ptr<CallWatch>> watches;  ///< who waits for its end
  bool in_grace = false;                            ///< the timer is the one of the quiet grace
  std::optional<Scheduler::TimerId> timer;
  Event* finished_event = nullptr;  ///< of a coroutine of the library that waits for it
};
using RequestRef = std::shared_ptr<Request>;

}  // namespace terrace
