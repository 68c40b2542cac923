// Cache: one reactor's slice of the store. Requests come in as plain structs, bytes move over a
// Link; the cache knows neither the wire nor UCX.
//
//   get: find -> pin frame | (allocate frame, read record, verify, promote) -> push, or lend ->
//   unpin -> answer
//   put: allocate frame (evict) -> pull from the client -> checksum -> publish -> answer
//   COMMITTED
//        -> (if admitted to NVMe) append -> sync -> DURABLE
//
//   C1. A block is visible to Match and Get only after all its bytes are in its frame.
//   C2. The full key, group, shard and namespace are compared on every hit: a collision of
//       locators is a miss, counted in `key_mismatches`.
//   C3. Two puts of one block: the first writes, the second is told kPending at once (or kExists
//       once the first has published). If the first fails, its reservation goes with it.
//   C4. A removed or evicted block that is pinned stays in its frame until the last pin goes, and
//       is no longer found ("doomed").
//   C5. Every flow ends at its request's deadline; a frame under a transfer is freed only when the
//       transport let go of it (Hold).
//   C6. What NVMe holds is read into a frame of its own, checked, and compared with what was asked
//       for before anybody else sees it; on doubt the answer is a miss, with a counter.
//   C7. What a match leased stays where it is until the lease ends, but for removals and for blocks
//       on NVMe only that their log has no more room for (lease_table.h).
//
// Thread: the owning reactor's, except Counters().
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ack.h"
#include "base/block_event.h"
#include "base/clock.h"
#include "base/handoff_token.h"
#include "base/link.h"
#include "base/miss_reason.h"
#include "base/presence.h"
#include "base/put_token.h"
#include "base/random.h"
#include "base/result.h"
#include "base/task.h"
#include "base/tier_kind.h"
#include "cache/advice/miss_ratio_curve.h"
#include "cache/event_log.h"
#include "cache/lease_table.h"
#include "cache/load_estimate.h"
#include "cache/namespace_registry.h"
#include "cache/policy/policies.h"
#include "cache/policy/request_facts.h"
#include "tiers/dram/frame_arena.h"
#include "tiers/hbm/hbm_tier.h"
#include "tiers/nvme/nvme_tier.h"

namespace terrace {

using KeyView = std::span<const std::byte>;

/// Consecutive blocks of one chain that lie in one run. The views live as long as the request.
struct RunSlice {
  KeyView placement;                 ///< first key of the run: decides reactor and node
  std::uint32_t first_position = 0;  ///< chain position of keys[0]
  KeyView parent;                    ///< key before keys[0] in the chain; empty at position 0
  std::vector<KeyView> keys;
};

/// Blocks of one chain, group and shard, in prefix order.
struct ChainSlice {
  std::uint32_t namespace_id = 0;
  std::uint32_t group = 0;
  std::uint32_t shard = 0;
  std::vector<RunSlice> runs;
};

/// Where one block's bytes are on the client's side.
struct BlockPlace {
  std::vector<Piece> pieces;
  std::uint32_t valid_tokens = 0;  ///< put only; 0 means a full block
  FrameRange range{};              ///< of a get or a send; a put is of whole blocks
  /// Put only: ids of the block's tokens, 4 bytes each, for the event alone; a view of the request.
  std::span<const std::byte> tokens{};
};

struct GetRequest {
  std::uint64_t request_id = 0;
  ChainSlice chain;
  std::vector<BlockPlace> places;  ///< one per key of the chain slice, in its order
  Nanos deadline = 0;
  /// Get only: the frames are lent for so long, nothing is pushed, and there are no places. 0:
  /// they are pushed.
  Nanos lend_for = 0;
  /// With `lend_for`: the UUID of a GPU whose memory the client can be lent as well; empty: none.
  std::string lend_gpu{};
  Ack ack = Ack::kCommitted;  ///< put only: what the answer waits for
  bool waits = false;         ///< get only: for what is not there yet, until the deadline
  HandoffNumber handoff{};    ///< get that waits: also what is sent in it; put: sends in it
  RequestFacts facts{};       ///< what its client said; the cache fills in the tenant
};
using PutRequest = GetRequest;

/// Blocks that will be sent part by part to receivers that wait for them (cache/handoffs.h).
struct HandoffRequest {
  HandoffNumber number;
  ChainSlice chain;
  std::vector<std::uint32_t> valid_tokens;  ///< one per key, or none: full blocks
  Nanos patience = 0;           ///< it ends when so long nothing is sent and something is missing
  Nanos keep = 0;               ///< for so long what is complete is pinned for the receivers
  std::uint32_t receivers = 1;  ///< that will say that they are done
  RequestFacts facts{};         ///< as of a get; of what is sent, too
};

struct ReserveRequest {
  ChainSlice chain;                ///< one key
  std::uint32_t valid_tokens = 0;  ///< 0 means a full block
  Nanos patience = 0;              ///< the reservation ends when so long nothing is written
  RequestFacts facts{};            ///< as of a get
};

struct ReserveAnswer {
  Status status;  ///< not ok: refused as a whole; kRetry names the limit that is reached
  /// kOk: `token` names the reservation. kExists, kPending; kRetry: no space.
  StatusCode outcome = StatusCode::kInternal;
  PutTokenParts token{};
};

struct WriteRequest {
  std::uint64_t request_id = 0;
  PutTokenParts token;
  struct Fragment {
    std::uint64_t offset = 0;  ///< in the block
    std::vector<Piece> pieces;
  };
  std::vector<Fragment> fragments;
  Nanos deadline = 0;
};

struct CommitRequest {
  PutTokenParts token;
  Nanos deadline = 0;
  Ack ack = Ack::kCommitted;  ///< what the answer waits for
};

struct BlockAnswer {
  StatusCode status = StatusCode::kInternal;
  TierKind tier = TierKind::kNone;
  std::uint32_t valid_tokens = 0;
  /// Put with Ack::kDurable whose status is kOk or kExists: kDurable, or the reason why not.
  Ack ack = Ack::kCommitted;
  NotDurable not_durable = NotDurable::kNone;
  Loan loan{};                            ///< of a get that asked to be lent, and kOk
  MissReason reason = MissReason::kNone;  ///< get only: why its bytes did not come
};

struct MatchAnswer {
  Status status;                      ///< kInvalid for an unknown namespace, group or shard
  std::vector<TierKind> tiers;        ///< tier of each leading block that is stored
  std::vector<std::uint8_t> sources;  ///< per tier: which of `load_from` it comes from
  std::vector<LoadSource> load_from;  ///< as seen from the link; empty without one
};

/// One chain, over every pair of a group and a shard.
struct GroupsQuery {
  ChainSlice chain;                   ///< its group and shard mean nothing
  std::vector<std::uint32_t> groups;  ///< at least one, each once
  std::vector<std::uint32_t> shards;  ///< likewise
  LeaseHolder holder = 0;             ///< who gets the lease
  Nanos lease_for = 0;                ///< what is ready is leased for so long; 0: only looks
  const Link* link = nullptr;         ///< what would bring the blocks; outlives the task
};

struct GroupsAnswer {
  Status status;  ///< kInvalid names the argument: unknown or named twice, or too much together
  /// Group by group, in it shard by shard, in it key by key.
  std::vector<Presence> presence;
  std::vector<TierKind> tiers;        ///< likewise; kNone unless it is ready
  std::vector<std::uint8_t> sources;  ///< likewise: which of `load_from` it comes from
  std::vector<LoadSource> load_from;  ///< as seen from the link; empty without one
  LeaseNumber lease = 0;              ///< 0: none
  /// Of a query for a lease. kRetry: the holder, or all of them, would have too much. kMiss: there
  /// was nothing to lease.
  StatusCode lease_status = StatusCode::kOk;
};

struct BatchAnswer {
  Status status;                    ///< not ok: nothing was done, `blocks` is empty
  std::vector<BlockAnswer> blocks;  ///< one per key
};

/// Blocks to be brought to DRAM. What is not there by the deadline is given up.
struct PrefetchRequest {
  ChainSlice chain;
  std::uint32_t priority = 0;  ///< higher first, among the prefetches of this reactor
  Nanos deadline = 0;          ///< may be moved to the past while the request is under way
  RequestFacts facts{};        ///< as of a get
};

/// Blocks to be evicted after all others, for so long or until the label is released.
struct RetainRequest {
  ChainSlice chain;
  std::string label;  ///< within the namespace's tenant
  Nanos time = 0;
};

/// Blocks to be forgotten in every group and shard, with what continues them; the chain's group and
/// shard do not count.
struct PrefixRequest {
  ChainSlice chain;
  Nanos deadline = 0;  ///< as of a prefetch
};

/// Why a record was written.
enum class WriteReason : std::uint8_t {
  kPut = 0,         ///< everything is, or nothing is known of the block
  kDurable = 1,     ///< its client asked for it
  kDemoted = 2,     ///< it was worth it, when it was its turn to leave DRAM or at a clean stop
  kReinserted = 3,  ///< its segment was used again
};
inline constexpr std::size_t kWriteReasons = 4;

/// "put", "durable", ... for metrics.
constexpr std::string_view WriteReasonName(WriteReason reason) noexcept {
  constexpr std::array<std::string_view, kWriteReasons> kNames = {"put", "durable", "demoted",
                                                                  "reinserted"};
  return kNames[static_cast<std::size_t>(reason)];
}
inline constexpr std::size_t kMissAges = 11;  ///< 1 s, 4 s, ... 4^9 s (three days), and longer

/// What is known of one block, for people (Explain).
struct BlockStory {
  MissReason reason = MissReason::kNone;  ///< kNone: a get would be answered with its bytes
  bool published = false;
  TierSet tiers = 0;
  bool loading = false;  ///< from NVMe, at this moment
  bool writing = false;  ///< to NVMe, or waits for that
  bool kept = false;     ///< by a label
  bool leased = false;   ///< by a match
  std::uint32_t pins = 0;
  std::uint32_t position = 0;
  std::uint32_t valid_tokens = 0;
  std::uint32_t gets = 0;  ///< since it was put or written again, up to kReinsertGets
  std::uint64_t block_bytes = 0;
  /// Since it was put or found by a start, in whole minutes; of a block that left, exact to a tenth
  /// of a second.
  Nanos age = 0;
};

/// Counters; single writer (the reactor), readable from any thread.
struct CacheCounters {
  std::atomic<std::uint64_t> match_requests{0}, match_blocks{0}, match_hits{0};
  std::atomic<std::uint64_t> get_requests{0}, get_blocks{0}, get_misses{0};
  std::atomic<std::uint64_t> get_hits_dram{0}, get_hits_nvme{0}, get_hits_hbm{0};
  /// Of copies in HBM: blocks now; copied in, read out, given up for others; failed on the way.
  std::atomic<std::uint64_t> blocks_hbm{0}, hbm_promotions{0}, hbm_loads{0};
  std::atomic<std::uint64_t> hbm_evictions{0}, hbm_failures{0};
  /// Extents of DRAM that could not be pinned after they were replaced. Of any thread.
  std::atomic<std::uint64_t> hbm_pin_failures{0};
  /// Of the GPUs: bytes of their pools, and of the frames in them; how many they are, and are lost.
  std::atomic<std::uint64_t> hbm_capacity_bytes{0}, hbm_used_bytes{0};
  std::atomic<std::uint64_t> hbm_gpus{0}, hbm_gpus_offline{0};
  std::atomic<std::uint64_t> hbm_extents_shared{0};  ///< as of HbmStats, and the next
  std::atomic<std::uint64_t> hbm_extents_replaced{0}, hbm_extents_not_let_go{0};
  std::atomic<std::uint64_t> hbm_renewal_failures{0}, hbm_away_bytes{0};
  std::atomic<std::uint64_t> get_failures{0};     ///< found, but the push or the loan failed
  std::atomic<std::uint64_t> blocks_lent{0};      ///< of the hits
  std::atomic<std::uint64_t> blocks_lent_hbm{0};  ///< of those: from the memory of GPUs
  std::atomic<std::uint64_t> put_requests{0}, put_blocks{0}, put_stored{0}, put_exists{0};
  std::atomic<std::uint64_t> put_pending{0}, put_no_space{0}, put_failures{0};
  std::atomic<std::uint64_t> bytes_got{0}, bytes_put{0};
  std::atomic<std::uint64_t> tokens_got{0};  ///< of bytes_got, of the first group and shard alone
  std::atomic<std::uint64_t> evictions{0}, evicted_bytes{0}, removed{0}, cleared{0};
  std::atomic<std::uint64_t> key_mismatches{0};
  std::atomic<std::uint64_t> reservations{0}, reservation_bytes{0};          ///< open now
  std::atomic<std::uint64_t> reservations_made{0}, reservations_refused{0};  ///< by a limit
  /// How they ended; aborted: also those that were cleared or whose bytes had changed.
  std::atomic<std::uint64_t> reservations_committed{0}, reservations_aborted{0};
  std::atomic<std::uint64_t> reservations_expired{0}, reservations_abandoned{0};
  std::atomic<std::uint64_t> fragments_written{0}, fragments_failed{0};
  std::atomic<std::uint64_t> handoffs{0}, handoff_bytes{0};  ///< open now; reserved and pinned
  std::atomic<std::uint64_t> handoffs_opened{0}, handoffs_refused{0};  ///< by a limit
  std::atomic<std::uint64_t> handoffs_completed{0}, handoffs_aborted{0};
  std::atomic<std::uint64_t> handoffs_expired{0}, handoffs_abandoned{0};
  std::atomic<std::uint64_t> fragments_received{0};  ///< parts read before their block was complete
  std::atomic<std::uint64_t> blocks{0};              ///< stored now
  std::atomic<std::uint64_t> blocks_dram{0}, blocks_nvme{0};  ///< of them; some on both
  std::atomic<std::uint64_t> bytes_nvme{0};                   ///< of blocks_nvme
  std::atomic<std::uint64_t> loads{0};                        ///< records read for gets
  /// Loads that ended as misses, by cause: the segment was reused, a check failed, another block
  /// stood there, the device failed, no frame could be had.
  std::atomic<std::uint64_t> load_expired{0}, load_corrupt{0}, load_mismatched{0};
  std::atomic<std::uint64_t> load_io_errors{0}, load_no_frame{0};
  /// Blocks that were on NVMe only and went with their segment, or for a put of the same block
  /// whose record is worth more.
  std::atomic<std::uint64_t> nvme_evictions{0};
  /// Blocks on NVMe that were forgotten, or not taken up by a start, because the index was full.
  std::atomic<std::uint64_t> index_evictions{0};
  std::atomic<std::uint64_t> write_queue_bytes{0};  ///< waiting to be written to NVMe
  /// Bytes of the blocks that were written to NVMe, by WriteReason.
  std::array<std::atomic<std::uint64_t>, kWriteReasons> nvme_written_bytes{};
  /// Evicted from DRAM without a record, as they were not worth the write.
  std::atomic<std::uint64_t> nvme_refused_blocks{0}, nvme_refused_bytes{0};
  /// Of write_price.h, in millionths: the share, and the price now; 0 where everything is written.
  std::atomic<std::uint64_t> nvme_share_ppm{0}, nvme_price_ppm{0};
  std::atomic<std::uint64_t> prefetch_blocks{0}, prefetch_loads{0};  ///< asked for; read for them
  std::atomic<std::uint64_t> hints_ignored{0};  ///< requests, of EvictionPolicy::IgnoredHints
  std::atomic<std::uint64_t> touched{0};
  std::atomic<std::uint64_t> retained_blocks{0}, retained_bytes{0};  ///< now
  std::atomic<std::uint64_t> retain_refused{0};      ///< no room, though older labels gave way
  std::atomic<std::uint64_t> retain_displaced{0};    ///< gave way to newer labels
  std::atomic<std::uint64_t> retained_evictions{0};  ///< of the evictions, as nothing else was left
  std::atomic<std::uint64_t> removals_not_logged{0};  ///< may come back after a restart
  MatchLeaseCounters leases;
  /// Blocks of gets and of matches that were not answered, by MissReason. Those of gets add up to
  /// get_misses and get_failures, those of matches to what match_hits lacks of match_blocks.
  std::array<std::atomic<std::uint64_t>, kMissReasonCount> get_missed{}, match_missed{};
  /// Of gets of blocks that had left: how long ago, up to 4^i seconds; the last one: longer.
  std::array<std::atomic<std::uint64_t>, kMissAges> miss_ages{};
  std::atomic<std::uint64_t> miss_age_ms{0};  ///< their sum
  LoadCounters predicted;
};

struct CacheOptions {
  ArenaOptions arena;
  std::uint32_t blocks_max = 0;      ///< capacity of the index; 0: arena capacity / 4 KiB capped
                                     ///< by 96 bytes a block being at most 5 % of the arena
  std::uint32_t transfers_max = 64;  ///< pushes and pulls at once, over all clients
  std::uint32_t window_per_request = 4;              ///< pushes or pulls at once within one request
  std::string policy = std::string(kDefaultPolicy);  ///< of eviction, by name (policies.h)
  const PolicyKind* policy_kind = nullptr;           ///< instead; tests put in one of their own
  const PolicyKind* hbm_policy_kind = nullptr;       ///< for copies in HBM, likewise; else as above
  /// Smaller blocks get no copies in HBM, each of which costs about 400 bytes here.
  std::uint64_t hbm_block_bytes_min = 64 << 10;
  /// Tenants whose clients may be lent their copies in HBM, where the tiers are lendable.
  std::vector<std::string> hbm_lend_tenants{};
  std::uint64_t event_bytes = 1 << 20;  ///< of the log of events; 0: none is kept
  /// Of the bytes put, most to be written to NVMe, those that are worth most (write_price.h); 0:
  /// everything is written, as soon as it is put.
  double nvme_write_share = 0;
  /// Hashes locators; tests put in one that collides.
  Hash128 (*locator_hash)(std::span<const std::byte> bytes) noexcept = HashBytes128;
};

class Cache {
 public:
  /// `registry` is shared by the reactors of a daemon and outlives them; so does `clock`.
  static Result<std::unique_ptr<Cache>> Create(const CacheOptions& options,
                                               NamespaceRegistry& registry, Clock& clock);
  /// REQUIRES: FlowsInProgress() == 0, and Close has ended if there is an NVMe tier or a
  /// reservation was made.
  ~Cache();

  /// Puts an NVMe tier under the cache. Before the reactor runs and before any other call.
  /// `journal` and `scheduler` outlive the cache, the devices of `lanes` too.
  void AttachNvme(const nvme::NvmeTierOptions& options, std::vector<nvme::LaneStart> lanes,
                  nvme::IndexJournal& journal, Scheduler& scheduler);
  /// Keeps copies of blocks in the memory of GPUs (cache/hbm_side.h), one tier each; they outlive
  /// the cache's Close, which ends their moves, and not the cache: they have its arena pinned.
  /// After AttachNvme, before the reactor runs. kInvalid: no tier; else what pinning said. Blocks.
  Status AttachHbm(std::vector<HbmTier*> tiers);
  /// Finds what an earlier run left on NVMe. Blocks of namespaces that the registry does not know
  /// are dropped, but those at the end of the log say whose they are, and the registry adopts that.
  /// `read` is from the devices of the lanes. After AttachNvme, before the reactor runs; blocks.
  /// Not ok: the store's words, and what was found before stays.
  Status Recover(IndexStore& store, const nvme::ReadSlice& read);
  /// The clients have gone: nothing is read from a GPU any more, and who waits for that is
  /// answered. Before the flows are waited for, which else would wait for a GPU that hangs.
  void BeginClose();
  /// Ends reservations, writes what waits to be written (for at most 5 s), syncs, ends the
  /// background work. A GPU that does not answer is waited for 2 s.
  Task<void> Close();
  /// How Close ended. kIo: a GPU may still write to frames and to its own memory: cache, arena and
  /// tiers must stay, until the process ends, which does it no harm.
  [[nodiscard]] const Status& Closed() const noexcept;
  /// Null without one.
  [[nodiscard]] nvme::NvmeTier* nvme() noexcept;
  /// Called when a GPU goes offline: its name, and why. REQUIRES: AttachHbm.
  void OnGpuLost(std::function<void(const std::string&, const std::string&)> lost);
  /// Called once for a GPU that has not the memory for an extent: its name, bytes, why. Likewise.
  void OnGpuMemoryAway(std::function<void(const std::string&, std::uint64_t, const Status&)> away);
  /// Called when what is lent at a place of the tier's memory, or anywhere in it, is of no use any
  /// more: it is corrupt, or the GPU is lost. REQUIRES: likewise.
  void OnLoansOver(std::function<void(const HbmTier&, std::optional<LentPlace>)> over);
  /// Called when a device goes offline or comes back: its name, whether it is online, and why.
  void OnDevice(std::function<void(const std::string&, bool, const std::string&)> changed);

  /// Leading blocks that are stored; no effect on recency. `link`: what would bring them.
  MatchAnswer Match(const ChainSlice& chain, const Link* link = nullptr);
  /// Where every block is, over groups and shards; no effect on recency. The query outlives the
  /// task.
  Task<GroupsAnswer> MatchGroups(const GroupsQuery& query);
  /// The leases that matches gave out.
  [[nodiscard]] LeaseTable& leases() noexcept;
  /// Pushes, or lends, every block that is stored. The request and the link outlive the task.
  Task<BatchAnswer> Get(Link& link, const GetRequest& request);
  /// Stores every block that is not stored yet. The request and the link outlive the task.
  Task<BatchAnswer> Put(Link& link, const PutRequest& request);
  /// Who makes tokens here, before Reserve: this reactor of this run of the daemon. `random`
  /// outlives the cache.
  void NameReservations(Random& random, std::uint64_t incarnation, std::uint16_t reactor);
  /// Of this run of the daemon, as named by NameReservations; 0 before.
  [[nodiscard]] std::uint64_t incarnation() const noexcept;
  /// Reserves a block for writers that bring it in parts (cache/reservations.h). `client` is who
  /// has the link.
  ReserveAnswer Reserve(Link& link, std::uint64_t client, const ReserveRequest& request);
  /// One answer per fragment: kInvalid for one outside the block, or with bytes that are written or
  /// being written. Not ok, kExpired: no such reservation of the tenant (any more). The link and
  /// the request outlive the task.
  Task<BatchAnswer> Write(Link& link, std::uint64_t client, std::string tenant,
                          const WriteRequest& request);
  /// One answer, as of a put. Not ok: kInvalid names the first byte that is not written, kExpired
  /// as above.
  Task<BatchAnswer> Commit(std::string tenant, CommitRequest request);
  /// kOk also when it had ended otherwise; kExists when it was committed. Ends when no link reads
  /// for it any more; kTimeout: that did not happen by the deadline.
  Task<Status> Abort(std::string tenant, PutTokenParts token, Nanos deadline);
  /// Opens a hand-off. Per block kOk: reserved, to be sent; kExists; kPending: somebody else brings
  /// it; kRetry: no room. Not ok: nothing was opened. The link and the request outlive the task.
  Task<BatchAnswer> OpenHandoff(Link& link, std::uint64_t client, std::string tenant,
                                const HandoffRequest& request);
  /// Sends parts of its blocks, one stretch each: kOk once the bytes are there, and once the block
  /// is visible when they were its last. kExists where it was not reserved, kInvalid for bytes that
  /// were sent, or a block that is none of it, else why the block was given up. Not ok, kExpired:
  /// no such hand-off is open. The link and the request outlive the task.
  Task<BatchAnswer> Send(Link& link, std::uint64_t client, std::string tenant,
                         const PutRequest& request);
  /// A receiver is done; kOk also when it had ended.
  void AcknowledgeHandoff(const std::string& tenant, HandoffNumber number);
  /// Gives up what is being sent; likewise.
  void AbortHandoff(const std::string& tenant, HandoffNumber number);
  /// The deadline of a get that waits was moved to the past: it ends.
  void Wake(const GetRequest& request);
  /// A client has gone: what it alone reserved, wrote to or sent ends.
  void OnClientGone(std::uint64_t client);
  /// Forgets blocks: kOk where one was stored, kMiss where none was; kIo where it is forgotten and
  /// NVMe could not be told, so that it may come back after a restart. The chain outlives the task.
  Task<BatchAnswer> Remove(const ChainSlice& chain);
  /// Forgets the chain's blocks in every group and shard of the namespace, and the blocks that were
  /// put behind them on this reactor: what has one of them for its parent in the index, and so on.
  /// A parent that was forgotten before its child may have been taken for another block since, so
  /// that a child without its parent may go too. How many blocks went; kTimeout and kIo name what
  /// is left. The request outlives the task.
  Task<Result<std::uint64_t>> RemovePrefix(const PrefixRequest& request);
  /// Loads what lies on NVMe only: kOk per block that is in DRAM, kMiss, kPending while it is put,
  /// kRetry without room, kTimeout. The request outlives the task.
  Task<BatchAnswer> Prefetch(const PrefetchRequest& request);
  /// Makes blocks recent, as a get would: kOk or kMiss. `facts`: likewise.
  BatchAnswer Touch(const ChainSlice& chain, const RequestFacts& facts = {});
  /// kOk, kMiss, or kRetry where the label may not hold more. The request outlives the task.
  Task<BatchAnswer> Retain(const RetainRequest& request);
  /// How many blocks the label held.
  Task<std::uint64_t> ReleaseRetained(std::string tenant, std::string label);
  /// Forgets every block of a namespace; returns how many. Blocks being put are doomed too.
  Task<std::uint64_t> Clear(std::uint32_t namespace_id);
  /// What is known of the block of that key, and why a get of it would miss now; nothing changes.
  [[nodiscard]] BlockStory Explain(std::uint32_t namespace_id, std::uint32_t group,
                                   std::uint32_t shard, KeyView key) const;
  /// What other sizes would bring; its Read is for any thread.
  [[nodiscard]] const MissRatioCurve& curve() const noexcept;
  /// Memory of what the curve and the reasons of misses are told by, bytes.
  [[nodiscard]] std::uint64_t AdviceBytes() const noexcept;
  /// What happened to the blocks; what a start finds is no event.
  [[nodiscard]] EventLog& events() noexcept;
  /// Shows `visit` published blocks as committed events, of numbers `from` on, at most `looks`
  /// numbers, until it answers false for one that it wants to see again. Returns where to go on;
  /// at WalkEnd() all of them have been seen. A block that stays published from the first call to
  /// the last is shown exactly once.
  BlockId WalkBlocks(BlockId from, std::uint32_t looks,
                     const std::function<bool(const BlockEvent&)>& visit) const;
  [[nodiscard]] BlockId WalkEnd() const noexcept;
  /// Blocks and bytes of a namespace that are stored now.
  struct Usage {
    std::uint64_t blocks = 0;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] Usage UsageOf(std::uint32_t namespace_id) const;

  [[nodiscard]] const CacheCounters& Counters() const noexcept;
  [[nodiscard]] FrameArena& arena() noexcept;
  /// Memory of the index and of the policy's state, bytes, and the blocks it has room for.
  [[nodiscard]] std::uint64_t IndexBytes() const noexcept;
  [[nodiscard]] std::uint64_t IndexCapacity() const noexcept;
  /// Flows in progress; 0 is required before destruction.
  [[nodiscard]] std::uint64_t FlowsInProgress() const noexcept;
  /// Checks every invariant of index, policy and arena against each other; for tests and sim.
  [[nodiscard]] Status Validate() const;

  struct Impl;  ///< for the files of cache/ only

 private:
  explicit Cache(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace terrace
