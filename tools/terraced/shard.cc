#include "tools/terraced/shard.h"

#include <utility>

#include "tools/terraced/daemon_options.h"
#include "tools/terraced/gpus.h"
#include "tools/terraced/logs/logging.h"
#include "tools/terraced/metrics/metric_sample.h"

namespace terrace {

Result<std::unique_ptr<Shard>> Shard::Create(const Shared& shared, ShardPlace place) {
  std::unique_ptr<Shard> shard(new Shard(place, shared.random));
  Result<std::unique_ptr<Reactor>> reactor =
      Reactor::Create(ReactorOptionsOf(shared.config, place.index), shared.clock);
  if (!reactor.ok()) return reactor.status();
  shard->reactor_ = std::move(reactor).value();
  const std::uint64_t nvme_bytes = shared.nvme == nullptr ? 0 : shared.nvme->SliceBytes();
  Result<std::unique_ptr<Cache>> cache = Cache::Create(
      CacheOptionsOf(shared.config, place.index, nvme_bytes), shared.registry, shared.clock);
  if (!cache.ok()) return cache.status();
  shard->cache_ = std::move(cache).value();
  if (shared.nvme != nullptr) {
    Result<NvmeStore::Slice> slice =
        shared.nvme->Attach(*shard->cache_, *shard->reactor_, place.index);
    if (!slice.ok()) return slice.status();
    shard->nvme_ = std::move(slice).value();
  }
  if (Status failed = shard->AttachHbm(shared); !failed.ok()) return failed;
  Shard* const self = shard.get();
  shard->service_ = std::make_unique<RequestService>(
      *shard->cache_, shared.registry, place,
      [self](const std::vector<ClientsSeen>& clients) { return self->Stat(clients); });
  ServerOptions server_options = ServerOptionsOf(shared.config, place.index);
  server_options.server_text = "terraced " TERRACE_VERSION;
  Result<std::unique_ptr<Server>> server =
      Server::Create(*shard->reactor_, server_options, *shard->service_, shared.random);
  if (!server.ok()) return server.status();
  shard->server_ = std::move(server).value();
  if (shard->gpu_regions_ != nullptr) shard->server_->AttachDevices(*shard->gpu_regions_);
  if (!shard->hbm_.empty()) shard->AttachGpusToNic(shared.config);
  shard->cache_->arena().OnExtentWanted([self](std::uint32_t extent, std::uint32_t edition) {
    self->server_->RecallExtent(extent, edition);
  });
  return shard;
}

std::vector<StatEntry> Shard::Stat(const std::vector<ClientsSeen>& clients) const {
  std::vector<StatEntry> entries = stat_ ? stat_() : std::vector<StatEntry>();
  for (const ClientsSeen& seen : clients) {
    entries.push_back({.name = "terrace_client_connections_by_name",
                       .labels = LabelText(
                           {{"client", seen.name}, {"link", std::string(LinkKindName(seen.link))}}),
                       .value = static_cast<double>(seen.connections)});
  }
  return entries;
}

Status Shard::AttachHbm(const Shared& shared) {
  const DaemonConfig& config = shared.config;
  if (!config.hbm.enabled()) return {};
  std::vector<HbmTier*> tiers;
  for (const std::string& number : config.hbm.gpus) {
    auto gpu = shared.open_gpu(number);
    if (!gpu.ok()) return {gpu.code(), "hbm.gpus: \"" + number + "\": " + gpu.status().message()};
    auto tier = HbmTier::Create(**gpu, HbmOptionsOf(config, tiers.size()));
    if (!tier.ok()) return {tier.code(), "hbm.gpu_capacity: " + tier.status().message()};
    gpus_.push_back(std::move(*gpu));
    hbm_.push_back(std::move(*tier));
    tiers.push_back(hbm_.back().get());
  }
  gpu_regions_ = std::make_unique<GpuRegions>(*reactor_, tiers);
  if (Status failed = cache_->AttachHbm(std::move(tiers)); !failed.ok()) return failed;
  cache_->OnGpuLost([](const std::string& name, const std::string& why) {
    Log(LogLevel::kError, "gpu_lost",
        "gpu=\"{}\" reason=\"{}: its copies are gone, and it is not used until a restart\"", name,
        why);
  });
  cache_->OnGpuMemoryAway([](const std::string& name, std::uint64_t bytes, const Status& why) {
    Log(LogLevel::kWarning, "gpu_memory_away",
        "gpu=\"{}\" bytes={} reason=\"{}: an extent changed its tenant, and somebody else has its "
        "memory; it is tried on and on\"",
        name, bytes, why.message());
  });
  LendHbm();
  return {};
}

void Shard::AttachGpusToNic(const DaemonConfig& config) {
  if (config.hbm.direct == "off") {
    gpu_wire_ = {.straight = false, .reason = GpuWire::Reason::kOff, .detail = "hbm.direct is off"};
  } else if (!config.hbm.lend_tenants.empty()) {
    gpu_wire_ = {
        .straight = false,
        .reason = GpuWire::Reason::kLent,
        .detail = "hbm.lend_tenants: memory that is lent is replaced when its owner changes"};
  } else {
    std::vector<DevicePool> pools;
    for (const auto& tier : hbm_) pools.push_back(tier->Pool());
    gpu_wire_ = server_->AttachPools(pools);
  }
  const bool refused = gpu_wire_.reason == GpuWire::Reason::kRegistration;
  Log(refused ? LogLevel::kWarning : LogLevel::kInfo, "hbm_wire",
      "reactor={} path={} reason={} detail=\"{}\"", place_.index, GpuWirePath(gpu_wire_),
      GpuWireReasonName(gpu_wire_.reason), gpu_wire_.detail);
}

void Shard::LendHbm() {
  for (const auto& tier : hbm_) {
    tier->OnExtentWanted([this](std::uint32_t extent, std::uint32_t edition) {
      server_->RecallExtent(extent, edition);
    });
  }
  cache_->OnLoansOver([this](const HbmTier& tier, std::optional<LentPlace> place) {
    if (place) return server_->EndLoan(*place);
    const std::uint32_t first = tier.first_extent();
    server_->EndLoans(first, first + tier.extents() - 1);
  });
}

Shard::~Shard() { Join(); }

void Shard::SetShards(const std::vector<Server::Shard>& shards, std::uint64_t daemon_incarnation) {
  const auto own = static_cast<std::uint16_t>(place_.index);
  server_->SetShards(shards, own, daemon_incarnation);
  service_->NameEvents(daemon_incarnation);
  cache_->NameReservations(random_, daemon_incarnation, own);
}

void Shard::Start() { reactor_->Start(); }

void Shard::BeginStop() {
  reactor_->Post([this] { stopping_.Spawn(Stop()); });
}

Task<void> Shard::Stop() {
  shut_down_ = co_await server_->Shutdown();  // flows in progress then end with kPeerDead
  cache_->BeginClose();
  co_await service_->Drain();
  co_await cache_->Close();
  stopped_.store(true);
  reactor_->Stop();
}

void Shard::Join() {
  if (reactor_ != nullptr) reactor_->Join();
}

}  // namespace terrace
