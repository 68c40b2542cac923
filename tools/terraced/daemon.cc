#include "tools/terraced/daemon.h"
#include "tools/common/advice.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "base/crash_point.h"
#include "tools/terraced/daemon_options.h"
#include "tools/terraced/logs/logging.h"

namespace terrace {

namespace {

/// What a reactor's slice of the arena can hold, so that a namespace that could not be stored is
/// refused when it is opened.
std::uint64_t BlockBytesMaxOf(const DaemonConfig& config) {
  return FrameArena::BlockBytesMaxOf(CacheOptionsOf(config, 0).arena);
}

}  // namespace

Daemon::Daemon(const DaemonConfig& config) : config_(config), registry_(BlockBytesMaxOf(config)) {}

Daemon::~Daemon() {
  if (endpoint_ != nullptr) endpoint_->Stop();
}

Result<std::unique_ptr<Daemon>> Daemon::Create(const DaemonConfig& config) {
  std::unique_ptr<Daemon> daemon(new Daemon(config));
  Status status = daemon->HoldGpus();
  if (status.ok()) status = daemon->OpenNvme();
  if (status.ok()) status = daemon->MakeShards();
  if (status.ok()) return daemon;
  // Refused is not crashed.
  if (daemon->start_noted_) daemon->guard_->Withdraw();
  return status;
}

Status Daemon::HoldGpus() {
  for (const std::string& number : config_.hbm.gpus) {
    if (Status failed = gpu_holds_.Take(number); !failed.ok()) return failed;
  }
  if (const char* const doubles = std::getenv(kGpuDoublesVariable);
      doubles != nullptr && config_.hbm.enabled()) {
    Log(LogLevel::kWarning, "gpu_doubles", "doubles={} reason=\"no GPU is used: {} is set\"",
        doubles, kGpuDoublesVariable);
  }
  return {};
}

Status Daemon::OpenNvme() {
  if (!config_.nvme.enabled()) return {};
  const std::string& folder = config_.nvme.folder;
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  if (!std::filesystem::is_directory(folder, error)) {
    return Status(StatusCode::kIo, "nvme.folder " + folder + ": cannot be made");
  }
  guard_ = std::make_unique<StartGuard>(folder);
  const std::int64_t now = std::time(nullptr);
  if (guard_->Tripped(now)) {
    Log(LogLevel::kError, "nvme_disabled",
        "folder={} reason=\"{} starts within {} s ended without a clean stop: the tier is left "
        "alone; look at the log, run `terracectl fsck {}`, and remove {} to use it again\"",
        folder, StartGuard::kCrashesMax, StartGuard::kWindowSeconds, folder, guard_->path());
    return {};
  }
  if (!guard_->NoteStart(now)) {
    return Status(StatusCode::kIo, "nvme.folder " + folder + ": cannot be written to");
  }
  start_noted_ = true;
  CrashHere(CrashPoint::kStartNoted);
  Result<std::unique_ptr<NvmeStore>> store = NvmeStore::Open(config_);
  if (!store.ok()) return store.status();
  nvme_ = std::move(store).value();
  return nvme_->AdoptNamespaces(registry_);
}

Status Daemon::MakeShards() {
  const std::uint32_t count = config_.server.reactors;
  const Shard::Shared shared{.config = config_,
                             .registry = registry_,
                             .clock = clock_,
                             .random = random_,
                             .nvme = nvme_.get()};
  const Nanos began = clock_.Now();
  std::vector<Server::Shard> addresses;
  for (std::uint32_t index = 0; index < count; ++index) {
    Result<std::unique_ptr<Shard>> shard = Shard::Create(shared, {.index = index, .count = count});
    if (!shard.ok()) {
      return Status(shard.status().code(),
                    "reactor " + std::to_string(index) + ": " + shard.status().message());
    }
    shards_.push_back(std::move(shard).value());
    addresses.push_back(
        {.host = config_.server.listen.host, .port = shards_.back()->server().port()});
  }
  stalls_logged_.resize(count);
  sources_.push_back(std::make_unique<ProcessMetricSource>(TERRACE_VERSION, clock_));
  const char* const state = nvme_ != nullptr ? "on" : guard_ != nullptr ? "disabled" : "off";
  sources_.push_back(
      std::make_unique<NvmeMetricSource>(state, nvme_ != nullptr ? &nvme_->index() : nullptr));
  const std::uint64_t incarnation = random_.Next();
  for (const auto& shard : shards_) {
    shard->SetShards(addresses, incarnation);
    // Shard 0 answers for the whole daemon: a client sums what the shards say.
    if (shard->place().index == 0) shard->OnStat([this] { return Stat(); });
    Cache& cache = shard->cache();
    sources_.push_back(std::make_unique<ReactorMetricSource>(
        ReactorMetricParts{.reactor = shard->place().index,
                           .reactor_counters = &shard->reactor().counters(),
                           .sleeps_in = std::string(shard->reactor().sleeps_in()),
                           .cache = &cache.Counters(),
                           .policy = config_.cache.policy,
                           .events = &cache.events(),
                           .curve = &cache.curve(),
                           .advice_bytes = cache.AdviceBytes(),
                           .nvme = cache.nvme(),
                           .arena_stats = [&cache] { return cache.arena().Stats(); },
                           .index_bytes = cache.IndexBytes(),
                           .index_capacity = cache.IndexCapacity(),
                           .server = &shard->server().Counters(),
                           .hints = &shard->service().Hints(),
                           .gpu_wire = shard->gpu_wire()}));
  }
  for (const auto& source : sources_) metrics_.Add(*source);
  if (config_.hbm.enabled()) {
    Log(LogLevel::kInfo, "hbm_ready", "gpus={} gpu_capacity_bytes={} ms={}",
        config_.hbm.gpus.size(), config_.hbm.gpu_capacity_bytes,
        (clock_.Now() - began) / kMillisecond);
  }
  if (nvme_ == nullptr) return {};
  std::uint64_t blocks = 0;
  for (const auto& shard : shards_) blocks += shard->cache().Counters().blocks_nvme.load();
  Log(LogLevel::kInfo, "nvme_ready", "folder={} blocks={} capacity_bytes={} ms={}",
      config_.nvme.folder, blocks, nvme_->SliceBytes() * shards_.size(),
      (clock_.Now() - began) / kMillisecond);
  return {};
}

std::vector<StatEntry> Daemon::Stat() const {
  std::vector<StatEntry> entries;
  for (const MetricSample& sample : metrics_.Summed()) {
    entries.push_back({.name = std::string(sample.info->name),
                       .labels = LabelText(sample.labels),
                       .value = sample.value});
  }
  return entries;
}

std::string Daemon::AdviceText() const {
  AdviceSamples samples;
  for (const StatEntry& entry : Stat()) samples.Add(entry.name, entry.labels, entry.value);
  return AdviceJson(Advise(samples));
}

Status Daemon::Health() const {
  if (stopping_.load()) return Status(StatusCode::kRetry, "stopping");
  for (const auto& shard : shards_) {
    const std::uint64_t turns = shard->reactor().counters().turns.load();
    // A reactor takes a turn at least every 250 ms: one that took none within 2 s is stuck.
    for (int wait = 0; shard->reactor().counters().turns.load() == turns; ++wait) {
      if (wait == 200) {
        return Status(StatusCode::kRetry,
                      "reactor " + std::to_string(shard->place().index) + " took no turn for 2 s");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  return {};
}

Status Daemon::StartEndpoint() {
  if (!config_.metrics.enabled) return {};
  Result<std::unique_ptr<StatusEndpoint>> endpoint = StatusEndpoint::Start(
      config_.metrics.listen, {.metrics = [this] { return metrics_.Prometheus(); },
                               .health = [this] { return Health(); },
                               .advice = [this] { return AdviceText(); }});
  if (!endpoint.ok()) return endpoint.status();
  endpoint_ = std::move(endpoint).value();
  return {};
}

Status Daemon::Start() {
  started_ = clock_.Now();
  Tick();
  for (const auto& shard : shards_) shard->Start();
  CrashHere(CrashPoint::kStartListening);
  if (Status status = StartEndpoint(); !status.ok()) return status;
  for (const auto& shard : shards_) {
    const ArenaStats stats = shard->cache().arena().Stats();
    Log(LogLevel::kInfo, "listening", "reactor={} address={} port={} sleeps_in={} dram_bytes={}",
        shard->place().index, config_.server.listen.host, shard->server().port(),
        shard->reactor().sleeps_in(), stats.capacity_bytes);
  }
  if (endpoint_ != nullptr) {
    Log(LogLevel::kInfo, "metrics_listening", "address={} port={}", config_.metrics.listen.host,
        endpoint_->port());
  }
  return WritePortFile();
}

Status Daemon::WritePortFile() const {
  const std::string& path = config_.server.port_file;
  if (path.empty()) return {};
  // Renamed into place: who waits for the file never reads half of it.
  const std::string draft = path + ".tmp";
  {
    std::ofstream file(draft, std::ios::trunc);
    for (const auto& shard : shards_) file << shard->server().port() << '\n';
    if (endpoint_ != nullptr) file << "metrics " << endpoint_->port() << '\n';
    file.flush();
    if (!file) return Status(StatusCode::kIo, "cannot write server.port_file " + draft);
  }
  if (std::rename(draft.c_str(), path.c_str()) != 0) {
    return Status(StatusCode::kIo,
                  "cannot rename " + draft + " to " + path + ": " + std::strerror(errno));
  }
  return {};
}

void Daemon::Tick() {
  if (guard_ != nullptr && nvme_ != nullptr &&
      clock_.Now() - started_ > StartGuard::kWindowSeconds * kSecond) {
    guard_->Clear();
  }
  nvme_watch_.Look(metrics_.Summed(), nvme_ != nullptr ? nvme_->index().LastError() : "");
  for (const auto& shard : shards_) {
    shard->cache().arena().MeasureHugePages();
    const std::uint32_t index = shard->place().index;
    const std::uint64_t stalls = shard->reactor().counters().stalls.load();
    if (stalls > stalls_logged_[index]) {
      Log(LogLevel::kWarning, "reactor_stalled", "reactor={} stalls={} longest_ms={}", index,
          stalls - stalls_logged_[index],
          shard->reactor().counters().stall_max_ns.load() / kMillisecond);
      stalls_logged_[index] = stalls;
    }
  }
}

bool Daemon::Stop(Nanos limit) {
  stopping_.store(true);
  if (!config_.server.port_file.empty()) ::unlink(config_.server.port_file.c_str());
  CrashHere(CrashPoint::kStopBegun);
  const Nanos deadline = clock_.Now() + limit;
  for (const auto& shard : shards_) shard->BeginStop();
  for (const auto& shard : shards_) {
    while (!shard->Stopped()) {
      if (clock_.Now() > deadline) {
        Log(LogLevel::kError, "reactor_did_not_stop", "reactor={} flows={}", shard->place().index,
            shard->cache().FlowsInProgress());
        return false;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    shard->Join();
  }
  if (guard_ != nullptr && nvme_ != nullptr) guard_->Clear();
  if (endpoint_ != nullptr) endpoint_->Stop();
  bool clean = true;
  for (const auto& shard : shards_) {
    if (const Status& shut_down = shard->ShutDown(); !shut_down.ok()) {
      Log(LogLevel::kError, "transfers_did_not_end", "reactor={} reason=\"{}\"",
          shard->place().index, shut_down.message());
      clean = false;
    }
    const Status& closed = shard->cache().Closed();
    if (closed.ok()) continue;
    Log(LogLevel::kError, "gpu_did_not_stop", "reactor={} reason=\"{}\"", shard->place().index,
        closed.message());
    clean = false;
  }
  return clean;
}

}  // namespace terrace
