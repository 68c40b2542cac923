// The path `hbm`: what the HBM tier's copies cost beside the GPU's own: blocks of 1, 4 and 16 MiB
// in and out with a checksum of every piece, within the device, and the checksum alone.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/scheduler.h"
#include "base/task.h"
#include "tiers/hbm/copy_engine.h"
#include "tiers/hbm/gpu.h"
#include "tools/bench/limits/hbm_read_limit.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/paths.h"

namespace terrace::bench {
namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr std::size_t kMoved = 512 * kMiB;  // a round, each way: 10 ms of PCIe 5
constexpr std::size_t kPool = 2 * kMoved;
constexpr int kPasses = 16;  // over the pool, of reads and checksums

/// Moves blocks between pinned memory and a pool of the GPU, as the tier does.
class HbmBench {
 public:
  HbmBench() {
    auto gpu = OpenGpu(0);
    Require(gpu.status(), "hbm");
    device_ = std::move(*gpu);
    void* const memory = mmap(nullptr, 2 * kMoved, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    Require(memory == MAP_FAILED ? Status(StatusCode::kIo, "mmap failed") : Status(), "hbm");
    host_ = {static_cast<std::byte*>(memory), 2 * kMoved};
    for (std::size_t i = 0; i < host_.size(); i += sizeof i) {
      const std::size_t word = i * 0x9e3779b97f4a7c15;
      std::memcpy(&host_[i], &word, sizeof word);
    }
    Require(device_->PinHost(host_), "pin the host's memory");
    auto pool = device_->Allocate(kPool);
    Require(pool.status(), "allocate the pool");
    pool_ = *pool;
    engine_.emplace(*device_);
    Alone(CopyDirection::kIn, 0);
    Alone(CopyDirection::kIn, kMoved);
  }
  ~HbmBench() {
    engine_.reset();
    static_cast<void>(device_->Free(pool_));
    static_cast<void>(device_->UnpinHost(host_));
    munmap(host_.data(), host_.size());
  }
  HbmBench(const HbmBench&) = delete;
  HbmBench& operator=(const HbmBench&) = delete;

  [[nodiscard]] const std::string& name() const { return device_->name(); }

  /// One copy of kMoved at `offset` of pool and host; GB/s (1e9).
  double Alone(CopyDirection direction, std::size_t offset) {
    const double started = Now();
    Submit(direction, offset);
    Finish();
    return Rate(kMoved, started);
  }
  /// One such copy in, and one out, at once: both together.
  double AloneBothWays() {
    const double started = Now();
    Submit(CopyDirection::kIn, 0);
    Submit(CopyDirection::kOut, kMoved);
    Finish();
    return Rate(2 * kMoved, started);
  }

  /// As many bytes in blocks, each verified on the device, and the round counts only when each was
  /// right.
  double Blocks(CopyDirection direction, std::size_t block, std::size_t offset = 0) {
    const double started = Now();
    SpawnBlocks(direction, block, offset);
    return RunAll() ? Rate(kMoved, started) : -1;
  }
  double BlocksBothWays(std::size_t block) {
    const double started = Now();
    SpawnBlocks(CopyDirection::kIn, block, 0);
    SpawnBlocks(CopyDirection::kOut, block, kMoved);
    return RunAll() ? Rate(2 * kMoved, started) : -1;
  }

  /// The checksums of every piece of the pool, kPasses times; GB/s.
  double Checksums() {
    const double started = Now();
    for (int pass = 0; pass < kPasses; ++pass) {
      for (std::size_t at = 0; at < kPool; at += CopyRequest::kPiecesMax * kChecksumPieceBytes) {
        scope_.Spawn(Sum(this, at, CopyRequest::kPiecesMax * kChecksumPieceBytes));
      }
    }
    return RunAll() ? Rate(kPasses * kPool, started) : -1;
  }
  /// The same bytes read by a kernel that does nothing else.
  double Reads() {
    const double seconds = ReadDeviceSeconds(pool_, kPool, kPasses);
    return seconds > 0 ? kPasses * static_cast<double>(kPool) / seconds / 1e9 : -1;
  }

  /// A demand copy of one block within the device, from the call to its end; us, median of 200.
  double HitMicroseconds(std::size_t block) {
    std::vector<double> times;
    for (int i = 0; i < 200; ++i) {
      const double started = Now();
      scope_.Spawn(MoveWithin(this, block));
      if (!RunAll()) return -1;
      times.push_back((Now() - started) * 1e6);
    }
    return Median(times);
  }

 private:
  static double Now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  static double Rate(std::size_t bytes, double started) {
    return static_cast<double>(bytes) / (Now() - started) / 1e9;
  }

  [[nodiscard]] DeviceCopy Place(CopyDirection direction, std::size_t offset, std::size_t bytes) {
    switch (direction) {
      case CopyDirection::kIn: return {pool_ + offset, &host_[offset], bytes};
      case CopyDirection::kOut: return {&host_[offset], pool_ + offset, bytes};
      case CopyDirection::kWithin: break;
    }
    return {pool_ + kMoved + offset, pool_ + offset, bytes};
  }

  void Submit(CopyDirection direction, std::size_t offset) {
    const DeviceCopy copy = Place(direction, offset, kMoved);
    const auto slot = device_->Submit({.direction = direction,
                                       .urgency = CopyUrgency::kDemand,
                                       .copies = {&copy, 1},
                                       .pieces = {}});
    Require(slot.status(), "submit");
    slots_.push_back(*slot);
  }
  void Finish() {
    for (const std::size_t slot : slots_) {
      std::optional<Status> ended;
      while (!ended) ended = device_->Poll(slot, {});
      Require(*ended, "copy");
    }
    slots_.clear();
  }

  void SpawnBlocks(CopyDirection direction, std::size_t block, std::size_t offset) {
    for (std::size_t at = offset; at < offset + kMoved; at += block) {
      scope_.Spawn(Move(this, direction, at, block));
    }
  }

  static std::vector<DevicePiece> Pieces(const std::byte* at, std::size_t bytes) {
    std::vector<DevicePiece> pieces;
    for (std::size_t done = 0; done < bytes; done += kChecksumPieceBytes) {
      pieces.push_back({.at = at + done, .bytes = kChecksumPieceBytes});
    }
    return pieces;
  }

  static Task<void> Move(HbmBench* bench, CopyDirection direction, std::size_t at,
                         std::size_t block) {
    const DeviceCopy copy = bench->Place(direction, at, block);
    const std::vector<DevicePiece> pieces = Pieces(bench->pool_ + at, block);
    std::vector<std::uint64_t> checksums(pieces.size());
    const Status status = co_await bench->engine_->Run({.direction = direction,
                                                        .urgency = CopyUrgency::kBackground,
                                                        .copies = {&copy, 1},
                                                        .pieces = pieces,
                                                        .checksums = checksums});
    if (!status.ok() || std::ranges::count(checksums, 0U) > 0) bench->failed_ = true;
  }
  static Task<void> MoveWithin(HbmBench* bench, std::size_t block) {
    const DeviceCopy copy = bench->Place(CopyDirection::kWithin, 0, block);
    const Status status = co_await bench->engine_->Run({.direction = CopyDirection::kWithin,
                                                        .urgency = CopyUrgency::kDemand,
                                                        .copies = {&copy, 1},
                                                        .pieces = {},
                                                        .checksums = {}});
    if (!status.ok()) bench->failed_ = true;
  }
  static Task<void> Sum(HbmBench* bench, std::size_t at, std::size_t bytes) {
    const std::vector<DevicePiece> pieces = Pieces(bench->pool_ + at, bytes);
    std::vector<std::uint64_t> checksums(pieces.size());
    const Status status = co_await bench->engine_->Run({.direction = CopyDirection::kWithin,
                                                        .urgency = CopyUrgency::kBackground,
                                                        .copies = {},
                                                        .pieces = pieces,
                                                        .checksums = checksums});
    if (!status.ok()) bench->failed_ = true;
  }

  bool RunAll() {
    while (scope_.live() > 0) {
      scheduler_.RunReady(64);
      scheduler_.RunTimers(scheduler_.Now());
    }
    while (scheduler_.HasReady()) scheduler_.RunReady(64);  // the engine's task ends
    return !failed_;
  }

  SteadyClock clock_;
  Scheduler scheduler_{clock_};
  Scheduler::CurrentScope current_{scheduler_};
  TaskScope scope_;
  std::unique_ptr<DeviceMemory> device_;
  std::span<std::byte> host_;
  std::byte* pool_ = nullptr;
  std::optional<CopyEngine> engine_;
  std::vector<std::size_t> slots_;
  bool failed_ = false;
};

}  // namespace

std::vector<Figure> BenchHbm(const BenchOptions& options) {
  HbmBench bench;
  std::vector<Figure> figures;
  const PairOptions pairs = {.rounds = options.rounds, .by_state = false};
  const auto compare = [&](const std::string& name, const std::string& limit_name, auto limit,
                           auto value) {
    figures.push_back(ComparePairs(name, "GB/s", limit_name, limit, value, pairs));
    figures.back().note = bench.name();
  };
  for (const std::size_t mib : {1UL, 4UL, 16UL}) {
    const std::string size = std::to_string(mib) + "MiB";
    compare(
        "promote_" + size, "one pinned copy in", [&] { return bench.Alone(CopyDirection::kIn, 0); },
        [&] { return bench.Blocks(CopyDirection::kIn, mib * kMiB); });
    compare(
        "demote_" + size, "one pinned copy out",
        [&] { return bench.Alone(CopyDirection::kOut, 0); },
        [&] { return bench.Blocks(CopyDirection::kOut, mib * kMiB); });
    compare(
        "both_ways_" + size, "two pinned copies at once", [&] { return bench.AloneBothWays(); },
        [&] { return bench.BlocksBothWays(mib * kMiB); });
    compare(
        "within_" + size, "one copy within the device",
        [&] { return bench.Alone(CopyDirection::kWithin, 0); },
        [&] { return bench.Blocks(CopyDirection::kWithin, mib * kMiB); });
  }
  compare(
      "checksum", "a kernel that only reads", [&] { return bench.Reads(); },
      [&] { return bench.Checksums(); });
  std::vector<double> hits;
  for (int round = 0; round < options.rounds; ++round) hits.push_back(bench.HitMicroseconds(kMiB));
  figures.push_back(
      CompareTotal("hit_within_1MiB", "us", "the design's 60 us", 60, Median(hits), hits, false));
  figures.back().note = bench.name() + "; the daemon's half, without the request";
  return figures;
}

}  // namespace terrace::bench
