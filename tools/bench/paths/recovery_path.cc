// The path `recovery`: how long a daemon with a million blocks on NVMe takes to be there again.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/load/scratch_folder.h"
#include "tools/bench/load/synthetic_index.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

constexpr std::uint64_t kEntries = 1'000'000;
constexpr std::uint64_t kDramBytes = 256ULL << 20;
constexpr double kAfterKillMax = 5;
constexpr double kAfterCleanStopMax = 2;
constexpr std::uint32_t kPutsBeforeKill = 2000;
constexpr auto kCallMax = std::chrono::seconds(10);

/// Blocks that the daemon says lie on NVMe.
std::uint64_t BlocksOnNvme(Client& client) {
  const auto samples = client.Stat(In(kCallMax));
  Require(samples.status(), "stat");
  double blocks = 0;
  for (const Sample& sample : *samples) {
    if (sample.name == "terrace_tier_blocks" &&
        sample.labels.find("tier=\"nvme\"") != std::string::npos) {
      blocks += sample.value;
    }
  }
  return static_cast<std::uint64_t>(blocks);
}

/// A store of a million blocks and the daemon over it.
class RecoveryStore {
 public:
  explicit RecoveryStore(const BenchOptions& options) : scratch_(options.folder) {
    settings_ = {.dram_bytes = kDramBytes,
                 .blocks_max = kEntries + kEntries / 4,
                 .nvme_folder = scratch_.path() + "/store",
                 .nvme_bytes = SyntheticLogBytes(kEntries)};
    std::filesystem::create_directory(settings_.nvme_folder);
    {
      const DaemonProcess maker(settings_);
    }  // makes the store and stops cleanly
    Require(WriteSyntheticIndex(settings_.nvme_folder, kEntries), "write the index");
    Start();
  }

  /// Seconds until the daemon is ready after a kill -9 in the middle of puts; negative when blocks
  /// are missing then.
  double AfterKill() {
    PutAndKill();
    return Start();
  }
  double AfterCleanStop() {
    client_.reset();
    daemon_.reset();
    return Start();
  }

  [[nodiscard]] std::string Note() const {
    return fmt::format("{} to {} blocks recovered of {} and {} chains of {} sampled ones complete",
                       fewest_, most_, kEntries, chains_complete_, chains_asked_);
  }

 private:
  double Start() {
    // It was killed on purpose, and often: the daemon would take it for a store that crashes it.
    std::filesystem::remove(settings_.nvme_folder + "/starts");
    daemon_ = std::make_unique<DaemonProcess>(settings_);
    client_ = ConnectOnThisHost(daemon_->address());
    const Result<NamespaceId> space = client_->OpenNamespace(SyntheticNamespace(), In(kCallMax));
    Require(space.status(), "open the recovered namespace");
    space_ = *space;
    const std::uint64_t blocks = BlocksOnNvme(*client_);
    fewest_ = std::min(fewest_, blocks);
    most_ = std::max(most_, blocks);
    return SampleIsThere() && blocks >= kEntries ? daemon_->seconds_to_ready() : -1;
  }

  /// Whether chains all over the store match completely, on NVMe.
  bool SampleIsThere() {
    constexpr std::uint64_t kChains = kEntries / kSyntheticChainBlocks;
    constexpr std::uint64_t kSampled = 16;
    bool all = true;
    for (std::uint64_t sample = 0; sample < kSampled; ++sample) {
      const Chain chain = SyntheticChain(sample * kChains / kSampled);
      const auto match = client_->Match(space_, chain, {}, In(kCallMax));
      Require(match.status(), "match");
      const bool complete = match->matched == chain.size() &&
                            std::ranges::count(match->tiers, Tier::kNvme) == chain.size();
      ++chains_asked_;
      chains_complete_ += complete ? 1 : 0;
      all = all && complete;
    }
    return all;
  }

  /// Kills the daemon while it makes blocks durable, so that the index has something to replay.
  void PutAndKill() {
    const Chain chain = BenchChain(kPutsBeforeKill, kEntries + ++kills_);
    const Result<RegionId> region = client_->AllocateRegion(kSyntheticBlockBytes);
    Require(region.status(), "allocate region");
    for (std::uint32_t position = 0; position < kPutsBeforeKill; ++position) {
      const BlockBuffer block{.position = position, .region = *region, .offset = 0};
      Require(
          client_->SubmitPut(space_, chain, {&block, 1}, {}, In(kCallMax), Ack::kDurable).status(),
          "put");
    }
    for (std::size_t answered = 0; answered < kPutsBeforeKill / 2;) {
      Require(client_->WaitForCompletion(In(kCallMax)), "wait for puts");
      answered += client_->Poll().size();
    }
    daemon_->Kill();
    client_.reset();
    daemon_.reset();
  }

  ScratchFolder scratch_;
  DaemonSettings settings_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<Client> client_;
  NamespaceId space_;
  std::uint64_t kills_ = 0;
  std::uint64_t fewest_ = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t most_ = 0;
  std::uint64_t chains_asked_ = 0;
  std::uint64_t chains_complete_ = 0;
};

}  // namespace

std::vector<Figure> BenchRecovery(const BenchOptions& options) {
  RecoveryStore store(options);
  const PairOptions pairs{
      .rounds = std::max(1, options.rounds / 2), .higher_is_better = false, .by_state = false};
  std::vector<Figure> figures;
  figures.push_back(ComparePairs(
      "ready_after_kill_1M", "s", "design: 5 s", [] { return kAfterKillMax; },
      [&] { return store.AfterKill(); }, pairs));
  figures.back().note = store.Note();
  figures.push_back(ComparePairs(
      "ready_after_clean_stop_1M", "s", "design: 2 s", [] { return kAfterCleanStopMax; },
      [&] { return store.AfterCleanStop(); }, pairs));
  figures.back().note = store.Note();
  return figures;
}

}  // namespace terrace::bench
