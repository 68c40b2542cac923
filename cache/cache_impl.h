// Cache::Impl: what the flows of one reactor share. Each flow has a file of its own.
//
// Ownership of a block's parts: the index says in what state a block is; a frame belongs to its
// block from Reserve until FreeDoomed; the policy holds exactly the reserved and published blocks.
// A block being put is pinned by its flow, so eviction passes over it.
// Thread: the owning reactor's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "cache/advice/departed_blocks.h"
#include "cache/advice/miss_ratio_curve.h"
#include "cache/arrivals.h"
#include "cache/block_index.h"
#include "cache/block_set.h"
#include "cache/cache.h"
#include "cache/chain_check.h"
#include "cache/event_log.h"
#include "cache/lease_table.h"
#include "cache/load_estimate.h"
#include "cache/policy/retaining_policy.h"
#include "cache/retention.h"
#include "cache/transfer_slots.h"

namespace terrace {

class Handoff;
class Handoffs;
class OpenPut;
class Reservations;
struct BlockLoads;
struct HbmSide;
struct NvmeSide;

/// Of the arena one byte, and of the index one block, in so many may be kept by labels: what is
/// kept pushes out everything else, which shall have most of the room. On NVMe it counts as well,
/// so that it fits when it is loaded.
inline constexpr std::uint64_t kRetainedShare = 4;

/// What a lookup by full key found.
struct Lookup {
  BlockId id = kNoBlock;
  bool collided = false;  ///< another key's block has this locator: a miss (C2)
};

/// Blocks that must not be evicted for the sake of a deeper block of their own chain.
struct ChainGuard {
  const BlockSet* blocks = nullptr;
  std::uint32_t position = 0;   ///< of the block that needs room
  bool spares_written = false;  ///< those that are on NVMe as well, too
};

/// What only the event of a put needs to know of it; the views outlive the call.
struct PutOrigin {
  KeyView parent;                     ///< key of the block before it in its chain, or empty
  std::span<const std::byte> tokens;  ///< ids, 4 bytes each
};

struct Cache::Impl {
  Impl(const CacheOptions& options, NamespaceRegistry& registry, Clock& clock,
       std::unique_ptr<FrameArena> arena, std::unique_ptr<BlockIndex> index,
       std::unique_ptr<RetainingPolicy> policy);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // batch_lookup.cc
  /// found[i]: the block, reserved or published, that has wanted[i]'s key. Counts collisions.
  void FindBatch(const ChainSlice& chain, std::span<const WantedBlock> wanted,
                 std::span<BlockId> found);
  [[nodiscard]] Lookup FindBlock(const ChainSlice& chain, const Hash128& hash, KeyView key);
  [[nodiscard]] bool Holds(BlockId id, const ChainSlice& chain, KeyView key) const;
  [[nodiscard]] static bool KeyIs(const FrameHeader& header, const ChainSlice& chain, KeyView key);

  // match_flow.cc
  MatchAnswer Match(const ChainSlice& chain, const Link* link);
  /// The highest tier that a block can be read from now; kNone unless it is published.
  [[nodiscard]] TierKind TierOf(BlockId id) const;
  /// Where a block comes from, a number of LoadEstimate::Sources. REQUIRES: TierOf is not kNone.
  [[nodiscard]] std::uint8_t SourceOf(BlockId id) const;

  // match_groups_flow.cc
  /// The query outlives the task.
  Task<GroupsAnswer> MatchGroups(const GroupsQuery& query);
  struct GroupsState;
  /// Looks up one pair's keys of one batch and notes what they are.
  void LookUpGroup(GroupsState& state, const ChainSlice& pair);

  // get_flow.cc
  struct GetState;
  /// The request and the link outlive the task.
  Task<BatchAnswer> Get(Link& link, const GetRequest& request);
  /// Predicts what the get will take, by what was found of each wanted block.
  void PredictGet(GetState& state, std::span<const BlockId> found);
  Task<void> GetWorker(GetState& state);
  /// Until when a get waits that must tell what has come by `deadline`: 20 ms are kept for that, or
  /// a quarter of the time when it is short.
  [[nodiscard]] Nanos BeforeReply(Nanos deadline) const;
  /// `wanted` is of the state, which outlives the task.
  Task<BlockAnswer> GetBlock(GetState& state, const WantedBlock& wanted);
  /// Pushes, or lends, what is in a frame.
  Task<BlockAnswer> PushBlock(GetState& state, const WantedBlock& wanted, Hold pin, TierKind tier);
  /// A block whose copy lies on the GPU that it is wanted on goes there without a stop: true, and
  /// `answer` says how it went. False: it has to go by DRAM. `answer` outlives the task.
  Task<bool> GetOnDevice(GetState& state, const WantedBlock& wanted, BlockAnswer* answer);
  /// lend_flow.cc. A block whose copy may be lent to a client that can map it goes there: true, and
  /// `answer` says so. False: its frame in DRAM is lent. `answer` outlives the task.
  Task<bool> LendOnDevice(Link& link, const GetRequest& request, const WantedBlock& wanted,
                          BlockAnswer* answer);
  /// `pin` holds the block's frame when it ends with kOk, `tier` says where it was found, `why` why
  /// it did not end so.
  Task<StatusCode> PinBlock(GetState& state, const WantedBlock& wanted, Hold* pin, TierKind* tier,
                            MissReason* why);
  /// The block's frame goes to the client for a while, instead of its bytes.
  BlockAnswer LendBlock(GetState& state, Hold pin, TierKind tier);
  /// A block of a get came from there.
  void CountHit(TierKind tier) noexcept;
  /// The same, with so many of its bytes and their tokens.
  void CountGot(TierKind tier, const FrameHeader& header, std::uint64_t bytes);
  /// `bytes` of a block were got.
  void CountTokens(const FrameHeader& header, std::uint64_t bytes);
  /// `bytes`: how many were to move.
  StatusCode AfterPush(FrameId frame, TierKind tier, std::uint64_t bytes, const Status& status);

  // put_flow.cc
  struct PutState;
  /// For a chain that was checked; its request and the link outlive it.
  [[nodiscard]] PutState BeginPut(Link& link, const PutRequest& request,
                                  const CheckedChain& checked) const;
  /// The request and the link outlive the task.
  Task<BatchAnswer> Put(Link& link, const PutRequest& request);
  Task<void> PutWorker(PutState& state);
  Task<BlockAnswer> PutBlock(PutState& state, std::size_t which);
  /// Waits until what the put stored is durable, and says so in the answer.
  Task<void> AwaitDurable(PutState& state);
  Task<void> AwaitOneDurable(PutState& state, std::size_t which);
  /// Before AnswerIfStored, of a put that is to be DURABLE: a block that stands in HBM alone comes
  /// to DRAM, from where it is written; its bytes are not pulled once more.
  Task<void> BringFromHbm(PutState& state, const WantedBlock& wanted);
  [[nodiscard]] bool StandsInHbmAlone(BlockId id) const;
  /// True when there is nothing to pull: `answer` says why.
  bool AnswerIfStored(PutState& state, const WantedBlock& wanted, BlockAnswer& answer);
  Result<BlockId> ReserveBlock(PutState& state, std::size_t which);
  [[nodiscard]] BlockId ParentOf(const PutState& state, std::size_t which);
  /// Adds blocks above the request's own to those that eviction spares for it.
  void GuardAncestors(PutState& state);
  /// First key of the run that a block of the request lies in. `wanted` is of WantedBlocks(chain).
  static KeyView PlacementOf(const ChainSlice& chain, const WantedBlock& wanted);
  /// Key of the block before it, or empty.
  static KeyView ParentKeyOf(const ChainSlice& chain, const WantedBlock& wanted);
  StatusCode FinishPut(PutState& state, BlockId id, const Status& pulled,
                       const WantedBlock& wanted);
  /// Makes a reserved block visible whose bytes and checksums are in its frame, and queues it for
  /// NVMe.
  void PublishPut(BlockId id, KeyView placement, Ack ack, const PutOrigin& origin);
  /// Waits until a stored block is durable, and says so in `answer`; `locator` as of
  /// NvmeSide::MakeDurable. The placement and the answer outlive the task.
  Task<void> AwaitDurableBlock(BlockId id, Locator locator, KeyView placement, Nanos deadline,
                               BlockAnswer& answer);

  // fragment_flow.cc
  ReserveAnswer Reserve(Link& link, std::uint64_t client, const ReserveRequest& request);
  /// For a block that was just reserved: pinned, and not open yet.
  [[nodiscard]] std::shared_ptr<OpenPut> MakeOpenPut(const PutState& state,
                                                     const WantedBlock& wanted, BlockId reserved);
  struct WriteState;
  /// The link and the request outlive the task.
  Task<BatchAnswer> Write(Link& link, std::uint64_t client, std::string tenant,
                          const WriteRequest& request);
  Task<void> WriteWorker(WriteState& state);
  /// Where a fragment's bytes come from; what it names outlives the task that takes it.
  struct FragmentSource {
    Link& link;
    std::uint64_t request_id = 0;
    std::uint32_t index = 0;  ///< in the request
    std::span<const Piece> pieces;
    const Nanos& deadline;  ///< may be moved to the past meanwhile
  };
  /// The put outlives the task.
  Task<StatusCode> WriteFragment(OpenPut& put, std::uint64_t offset, FragmentSource source);
  Task<StatusCode> PullFragment(OpenPut& put, std::uint64_t offset, FragmentSource source);
  /// Seals and publishes a block whose bytes have all come. kExpired: it ended meanwhile. REQUIRES:
  /// put->committing.
  Task<BlockAnswer> CommitPut(std::shared_ptr<OpenPut> put, Ack ack);
  Task<BatchAnswer> Commit(std::string tenant, CommitRequest request);
  /// Fills in the block's checksums; kCorrupt when a fragment is not what was written.
  Task<Status> SealBlock(std::shared_ptr<OpenPut> put);
  Task<Status> Abort(std::string tenant, PutTokenParts token, Nanos deadline);

  // handoff_flow.cc
  struct SendState;
  /// What a receiver that waits for a block finds.
  struct Awaited {
    StatusCode status = StatusCode::kPending;  ///< kOk: it is stored, or the part below has come
    std::shared_ptr<OpenPut> put{};            ///< of a part of a block that is not complete
    Hold pin{};                                ///< its frame, which may be given up at any moment
  };
  /// The link and the request outlive the task.
  Task<BatchAnswer> OpenHandoff(Link& link, std::uint64_t client, std::string tenant,
                                const HandoffRequest& request);
  /// The link and the request outlive the task.
  Task<BatchAnswer> Send(Link& link, std::uint64_t client, std::string tenant,
                         const PutRequest& request);
  /// Reserves one block of a hand-off, or names who has it.
  void OpenBlock(PutState& state, std::size_t which, const std::shared_ptr<Handoff>& handoff);
  Task<void> SendWorker(SendState& state);
  Task<StatusCode> SendPart(SendState& state, std::size_t which);
  Task<void> AwaitCommitted(SendState& state, std::size_t which);
  /// Waits until the block is stored, or what is wanted of it has come, or never will. The request,
  /// and the wanted block, outlive the task.
  Task<Awaited> AwaitBlock(const GetRequest& request, const WantedBlock& wanted, Nanos until);
  [[nodiscard]] Awaited LookAt(const GetRequest& request, const WantedBlock& wanted);
  [[nodiscard]] bool NotOpenedYet(const GetRequest& request) const;
  /// The part of a block that AwaitBlock found. The link, the request and the wanted block outlive
  /// the task.
  Task<BlockAnswer> PushPart(Link& link, const GetRequest& request, const WantedBlock& wanted,
                             Awaited part);

  // evict.cc
  /// A frame, made free by eviction if need be; kRetry when nothing may give way.
  Result<FrameId> AllocateFrame(TenantId tenant, std::uint64_t block_bytes,
                                const ChainGuard& guard);
  /// Room for one more block in the index. False when nothing may give way.
  bool MakeIndexRoom(const ChainGuard& guard);
  bool EvictFor(TenantId tenant, std::uint64_t block_bytes, const ChainGuard& guard);
  /// Which blocks eviction may take.
  struct Among {
    bool unwritten = false;  ///< also those that wait to be written to NVMe, or may be
    bool kept = false;       ///< also those that a label keeps
  };
  bool EvictAmong(TenantId tenant, std::uint64_t block_bytes, const ChainGuard& guard, Among among);
  [[nodiscard]] bool Evictable(BlockId id, const ChainGuard& guard);
  /// It can be read from another tier than DRAM.
  [[nodiscard]] bool ElsewhereToo(BlockId id) const;
  /// Of the chain that room is made for, and would be missed.
  [[nodiscard]] bool Guarded(BlockId id, const ChainGuard& guard) const;
  struct PassedOver;
  /// Others are to be looked at instead, and it does not count as one that was: up to a limit.
  [[nodiscard]] bool PassesOver(BlockId id, const ChainGuard& guard, Among among,
                                PassedOver& passed) const;
  /// A block in DRAM that is pinned, most probably by a lease.
  [[nodiscard]] bool IsLeased(BlockId id) const;
  /// Takes the block out of DRAM: out of the cache, unless it is on NVMe as well; `reason` is why
  /// then.
  void Evict(BlockId id, MissReason reason = MissReason::kEvicted);
  /// A reserved or published block as a policy sees it; its parent counts when it is in DRAM.
  [[nodiscard]] NewBlock AsNew(BlockId id) const;
  /// Of a block in DRAM that cannot go now. It goes behind others.
  void PutOff(BlockId id);
  struct PutOffAtEnd;
  /// Of blocks that were found, those that are in DRAM.
  void TouchInDram(std::vector<BlockId> found, const RequestFacts& request);

  // hint_flows.cc
  struct PrefetchState;
  /// The request outlives the task.
  Task<BatchAnswer> Prefetch(const PrefetchRequest& request);
  Task<void> PrefetchWorker(PrefetchState& state);
  /// `wanted` is of the state, which outlives the task.
  Task<StatusCode> PrefetchBlock(PrefetchState& state, const WantedBlock& wanted);
  BatchAnswer Touch(const ChainSlice& chain, const RequestFacts& facts);
  /// The request outlives the task.
  Task<BatchAnswer> Retain(const RetainRequest& request);
  Task<std::uint64_t> ReleaseRetained(std::string tenant, std::string label);

  // prefix_flow.cc
  struct PrefixState;
  /// The request outlives the task.
  Task<Result<std::uint64_t>> RemovePrefix(const PrefixRequest& request);
  /// The chain outlives the task; likewise below, where it is the state.
  Task<void> FindNamed(PrefixState& state, const ChainSlice& chain, std::size_t keys);
  Task<void> FindDescendants(PrefixState& state);
  Task<std::uint64_t> ForgetFound(PrefixState& state);
  Task<void> TellRemovals(PrefixState& state);
  [[nodiscard]] bool FindsPublished(const Locator& locator, BlockId id) const;

  // forget.cc
  /// The chain outlives the task.
  Task<BatchAnswer> Remove(const ChainSlice& chain);
  struct RemoveState;
  Task<void> RemoveWorker(RemoveState& state);
  Task<std::uint64_t> Clear(std::uint32_t namespace_id);
  /// Takes a reserved or published block out of index and policy; its frame goes now, or when its
  /// last pin goes (C4). `reason`: what gets of it are told, when the cause does not say it.
  void Forget(BlockId id, EventCause why, MissReason reason = MissReason::kNone);
  void OnUnpinned(FrameId frame);
  void FreeDoomed(BlockId id);

  // misses.cc
  /// Why a block that was not found under its full key is not there.
  [[nodiscard]] DepartedBlocks::Departure WhyMissing(const Locator& locator) const;
  /// Counts a block of a get that was not answered.
  void CountGetMiss(const Locator& locator, MissReason reason);
  void CountMatchMiss(MissReason reason, std::uint64_t blocks = 1) noexcept;
  /// Of a match; `id` is what was found.
  [[nodiscard]] MissReason WhyNotReady(BlockId id, const Locator& locator) const;
  /// A block of a put found no room.
  void CountNoSpace(const Locator& locator);
  /// Shows the curve what a request uses, before it changes anything. found[i] is of wanted[i], or
  /// there is no `found` and it is looked up. `places`: of a put, as in its request.
  void ShowCurve(CurveUse use, const ChainSlice& chain, std::uint64_t block_bytes,
                 std::span<const WantedBlock> wanted, std::span<const BlockId> found,
                 const RequestFacts& facts, std::span<const BlockPlace> places = {});
  /// Of the clock; it comes round after 45 days.
  [[nodiscard]] std::uint16_t Minute() const;
  /// Made anew when a tier is added: before the first request.
  void MakeCurve();
  [[nodiscard]] BlockStory Explain(std::uint32_t namespace_id, std::uint32_t group,
                                   std::uint32_t shard, KeyView key) const;
  [[nodiscard]] Status ValidateMisses() const;

  // tell_events.cc
  /// A block that was just published.
  void TellCommitted(BlockId id, KeyView placement, const PutOrigin& origin);
  /// A published block that is on these tiers from now on; while it still has its frame, if it has
  /// one.
  void TellMoved(BlockId id, TierSet tiers);
  /// On those that it is on now.
  void TellMoved(BlockId id);
  /// Of those tiers but DRAM.
  [[nodiscard]] TierSet TiersBeside(BlockId id) const;
  /// With its key, of a block in DRAM or in HBM; null: its record knows.
  [[nodiscard]] const FrameHeader* HeaderOf(BlockId id) const;
  /// A block that is about to be forgotten; nothing to tell of one that was never published.
  void TellRemoved(BlockId id, EventCause why);
  void TellCleared(std::uint32_t namespace_id);
  /// A published block as it is now.
  [[nodiscard]] BlockEvent Describe(BlockId id) const;

  // validate.cc
  [[nodiscard]] Status Validate() const;
  [[nodiscard]] Status ValidateBlock(BlockId id) const;
  [[nodiscard]] Status ValidatePolicy() const;

  void CountBlocks() noexcept {
    counters.blocks.store(index->published(), std::memory_order_relaxed);
    counters.blocks_dram.store(index->in_dram(), std::memory_order_relaxed);
    counters.blocks_nvme.store(index->on_nvme(), std::memory_order_relaxed);
    counters.bytes_nvme.store(index->on_nvme_bytes(), std::memory_order_relaxed);
  }

  void CountRetained() noexcept {
    counters.retained_blocks.store(retention.blocks(), std::memory_order_relaxed);
    counters.retained_bytes.store(retention.bytes(), std::memory_order_relaxed);
    counters.retain_displaced.store(retention.displaced(), std::memory_order_relaxed);
  }

  /// Counts a flow in progress while it lives.
  class FlowCount {
   public:
    explicit FlowCount(Impl& impl) noexcept : impl_(impl) { ++impl_.flows; }
    ~FlowCount() { --impl_.flows; }
    FlowCount(const FlowCount&) = delete;
    FlowCount& operator=(const FlowCount&) = delete;

   private:
    Impl& impl_;
  };

  const CacheOptions options;
  NamespaceRegistry& registry;
  Clock& clock;
  // Order matters: the arena outlives the index and the policy that name its frames.
  std::unique_ptr<FrameArena> arena;
  std::unique_ptr<BlockIndex> index;
  std::unique_ptr<RetainingPolicy> policy;
  Retention retention;
  TransferSlots slots;
  CacheCounters counters;
  LoadEstimate estimate{clock, counters.predicted};
  LeaseTable leases;
  EventLog events;
  DepartedBlocks departed;
  std::unique_ptr<MissRatioCurve> curve;
  std::uint64_t flows = 0;
  Arrivals arrivals;
  std::unique_ptr<Reservations> reservations;
  std::unique_ptr<Handoffs> handoffs;
  std::unique_ptr<BlockLoads> loads;
  Status closed;                   ///< how Close ended
  std::unique_ptr<HbmSide> hbm;    ///< null without GPUs
  std::unique_ptr<NvmeSide> nvme;  ///< null without the tier; last: it uses all the others
};

}  // namespace terrace
