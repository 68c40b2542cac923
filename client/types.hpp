// The words of the Terrace client library: what its calls take and answer. Included by terrace.hpp.
//
// Plain data, any thread, except LentBlock, which says so itself. Sizes and offsets are bytes.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ack.h"
#include "base/limits.h"
#include "base/load_source.h"
#include "base/presence.h"
#include "base/request_hints.h"
#include "base/result.h"
#include "base/status.h"
#include "base/tier_kind.h"

#define TERRACE_API __attribute__((visibility("default")))

namespace terrace {

/// When a call must have ended, on the steady clock.
using Deadline = std::chrono::steady_clock::time_point;

/// The deadline that lies `duration` ahead, e.g. In(50ms).
inline Deadline In(std::chrono::steady_clock::duration duration) {
  return std::chrono::steady_clock::now() + duration;
}

/// The terrace of memory that a block was found on; TierName(tier) gives "dram", "nvme", ...
using Tier = TierKind;
// What a match says of one block is Presence (kReady, kMiss, ...): base/presence.h.
// What a put waits for is Ack (kCommitted, kDurable), and why a block is no safer NotDurable, whose
// name NotDurableName(reason) gives: base/ack.h.
// What is known of a request is RequestHints, with its Continuation (kWillContinue, kDone):
// base/request_hints.h. It goes with the chain: Chain::SetHints.

/// One attention kind of a model; its blocks all have the same size.
struct GroupSpec {
  std::uint32_t id = 0;            ///< The engine's number of the group, unique in a namespace.
  std::string attention = "full";  ///< "full", "window:4096", "state", ...; opaque to Terrace.
  std::uint64_t block_bytes = 0;   ///< Bytes of one block of one shard, 4 KiB to 64 MiB.
};

/// How fast an engine prefills the tokens that lie behind `context` others.
struct RatePoint {
  std::uint64_t context = 0;  ///< Tokens, at most 2^40.
  double tokens_per_s = 0;    ///< 0.001 to 1e12.
};

/// Everything that changes the bytes of a block. Two openers of one name must agree in every
/// field: the daemon compares a fingerprint and answers kIncompatible when they differ.
struct NamespaceDescriptor {
  std::string name;                       ///< 1 to 128 bytes, unique within the tenant.
  std::string model;                      ///< e.g. "meta-llama/Meta-Llama-3-8B".
  std::string weights;                    ///< Revision or digest of the weights.
  std::string kv_dtype = "bf16";          ///< Element type, with the quantisation scheme if any.
  std::string layout;                     ///< Order of the dimensions inside a block.
  std::string hash_algorithm = "sha256";  ///< How the engine makes keys.
  std::string hash_seed;                  ///< Seed of that hash; two seeds never share keys.
  std::uint32_t block_tokens = 0;         ///< Tokens of a full block, at least 1.
  std::uint32_t shard_count = 1;          ///< TP x PP ranks or canonical head ranges.
  std::uint32_t run_blocks = 64;          ///< Blocks placed together, 1 to 4096.
  std::vector<GroupSpec> groups;          ///< At least one, at most 64.
  /// What computing costs, not of the fingerprint: tokens per second of one GPU (those of the
  /// instance, divided by its GPUs), as PlanRequest::rate; of several points the first and the last
  /// count. Empty: not told. The daemon keeps what costs most to compute again for its bytes; of
  /// clients that say different things the last counts.
  std::vector<RatePoint> prefill_rate{};
};

/// Keys of a prompt's blocks in prefix order, from the first block on. A key is 1 to 64 opaque
/// bytes (usually a 32-byte chained hash), never parsed and never truncated.
class Chain {
 public:
  /// Appends the next key. kInvalid, naming the position, when it has 0 or more than 64 bytes or
  /// when the chain is full; the chain is then unchanged.
  TERRACE_API Status Append(std::span<const std::byte> key);
  TERRACE_API Status Append(std::string_view key);

  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(ends_.size());
  }
  /// REQUIRES: position < size(). The view is valid until the chain is next changed.
  [[nodiscard]] std::span<const std::byte> key(std::uint32_t position) const noexcept {
    const std::uint32_t begin = position == 0 ? 0 : ends_[position - 1];
    return {bytes_.data() + begin, ends_[position] - begin};
  }
  /// No keys and no hints any more.
  void clear() noexcept {
    bytes_.clear();
    ends_.clear();
    hints_ = {};
  }

  /// What is known of the request that these are the blocks of. Goes with every call that is given
  /// the chain; may be set anew between calls. kInvalid names the field (hints.session, ...); the
  /// hints are then unchanged.
  TERRACE_API Status SetHints(const RequestHints& hints);
  [[nodiscard]] const RequestHints& hints() const noexcept { return hints_; }

 private:
  std::vector<std::byte> bytes_;     // all keys, one after the other
  std::vector<std::uint32_t> ends_;  // where each key ends in bytes_
  RequestHints hints_;
};

struct NamespaceId {
  std::uint32_t value = 0;  ///< 0 is no namespace.
};
struct RegionId {
  std::uint32_t value = 0;  ///< 0 is no region.
};

/// Which blocks of a position a call is about.
struct BlockKind {
  std::uint32_t group = 0;  ///< GroupSpec::id.
  std::uint32_t shard = 0;  ///< Less than NamespaceDescriptor::shard_count.
};

/// A block's place in registered memory; its length is the group's block_bytes.
struct BlockBuffer {
  std::uint32_t position = 0;      ///< Index in the chain.
  RegionId region;                 ///< From RegisterMemory or AllocateRegion.
  std::uint64_t offset = 0;        ///< Bytes from the start of the region.
  std::uint32_t valid_tokens = 0;  ///< Put: tokens the block holds; 0 means all of block_tokens.
};

/// A stretch of registered memory.
struct MemoryPiece {
  RegionId region;           ///< From RegisterMemory or AllocateRegion.
  std::uint64_t offset = 0;  ///< Bytes from the start of the region.
  std::uint64_t length = 0;  ///< Bytes, at least 1.
};

/// Which bytes of a block: `count` stretches of `bytes` each, the first at `offset`, the next ones
/// `stride` apart: a layer is one stretch, a head range one stretch per token or layer.
/// The default is the whole block.
struct BlockRange {
  std::uint64_t offset = 0;  ///< Of the first stretch, from the start of the block.
  std::uint64_t bytes = 0;   ///< Of each stretch; 0: up to the end of the block, and count is 1.
  std::uint32_t count = 1;   ///< Stretches, 1 to 65,536.
  std::uint64_t stride =
      0;  ///< From one stretch's start to the next's; at least `bytes` when count > 1.
};

/// A block, or a part of one, and the memory that it is scattered into (get) or gathered from
/// (put), piece after piece. The pieces together are exactly as long as the range.
struct BlockPieces {
  std::uint32_t position = 0;           ///< Index in the chain.
  std::span<const MemoryPiece> pieces;  ///< At least 1, at most 65,535; copied by the call.
  BlockRange range;  ///< Get and Receive; Send: one stretch. A put stores whole blocks.
  std::uint32_t valid_tokens = 0;  ///< Put: tokens the block holds; 0 means all of block_tokens.
};

/// Names a reservation to whoever may write a part of the block: opaque bytes, to be passed to
/// other processes of the tenant as they are. Void when the daemon restarts.
struct PutToken {
  std::array<std::byte, 32> bytes{};
};

/// One block that nobody else may put meanwhile, and that nobody sees before it is committed.
struct Reservation {
  /// kOk: reserved. kExists: stored already. kPending: another put or reservation of it is under
  /// way. kRetry: no space now.
  StatusCode status = StatusCode::kInternal;
  PutToken token;  ///< When kOk.
};

/// A part of a reserved block and the memory that holds it.
struct BlockFragment {
  std::uint64_t offset = 0;             ///< Bytes from the start of the block.
  std::span<const MemoryPiece> pieces;  ///< Gathered in this order; at least 1. Copied by the call.
};

/// Names a hand-off to who receives it: opaque bytes that fit a request's metadata, to be passed to
/// other processes of the tenant as they are. Void when the daemon restarts.
struct HandoffToken {
  std::array<std::byte, 32> bytes{};
};

struct HandoffOptions {
  /// It ends when so long nothing was sent while something is missing; up to 10 min; 0: 10 s.
  std::chrono::milliseconds patience{};
  /// Once complete, its blocks stay in DRAM for so long, or until every receiver has said that it
  /// is done (AckHandoff); up to 10 min; 0: 30 s.
  std::chrono::milliseconds keep{};
  std::uint32_t receivers = 1;          ///< That will say so, at least 1.
  std::uint32_t last_valid_tokens = 0;  ///< Tokens that the last block will hold; 0: all.
};

/// The outcome for one block.
struct BlockResult {
  /// Get: kOk, kMiss, kCorrupt, kTimeout, kInDoubt, kPeerDead, kRetry, ...
  /// Put: kOk (stored, visible to others), kExists, kPending, kRetry (no space), ...
  StatusCode status = StatusCode::kInternal;
  Tier tier = Tier::kNone;         ///< Where it was found (get) or stored (put).
  std::uint32_t valid_tokens = 0;  ///< Get: tokens the block holds.
  /// Put that asked for Ack::kDurable, and kOk or kExists: the level that the block has reached,
  /// and why no more. kCommitted with kNone: for a reason that this library has no name for.
  Ack ack = Ack::kCommitted;
  NotDurable not_durable = NotDurable::kNone;
};

class LentMemory;

/// How a call lends.
struct LendOptions {
  std::chrono::milliseconds lease{};  ///< How long at most, up to 60 s; 0: the daemon's default.
  /// UUID of a GPU whose memory the caller can read, as nvidia-smi -L prints it; empty: none.
  std::string gpu{};
};

/// A block in the daemon's own memory, lent for reading: no byte is copied. Move-only; it goes
/// back when it is released or destroyed, which must be before the lease ends.
///
/// The daemon may end a lease early (the client seemed dead, or is too slow), and the bytes then
/// change under the reader. So: read, then Release, and use what was read (a copy, a sum, a
/// kernel's result) only when that answers kOk. The memory stays readable as long as this object
/// lives, whatever became of the daemon, the connection or the Client.
class TERRACE_API LentBlock {
 public:
  LentBlock() noexcept;
  ~LentBlock();
  LentBlock(LentBlock&& other) noexcept;
  LentBlock& operator=(LentBlock&& other) noexcept;
  LentBlock(const BlockResult& result, std::unique_ptr<LentMemory> memory) noexcept;

  /// As of a get; kUnsupported where the daemon is not on this host or lends nothing, kRetry when
  /// this client or all of them hold as much as they may: Get does it then.
  StatusCode status = StatusCode::kInternal;
  Tier tier = Tier::kNone;
  std::uint32_t valid_tokens = 0;

  /// The block, block_bytes long, read-only; empty unless status is kOk, after Release, and where
  /// the block lies in memory of a GPU.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept;
  /// The block in memory of a GPU, to be read by that GPU alone, and never written: what is written
  /// there is found by checksums, and costs the block. Let the GPU be done with it before Release.
  /// Empty where bytes() is not.
  [[nodiscard]] std::span<const std::byte> device_bytes() const noexcept;
  /// UUID of the GPU that the block lies on; empty: it lies in memory of the host.
  [[nodiscard]] std::string_view gpu() const noexcept;
  /// True: what was read before this call was the block.
  [[nodiscard]] bool Intact() const noexcept;
  /// Gives the block back: kOk when what was read was the block, kExpired when it must not be used,
  /// kInvalid when there is nothing to give back. A few loads and stores and a getpid. After fork()
  /// the block stays the parent's: kExpired in the child.
  StatusCode Release() noexcept;
  /// For the library's own parts.
  [[nodiscard]] const LentMemory* memory() const noexcept { return memory_.get(); }

 private:
  [[nodiscard]] bool IsLent() const noexcept;

  std::unique_ptr<LentMemory> memory_;
};

/// Of a block that comes from nowhere.
inline constexpr std::uint16_t kNoSource = 0xffff;

struct MatchResult {
  std::uint32_t matched = 0;  ///< Leading blocks of the chain that are stored now.
  std::vector<Tier> tiers;    ///< Tier of each of them; size() == matched.
  // What the daemon says about loading them, empty when it is older than this: Client::Plan.
  std::vector<std::uint32_t> load_us;  ///< Per block: predicted time to get it alone, from now on.
  std::vector<std::uint16_t> sources;  ///< Per block: which of `load_from` it comes from.
  std::vector<LoadSource> load_from;   ///< Every connection, behind each its reactor's devices.
  std::uint64_t block_bytes = 0;
  std::uint32_t block_tokens = 0;
};

/// Which blocks of a group an engine needs to continue after n blocks of the chain.
enum class StopPolicy : std::uint8_t {
  kAll = 0,       ///< Full attention: every block before n.
  kTrailing = 1,  ///< Sliding window: the last `blocks` blocks before n.
  kExact = 2,     ///< Recurrent state: the block just before n, and n is a multiple of `blocks`.
  /// None: each block that is ready is of use by itself. A query of sparse groups alone stops after
  /// every block that is ready, on all of its shards, in one of them.
  kSparse = 3,
};

struct GroupPolicy {
  std::uint32_t group = 0;  ///< GroupSpec::id.
  StopPolicy policy = StopPolicy::kAll;
  std::uint32_t blocks = 0;  ///< kTrailing: the window, kExact: the boundary, at least 1; else 0.
};

enum class MatchMode : std::uint8_t {
  kProbe = 0,  ///< Only looks: no lease, and no effect on recency.
  /// What the longest stop point needs stays where it is, and can be got, until the lease ends; of
  /// sparse groups, what is ready before it. Two exceptions: who removes or clears blocks is not
  /// kept from it, and a block that is on NVMe only may go when its log has no room to keep it. A
  /// get of one that went is a miss, and RenewLease answers kExpired. No effect on recency either.
  kLease = 1,
};

struct MatchQuery {
  std::vector<GroupPolicy> groups{};  ///< At least 1, each group once.
  /// Each once; empty: all of the namespace. Groups x shards x blocks of the chain: at most
  /// 1,048,576.
  std::vector<std::uint32_t> shards{};
  MatchMode mode = MatchMode::kProbe;
  std::chrono::milliseconds
      lease{};  ///< kLease: for so long, up to 60 s; 0: the daemon's default, 10 s.
};

/// One group of one shard: an entry for each block of the chain.
struct GroupPresence {
  std::uint32_t group = 0;
  std::uint32_t shard = 0;
  std::vector<Presence> blocks;
  std::vector<Tier> tiers;        ///< kNone unless kReady.
  std::uint32_t consecutive = 0;  ///< Leading blocks that are ready.
  // As of MatchResult, for each block of the chain; 0 and kNoSource unless it is ready.
  std::vector<std::uint32_t> load_us;
  std::vector<std::uint16_t> sources;
  std::uint64_t block_bytes = 0;
  GroupPolicy policy;  ///< As the query had it.
};

/// A lease on what a match found; a number of its Client. 0 is none.
struct LeaseId {
  std::uint64_t value = 0;
};

struct PrefixMatch {
  std::uint32_t longest = 0;         ///< The largest stop point; 0 when there is none.
  std::vector<std::uint32_t> stops;  ///< All n > 0 after which the engine can continue, ascending.
  std::vector<GroupPresence> found;  ///< Per group of the query, in its order, and per shard.
  LeaseId lease;                     ///< kLease and longest > 0: what to renew and release.
  /// kOk: all that the longest stop point needs is leased. kRetry: this client, or all of them,
  /// would hold more than they may, and nothing is leased. A reactor first leases all that it finds
  /// ready, so that counts until it is trimmed. kMiss: there was nothing to lease.
  StatusCode lease_status = StatusCode::kOk;
  std::vector<LoadSource> load_from;  ///< As of MatchResult.
  std::uint32_t block_tokens = 0;
};

/// What a plan is made for.
struct PlanRequest {
  std::uint64_t tokens = 0;  ///< Of the prompt, 1 to 2^40; at least as far as the match reaches.
  /// One point: a rate for any context. Several, 4,096 at most, contexts ascending: the time for
  /// one token is linear between them, as it is in a transformer, and constant beyond the ends.
  std::vector<RatePoint> rate{};
  /// The engine can compute tokens while blocks behind them are loaded. False: it can only load a
  /// prefix, then compute.
  bool overlap = true;
};

struct BlockSpan {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};
struct TokenSpan {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// What to load and what to compute. front <= back <= stop:
///   load blocks [0, front) first, and [back, stop) behind them, in one go;
///   when the first are there, compute the tokens of blocks [front, back) meanwhile;
///   when all are there, compute from `stop` on.
/// All three equal: load a prefix, or nothing (0), and compute the rest.
struct LoadPlan {
  std::uint32_t front = 0;
  std::uint32_t back = 0;
  std::uint32_t stop = 0;
  std::array<TokenSpan, 2> compute{};  ///< Meanwhile (count may be 0), and after it.
  // Predicted, from the moment of the match on.
  double seconds = 0;
  double load_seconds = 0;         ///< Of the plan's loads alone.
  double load_all_seconds = 0;     ///< Loading all that the longest stop point needs instead.
  double compute_all_seconds = 0;  ///< Loading nothing instead.
};

/// What a put does besides storing.
struct PutOptions {
  Ack ack = Ack::kCommitted;  ///< What its end waits for.
  /// For the events that tell of the blocks: the ids of each block's tokens, one entry per entry of
  /// `blocks`, some of them empty; or none at all. At most 16,384 ids of a block. Copied by the
  /// call.
  std::span<const std::span<const std::uint32_t>> token_ids{};
};

struct PrefetchOptions {
  Tier target = Tier::kDram;  ///< Where the blocks shall be; kDram.
  std::uint32_t priority =
      0;  ///< Higher first among the prefetches of a reactor; gets go before all.
};

/// What Retain keeps, and for how long.
struct RetainOptions {
  std::string label;  ///< A session or a prompt's name, 1 to 128 bytes, within the tenant.
  std::chrono::milliseconds time{
      60000};  ///< From now on, up to 24 h. A later Retain of the label extends it.
};

using Ticket = std::uint64_t;  ///< Names a submitted call; never 0 and never used twice.

struct EventBatch;  // client/events.hpp

/// The end of a submitted call.
struct Completion {
  Ticket ticket = 0;
  Status status;                    ///< Ok when `match` or `blocks` holds the answer.
  MatchResult match;                ///< Of SubmitMatch.
  std::vector<BlockResult> blocks;  ///< Of SubmitGet, SubmitPut, SubmitRemove: one per block asked.
  std::vector<LentBlock> lent;      ///< Of SubmitLend: one per position asked.
  PrefixMatch prefix;               ///< Of SubmitMatchGroups.
  Reservation reservation;          ///< Of SubmitReserve.
  std::shared_ptr<const EventBatch> events;  ///< Of SubmitReadEvents and SubmitReadSnapshot.
  RegionId region;                           ///< Of SubmitRegisterMemory and SubmitAllocateRegion.
};

enum class LinkChoice : std::uint8_t {
  kAuto,  ///< The fastest that works between this process and the daemon.
  kTcp,   ///< Only TCP.
};

struct ClientOptions {
  std::string address = "127.0.0.1:7420";  ///< HOST:PORT of the daemon; IPv6 as [::1]:7420.
  std::string tenant = "default";          ///< 1 to 128 bytes; tenants never see each other.
  std::string name = "client";             ///< For `terracectl stat`; at most 128 bytes.
  LinkChoice link = LinkChoice::kAuto;
  std::chrono::milliseconds connect_timeout{2000};  ///< Of the first connection.
  /// How long a call that waits polls before its thread sleeps, up to 1 s. Answers come sooner by
  /// the 10 to 50 us of a wake-up, and a core is busy meanwhile: only with cores to spare, and with
  /// server.spin_us of the daemon likewise.
  std::chrono::microseconds spin{0};
  bool verify_same_host = false;  ///< Also hash what was copied on this host (TCP always is).
};

/// One number of the daemon, named as in docs/operations.md.
struct Sample {
  std::string name;    ///< e.g. "terrace_get_blocks_hit_total"
  std::string labels;  ///< e.g. "tier=\"dram\"", or empty
  double value = 0;
};

struct NamespaceInfo {
  std::string tenant;
  std::string name;
  std::string fingerprint;  ///< 32 hexadecimal digits.
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
};

}  // namespace terrace
