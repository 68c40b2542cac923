#include "cache/cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "cache/block_loads.h"
#include "cache/cache_impl.h"
#include "cache/handoffs.h"
#include "cache/hbm_side.h"
#include "cache/nvme_side.h"
#include "cache/reservations.h"

namespace terrace {

Cache::Impl::Impl(const CacheOptions& cache_options, NamespaceRegistry& cache_registry,
                  Clock& cache_clock, std::unique_ptr<FrameArena> cache_arena,
                  std::unique_ptr<BlockIndex> cache_index,
                  std::unique_ptr<RetainingPolicy> cache_policy)
    : options(cache_options),
      registry(cache_registry),
      clock(cache_clock),
      arena(std::move(cache_arena)),
      index(std::move(cache_index)),
      policy(std::move(cache_policy)),
      retention(*index, *policy, cache_options.arena.capacity_bytes / kRetainedShare,
                index->capacity() / kRetainedShare),
      slots(cache_options.transfers_max),
      leases(*arena, *index, counters.leases,
             arena->Stats().capacity_bytes / LeaseTable::kShareOfArena),
      reservations(std::make_unique<Reservations>(*this)),
      handoffs(std::make_unique<Handoffs>(*this)),
      loads(std::make_unique<BlockLoads>(*this)) {
  arena->OnUnpinned([this](FrameId frame) { OnUnpinned(frame); });
}

Cache::Impl::~Impl() = default;

Result<std::unique_ptr<Cache>> Cache::Create(const CacheOptions& options,
                                             NamespaceRegistry& registry, Clock& clock) {
  if (options.transfers_max == 0) return Status::Invalid("transfers_max: must be at least 1");
  if (options.window_per_request == 0) {
    return Status::Invalid("window_per_request: must be at least 1");
  }
  auto arena = FrameArena::Create(options.arena);
  if (!arena.ok()) return arena.status();
  std::uint64_t capacity = options.blocks_max;
  if (capacity == 0) {
    // As many as there can be frames. Their 96 bytes each (127 under s3fifo) are 2.3 % (3.1 %) of
    // the arena: the promised 5 % hold without a further cap.
    static_assert(127 * 20 <= kBlockBytesMin);
    const std::uint64_t frames = options.arena.capacity_bytes / kBlockBytesMin;
    capacity = std::clamp<std::uint64_t>(frames, 1, BlockIndex::kCapacityMax);
  }
  auto index = BlockIndex::Create(capacity);
  if (!index.ok()) return index.status();
  const auto kind = options.policy_kind != nullptr ? Result<const PolicyKind*>(options.policy_kind)
                                                   : FindPolicy(options.policy);
  if (!kind.ok()) return kind.status();
  auto events = EventLog::Create(options.event_bytes);
  if (!events.ok()) return events.status();
  auto impl = std::make_unique<Impl>(
      options, registry, clock, std::move(arena).value(), std::move(index).value(),
      std::make_unique<RetainingPolicy>((*kind)->make(capacity), capacity));
  impl->events = std::move(*events);
  auto departed = DepartedBlocks::Create(DepartedBlocks::BytesFor(options.arena.capacity_bytes));
  if (!departed.ok()) return departed.status();
  impl->departed = std::move(*departed);
  impl->MakeCurve();
  return std::unique_ptr<Cache>(new Cache(std::move(impl)));
}

Cache::Cache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Cache::~Cache() {
  TERRACE_CHECK(impl_->flows == 0);
  impl_->arena->OnUnpinned({});
}

MatchAnswer Cache::Match(const ChainSlice& chain, const Link* link) {
  return impl_->Match(chain, link);
}

Task<GroupsAnswer> Cache::MatchGroups(const GroupsQuery& query) {
  return impl_->MatchGroups(query);
}

LeaseTable& Cache::leases() noexcept { return impl_->leases; }

Task<BatchAnswer> Cache::Get(Link& link, const GetRequest& request) {
  return impl_->Get(link, request);
}

Task<BatchAnswer> Cache::Put(Link& link, const PutRequest& request) {
  return impl_->Put(link, request);
}

Task<BatchAnswer> Cache::Remove(const ChainSlice& chain) { return impl_->Remove(chain); }

Task<Result<std::uint64_t>> Cache::RemovePrefix(const PrefixRequest& request) {
  return impl_->RemovePrefix(request);
}

Task<BatchAnswer> Cache::Prefetch(const PrefetchRequest& request) {
  return impl_->Prefetch(request);
}

BatchAnswer Cache::Touch(const ChainSlice& chain, const RequestFacts& facts) {
  return impl_->Touch(chain, facts);
}

Task<BatchAnswer> Cache::Retain(const RetainRequest& request) { return impl_->Retain(request); }

Task<std::uint64_t> Cache::ReleaseRetained(std::string tenant, std::string label) {
  return impl_->ReleaseRetained(std::move(tenant), std::move(label));
}

Task<std::uint64_t> Cache::Clear(std::uint32_t namespace_id) { return impl_->Clear(namespace_id); }

void Cache::AttachNvme(const nvme::NvmeTierOptions& options, std::vector<nvme::LaneStart> lanes,
                       nvme::IndexJournal& journal, Scheduler& scheduler) {
  impl_->nvme = std::make_unique<NvmeSide>(*impl_, options, std::move(lanes), journal, scheduler);
  impl_->MakeCurve();
}

Status Cache::AttachHbm(std::vector<HbmTier*> tiers) {
  if (tiers.empty()) return Status::Invalid("hbm: no GPU is named");
  for (HbmTier* tier : tiers) {
    for (const std::span<std::byte> extent : impl_->arena->Memory()) {
      if (Status failed = tier->Pin(extent); !failed.ok()) return failed;
    }
  }
  impl_->hbm = std::make_unique<HbmSide>(*impl_, std::move(tiers));
  impl_->arena->OnReplaced(impl_->hbm.get());
  impl_->MakeCurve();
  return {};
}

Status Cache::Recover(IndexStore& store, const nvme::ReadSlice& read) {
  return impl_->nvme->Recover(store, read);
}

void Cache::NameReservations(Random& random, std::uint64_t incarnation, std::uint16_t reactor) {
  impl_->reservations->Name(random, incarnation, reactor);
}

std::uint64_t Cache::incarnation() const noexcept { return impl_->reservations->incarnation(); }

ReserveAnswer Cache::Reserve(Link& link, std::uint64_t client, const ReserveRequest& request) {
  return impl_->Reserve(link, client, request);
}

Task<BatchAnswer> Cache::Write(Link& link, std::uint64_t client, std::string tenant,
                               const WriteRequest& request) {
  return impl_->Write(link, client, std::move(tenant), request);
}

Task<BatchAnswer> Cache::Commit(std::string tenant, CommitRequest request) {
  return impl_->Commit(std::move(tenant), request);
}

Task<Status> Cache::Abort(std::string tenant, PutTokenParts token, Nanos deadline) {
  return impl_->Abort(std::move(tenant), token, deadline);
}

Task<BatchAnswer> Cache::OpenHandoff(Link& link, std::uint64_t client, std::string tenant,
                                     const HandoffRequest& request) {
  return impl_->OpenHandoff(link, client, std::move(tenant), request);
}

Task<BatchAnswer> Cache::Send(Link& link, std::uint64_t client, std::string tenant,
                              const PutRequest& request) {
  return impl_->Send(link, client, std::move(tenant), request);
}

void Cache::AcknowledgeHandoff(const std::string& tenant, HandoffNumber number) {
  const HandoffRef handoff = impl_->handoffs->Find(number, tenant);
  if (handoff != nullptr) impl_->handoffs->Acknowledge(handoff);
}

void Cache::AbortHandoff(const std::string& tenant, HandoffNumber number) {
  const HandoffRef handoff = impl_->handoffs->Find(number, tenant);
  if (handoff != nullptr) impl_->handoffs->End(handoff, StatusCode::kCancelled);
}

void Cache::Wake(const GetRequest& request) {
  impl_->arrivals.Wake(&request);
  if (impl_->hbm == nullptr) return;
  impl_->hbm->EndChecks([&](const HbmSide::Check& check) { return check.request == &request; });
}

void Cache::OnClientGone(std::uint64_t client) {
  impl_->handoffs->OnClientGone(client);
  impl_->reservations->OnClientGone(client);
}

void Cache::BeginClose() {
  impl_->loads->gpus_closed = true;
  if (impl_->hbm == nullptr) return;
  for (const HbmTier* tier : impl_->hbm->tiers) impl_->loads->GiveUp(*tier);
  impl_->hbm->EndChecks([](const HbmSide::Check& /*check*/) { return true; });
}

Task<void> Cache::Close() {
  impl_->leases.EndAll();
  co_await impl_->handoffs->Close();
  co_await impl_->reservations->Close();
  impl_->loads->closing = true;
  if (impl_->nvme != nullptr) co_await impl_->nvme->Close();
  if (impl_->hbm != nullptr) impl_->closed = co_await impl_->hbm->Close();
  if (impl_->hbm != nullptr) impl_->arena->StopReplacing();  // it pins what it replaces
  if (impl_->closed.ok()) co_await impl_->loads->background.Join();
}

const Status& Cache::Closed() const noexcept { return impl_->closed; }

nvme::NvmeTier* Cache::nvme() noexcept {
  return impl_->nvme == nullptr ? nullptr : &impl_->nvme->tier;
}

void Cache::OnDevice(std::function<void(const std::string&, bool, const std::string&)> changed) {
  impl_->nvme->on_device = std::move(changed);
}

void Cache::OnGpuLost(std::function<void(const std::string&, const std::string&)> lost) {
  impl_->hbm->on_lost = std::move(lost);
}

void Cache::OnGpuMemoryAway(
    std::function<void(const std::string&, std::uint64_t, const Status&)> away) {
  impl_->hbm->on_memory_away = std::move(away);
}

void Cache::OnLoansOver(std::function<void(const HbmTier&, std::optional<LentPlace>)> over) {
  impl_->hbm->on_loans_over = std::move(over);
}

Cache::Usage Cache::UsageOf(std::uint32_t namespace_id) const {
  const BlockIndex::Usage usage = impl_->index->UsageOf(namespace_id);
  return {.blocks = usage.blocks, .bytes = usage.bytes};
}

EventLog& Cache::events() noexcept { return impl_->events; }

BlockStory Cache::Explain(std::uint32_t namespace_id, std::uint32_t group, std::uint32_t shard,
                          KeyView key) const {
  return impl_->Explain(namespace_id, group, shard, key);
}

const MissRatioCurve& Cache::curve() const noexcept { return *impl_->curve; }

std::uint64_t Cache::AdviceBytes() const noexcept {
  return impl_->curve->Bytes() + impl_->departed.Bytes();
}

const CacheCounters& Cache::Counters() const noexcept { return impl_->counters; }

FrameArena& Cache::arena() noexcept { return *impl_->arena; }

std::uint64_t Cache::IndexBytes() const noexcept {
  return impl_->index->Bytes() + impl_->index->capacity() * impl_->policy->BytesPerBlock() +
         impl_->policy->FixedBytes() +
         (impl_->nvme != nullptr ? impl_->nvme->placements.Bytes() : 0);
}

std::uint64_t Cache::IndexCapacity() const noexcept { return impl_->index->capacity(); }

std::uint64_t Cache::FlowsInProgress() const noexcept { return impl_->flows; }

Status Cache::Validate() const { return impl_->Validate(); }

}  // namespace terrace
