#include "tools/terraced/nvme_store.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <chrono>
#include <ctime>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "base/crash_point.h"
#include "base/device_threads.h"
#include "base/device_uring.h"
#include "tiers/nvme/geometry.h"
#include "tiers/nvme/index_entry.h"
#include "tiers/nvme/index_rebuild.h"
#include "tools/terraced/logs/logging.h"

namespace terrace {

namespace {

using namespace std::chrono_literals;

/// How long a start waits for a store that is in use: for a daemon that was killed and for the
/// writes that it had under way, milliseconds where it was measured.
constexpr auto kInUseWait = 2000ms;
constexpr auto kInUsePoll = 10ms;
/// Indexes that are moved aside within one second, each under a name of its own.
constexpr int kAsideMax = 100;
constexpr unsigned kDeviceThreads = 8;  // where io_uring is refused: as many reads at once

std::string IndexPath(const DaemonConfig& config) { return config.nvme.folder + "/index"; }

std::vector<std::string> FilesOf(const NvmeConfig& nvme) {
  return nvme.files.empty() ? std::vector<std::string>{nvme.folder + "/log-0"} : nvme.files;
}

/// Bytes of the log, over all files. A percentage is taken of each block device, and of each file
/// system that files lie on.
Result<std::uint64_t> CapacityOf(const NvmeConfig& nvme) {
  if (!nvme.capacity.is_percent) return nvme.capacity.bytes;
  std::uint64_t whole = 0;
  std::set<unsigned long> counted;  // file systems: several files may lie on one
  for (const std::string& file : FilesOf(nvme)) {
    std::error_code error;
    const std::filesystem::path path(file);
    if (std::filesystem::is_block_file(path, error)) {
      auto device = DeviceFile::Open({.path = file, .size_bytes = 0, .create = false});
      if (!device.ok()) return device.status();
      whole += device->size();
      continue;
    }
    struct statvfs facts{};
    struct stat place{};
    const std::string folder = path.has_parent_path() ? path.parent_path().string() : ".";
    if (statvfs(folder.c_str(), &facts) != 0 || stat(folder.c_str(), &place) != 0) {
      return Status(StatusCode::kIo,
                    "nvme.capacity: the size of the file system of " + folder + " cannot be read");
    }
    if (counted.insert(place.st_dev).second) whole += facts.f_blocks * facts.f_frsize;
  }
  return nvme.capacity.Of(whole) / nvme::kPageBytes * nvme::kPageBytes;
}

/// What a start found of the log behind the marker.
void LogTail(const nvme::NvmeTier& tier, std::uint32_t slice) {
  const nvme::NvmeTierCounters& counters = tier.Counters();
  if (counters.unheaded > 0) {
    Log(LogLevel::kWarning, "nvme_segment_header_missing", "slice={} blocks={} unreadable={}: {}",
        slice, counters.unheaded.load(), tier.unreadable_headers(),
        tier.unreadable_headers() > 0 ? "the next start looks for them again"
                                      : "damaged, what they held is lost");
  }
  if (tier.incomplete()) {
    Log(LogLevel::kWarning, "nvme_log_tail_incomplete",
        "slice={} unreadable_pages={}: the next start looks at it again", slice,
        counters.tail_unreadable.load());
  }
  if (counters.tail_records > 0) {
    Log(LogLevel::kInfo, "nvme_log_tail", "slice={} records={} blocks={}", slice,
        counters.tail_records.load(), counters.tail_blocks.load());
  }
}

}  // namespace

NvmeStore::~NvmeStore() {
  thread_.reset();
  index_.reset();
  CrashHere(CrashPoint::kStopIndexClosed);
}

Result<std::unique_ptr<NvmeStore>> NvmeStore::Open(const DaemonConfig& config) {
  std::unique_ptr<NvmeStore> store(new NvmeStore(config));
  if (Status status = store->OpenLog(); !status.ok()) return status;
  CrashHere(CrashPoint::kStartLogOpened);
  if (Status status = store->OpenIndex(); !status.ok()) return status;
  CrashHere(CrashPoint::kStartIndexOpened);
  RocksDbIndexStore* const index = store->index_.get();
  nvme::IndexThread::Options options;
  options.sync_period = config.nvme.sync_ms * kMillisecond;
  options.resume = [index] { return index->Resume(); };
  store->thread_ = std::make_unique<nvme::IndexThread>(*index, std::move(options));
  return store;
}

Status NvmeStore::OpenLog() {
  const Result<std::uint64_t> capacity = CapacityOf(config_.nvme);
  if (!capacity.ok()) return capacity.status();
  nvme::StoreOptions options;
  options.folder = config_.nvme.folder;
  options.files = config_.nvme.files;
  options.capacity_bytes = *capacity;
  options.slices = config_.server.reactors;
  options.block_bytes_max = config_.nvme.block_bytes_max;
  options.now_unix_s = static_cast<std::uint64_t>(std::time(nullptr));
  Result<nvme::OpenedStore> opened = nvme::OpenStore(options);
  // A daemon that was killed a moment ago holds its files until what it had under way has ended.
  for (auto waited = 0ms; opened.code() == StatusCode::kRetry && waited < kInUseWait;
       waited += kInUsePoll) {
    std::this_thread::sleep_for(kInUsePoll);
    opened = nvme::OpenStore(options);
  }
  if (!opened.ok()) return opened.status();
  log_ = std::move(opened).value();
  generations_ = std::make_unique<nvme::LiveGenerations>(
      log_.superblock.slices,
      log_.superblock.segments * static_cast<std::uint32_t>(log_.files.size()));
  for (const std::string& warning : log_.warnings) Log(LogLevel::kWarning, "nvme", "{}", warning);
  return {};
}

RocksDbIndexStoreOptions NvmeStore::IndexOptions() const {
  RocksDbIndexStoreOptions options;
  options.path = IndexPath(config_);
  options.dead = [generations = generations_.get()](std::string_view key, std::string_view value) {
    return generations->Dead(key, value);
  };
  return options;
}

Status NvmeStore::NoteStore() {
  const nvme::Superblock& superblock = log_.superblock;
  const nvme::IndexedStore store{
      .store_id = {.low = superblock.store_id[0], .high = superblock.store_id[1]},
      .version = nvme::kFormatVersion,
      .slices = superblock.slices};
  const IndexStore::Change change{.kind = IndexStore::Change::Kind::kPut,
                                  .key = std::string(nvme::kStoreKey),
                                  .value = nvme::StoreValue(store)};
  CrashHere(CrashPoint::kStartIndexEmpty);
  Status noted = index_->Write(std::span(&change, 1), true);
  CrashHere(CrashPoint::kStartIndexNoted);
  return noted;
}

Status NvmeStore::OpenIndex() {
  Result<std::unique_ptr<RocksDbIndexStore>> index = RocksDbIndexStore::Open(IndexOptions());
  if (!index.ok() && index.code() == StatusCode::kCorrupt) {
    if (Status moved = MoveIndexAside(index.status().message()); !moved.ok()) return moved;
    return RebuildIndex();
  }
  if (!index.ok()) return index.status();
  index_ = std::move(index).value();

  std::optional<nvme::IndexedStore> noted;
  bool empty = true;
  // All of it, so that damage anywhere is met while it can be mended.
  const Status status = index_->Scan("", [&](std::string_view key, std::string_view value) {
    empty = false;
    if (key == nvme::kStoreKey) noted = nvme::ReadStore(value);
    return true;
  });
  const Hash128 id{.low = log_.superblock.store_id[0], .high = log_.superblock.store_id[1]};
  const bool ours = noted && noted->store_id == id && noted->version == nvme::kFormatVersion &&
                    noted->slices == log_.superblock.slices;
  if (status.ok() && ours) return {};
  if (status.ok() && empty && log_.made_new) return NoteStore();
  // An index can always be had from its log again, so one that is another's is moved, not refused.
  if (!status.ok() || !empty) {
    const std::string why = !status.ok() ? status.message()
                            : noted      ? "it belongs to another store than the log"
                                         : "it was not finished";
    if (Status moved = MoveIndexAside(why); !moved.ok()) return moved;
  } else {
    Log(LogLevel::kWarning, "nvme_index_missing", "path={}", IndexPath(config_));
  }
  return RebuildIndex();
}

Status NvmeStore::MoveIndexAside(const std::string& why) {
  const std::string path = IndexPath(config_);
  index_.reset();
  const std::string dated = path + ".old-" + std::to_string(std::time(nullptr));
  std::error_code error;
  std::string aside = dated;
  // Two starts of one second may both meet an index that is of no use.
  for (int more = 2; more <= kAsideMax && std::filesystem::exists(aside, error); ++more) {
    aside = dated + "-" + std::to_string(more);
  }
  if (std::filesystem::exists(path, error)) std::filesystem::rename(path, aside, error);
  if (error) {
    return Status(StatusCode::kIo, "index " + path + " (" + why + "): cannot be moved aside to " +
                                       aside + ": " + error.message());
  }
  Log(LogLevel::kWarning, "nvme_index_moved_aside", "reason=\"{}\" to={}", why, aside);
  Result<std::unique_ptr<RocksDbIndexStore>> index = RocksDbIndexStore::Open(IndexOptions());
  if (!index.ok()) return index.status();
  index_ = std::move(index).value();
  return {};
}

Status NvmeStore::RebuildIndex() {
  CrashHere(CrashPoint::kRebuildBegun);
  Log(LogLevel::kInfo, "nvme_index_rebuilding", "log_bytes={}",
      SliceBytes() * config_.server.reactors);
  const auto totals = nvme::RebuildIndex(log_.files, log_.superblock, *index_, {}, {});
  if (!totals.ok()) return totals.status();
  Log(LogLevel::kInfo, "nvme_index_rebuilt", "blocks={} damaged={}", totals->blocks,
      totals->damaged);
  return {};
}

Status NvmeStore::AdoptNamespaces(NamespaceRegistry& registry) {
  const auto adopt = [&](std::string_view key, std::string_view value) {
    const auto space = nvme::ReadNamespace(key, value);
    const Status status =
        space ? registry.Adopt(space->id, space->tenant, space->name, space->fingerprint)
              : Status::Invalid("an entry is none");
    if (!status.ok()) Log(LogLevel::kWarning, "nvme_namespace_dropped", "{}", status.message());
    return true;
  };
  if (Status status = index_->Scan(nvme::kNamespacePrefix, adopt); !status.ok()) return status;
  registry.OnMade([this](const Namespace& made) {
    CrashHere(CrashPoint::kNamespaceMade);
    const nvme::IndexedNamespace space{.id = made.id,
                                       .tenant = made.spec.tenant,
                                       .name = made.spec.name,
                                       .fingerprint = made.fingerprint};
    // Ahead of every entry of its blocks (J1), and there are at most 65,536: never refused, as a
    // start drops entries of namespaces that it does not know. If power loss takes it, a start has
    // it from the records that lost their entries with it.
    nvme::IndexJournal::Changes changes;
    changes.push_back({.kind = IndexStore::Change::Kind::kPut,
                       .key = nvme::NamespaceKey(space.id),
                       .value = nvme::NamespaceValue(space)});
    thread_->SubmitAlways(std::move(changes));
    CrashHere(CrashPoint::kNamespaceQueued);
  });
  return {};
}

std::uint64_t NvmeStore::SliceBytes() const noexcept {
  return log_.superblock.segments * log_.superblock.segment_bytes * log_.files.size();
}

Result<NvmeStore::Slice> NvmeStore::Attach(Cache& cache, Reactor& reactor, std::uint32_t slice) {
  const nvme::Superblock& superblock = log_.superblock;
  const nvme::StoreGeometry geometry = nvme::GeometryOf(superblock);
  Slice parts;
  std::vector<nvme::LaneStart> lanes;
  for (std::uint32_t number = 0; number < log_.files.size(); ++number) {
    const DeviceFile& file = log_.files[number];
    nvme::LaneStart lane;
    Status read = nvme::ReadSegmentHeaders(file, superblock, number, slice, lane.headers,
                                           &lane.unreadable_headers);
    if (!read.ok()) return read;
    Result<DeviceFile> part = file.Slice(geometry.SliceOffset(slice), geometry.slice_bytes());
    if (!part.ok()) return part.status();
    if (reactor.ring() != nullptr) {
      auto device = UringDevice::Open(reactor, std::move(part).value());
      if (!device.ok()) return device.status();
      parts.devices.push_back(std::move(device).value());
    } else {
      auto device = ThreadDevice::Open(reactor, std::move(part).value(), kDeviceThreads);
      if (!device.ok()) return device.status();
      parts.devices.push_back(std::move(device).value());
    }
    lane.device = parts.devices.back().get();
    lanes.push_back(std::move(lane));
  }
  const NvmeConfig& config = config_.nvme;
  nvme::NvmeTierOptions options;
  options.log.store_id = superblock.store_id;
  options.log.salt = superblock.salt;
  options.log.slice = slice;
  options.log.generations = generations_.get();
  options.log.segments = superblock.segments;
  options.log.segment_bytes = superblock.segment_bytes;
  options.log.write_share = config.write_share_percent / 100.0;
  if (config.read_bytes_per_s > 0) {
    options.log.read_bytes_per_s =
        std::max<std::uint64_t>(1, config.read_bytes_per_s / superblock.slices);
  }
  options.log.errors_max = config.errors_max;
  options.log.stuck_after = config.stuck_ms * kMillisecond;
  options.marker_period = config.sync_ms * kMillisecond;
  options.block_bytes_max = std::min(config.block_bytes_max, geometry.payload_bytes_max());
  const double capacity = static_cast<double>(SliceBytes());
  options.write_bytes_per_day =
      config.drive_writes_per_day > 0
          ? static_cast<std::uint64_t>(config.drive_writes_per_day * capacity)
          : config.write_bytes_per_day / config_.server.reactors;
  parts.journal = thread_->JournalFor(reactor);
  cache.AttachNvme(options, std::move(lanes), *parts.journal, reactor.scheduler());
  cache.OnDevice([](const std::string& name, bool online, const std::string& why) {
    Log(online ? LogLevel::kInfo : LogLevel::kError, online ? "device_online" : "device_offline",
        "device={} reason=\"{}\"", name, why);
  });
  // The index is the thread's from now on, and it has nothing to do yet.
  const nvme::ReadSlice read = nvme::ReadSliceOf(log_.files, superblock, slice);
  if (Status found = cache.Recover(*index_, read); !found.ok()) {
    Log(LogLevel::kError, "nvme_index_unreadable",
        "slice={} reason=\"{}\": it is rebuilt at the next start", slice, found.message());
    index_unreadable_ = true;
  }
  LogTail(*cache.nvme(), slice);
  if (index_unreadable_ && slice + 1 == superblock.slices) {  // nobody else reads it now
    nvme::IndexJournal::Changes changes;
    changes.push_back({.kind = IndexStore::Change::Kind::kDelete,
                       .key = std::string(nvme::kStoreKey),
                       .value = {}});
    (void)thread_->Submit(std::move(changes), true, {});
  }
  return parts;
}

}  // namespace terrace
