// The path `plan`: the time until a prompt is ready, by a plan, by loading all and by computing
// all, for NVMe of 50 to 3,000 MB/s and engines of 1K to 50K tokens a second.
//
// A prompt is 1,024 tokens whose KV lies on NVMe: 64 blocks of 1 MiB, of 16 tokens, so 64 KiB a
// token, which is Llama-3-8B in fp8. So loading takes 22 ms (if the disk can do it) to 1.3 s,
// computing 20 ms to 1 s, and both are near each other in four of the cells. An engine that
// computes is a thread that sleeps.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/load/scratch_folder.h"
#include "tools/bench/paths.h"

namespace terrace::bench {

namespace {

using SteadyTime = std::chrono::steady_clock;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kBlockBytes = kMiB;
constexpr std::uint32_t kBlocks = 64;
constexpr std::uint32_t kBlockTokens = 16;
constexpr std::uint64_t kTokens = kBlocks * kBlockTokens;
constexpr std::uint32_t kChains = 9;
/// Two prompts: a third has pushed out what was loaded before.
constexpr std::uint64_t kDramBytes = 128 * kMiB;
constexpr std::uint64_t kLogBytes = 2048 * kMiB;
constexpr auto kCallMax = std::chrono::seconds(30);
constexpr double kRatioMax = 1.05;                          // design
constexpr std::uint64_t kLimits[] = {50, 200, 1000, 3000};  // MB/s
constexpr double kRates[] = {1e3, 5e3, 10e3, 20e3, 50e3};   // tokens/s

double Seconds(SteadyTime::time_point since) {
  return std::chrono::duration<double>(SteadyTime::now() - since).count();
}

/// The engine: computes at a rate.
void Compute(const TokenSpan& tokens, double rate) {
  const double seconds = static_cast<double>(tokens.count) / rate;
  std::this_thread::sleep_until(
      SteadyTime::now() +
      std::chrono::duration_cast<SteadyTime::duration>(std::chrono::duration<double>(seconds)));
}

/// Prompts on NVMe, and the daemon over them.
class PromptStore {
 public:
  explicit PromptStore(const BenchOptions& options) : scratch_(options.folder) {
    settings_ = {.dram_bytes = kDramBytes,
                 .nvme_folder = scratch_.path() + "/store",
                 .nvme_bytes = kLogBytes};
    std::filesystem::create_directory(settings_.nvme_folder);
    for (std::uint32_t chain = 0; chain < kChains; ++chain) {
      chains_.push_back(BenchChain(kBlocks, chain + 1));
    }
    Restart(0);
    for (std::uint32_t chain = 0; chain < kChains; ++chain) Put(chain);
  }

  /// A daemon whose NVMe is read at so many MB/s; 0: as fast as it is.
  void Restart(std::uint64_t megabytes_per_s) {
    client_.reset();
    daemon_.reset();
    settings_.nvme_read_bytes_per_s = megabytes_per_s * 1'000'000;
    daemon_ = std::make_unique<DaemonProcess>(settings_);
    client_ = ConnectOnThisHost(daemon_->address());
    NamespaceDescriptor descriptor = BenchNamespace(kBlockBytes);
    descriptor.block_tokens = kBlockTokens;
    const auto space = client_->OpenNamespace(descriptor, In(kCallMax));
    Require(space.status(), "open namespace");
    space_ = *space;
    const auto region = client_->AllocateRegion(kBlocks * kBlockBytes);
    Require(region.status(), "allocate");
    region_ = *region;
  }

  /// The next prompt of which nothing is in DRAM.
  std::uint32_t NextCold() {
    for (std::uint32_t tries = 0; tries < 2 * kChains; ++tries) {
      cursor_ = (cursor_ + 1) % kChains;
      const MatchResult match = Match(cursor_);
      const bool cold = std::ranges::all_of(match.tiers, [](Tier t) { return t == Tier::kNvme; });
      if (match.matched == kBlocks && cold) return cursor_;
    }
    Require(Status(StatusCode::kMiss, "no prompt lies on NVMe alone"), "find a cold prompt");
    return 0;
  }

  MatchResult Match(std::uint32_t chain) {
    auto match = client_->Match(space_, chains_[chain], {}, In(kCallMax));
    Require(match.status(), "match");
    return std::move(*match);
  }
  /// Begins to load blocks of a prompt; 0 when there are none.
  Ticket Load(std::uint32_t chain, std::uint32_t first, std::uint32_t end) {
    if (first >= end) return 0;
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t position = first; position < end; ++position) {
      blocks.push_back({.position = position,
                        .region = region_,
                        .offset = std::uint64_t{position} * kBlockBytes});
    }
    const auto ticket = client_->SubmitGet(space_, chains_[chain], blocks, {}, In(kCallMax));
    Require(ticket.status(), "get");
    return *ticket;
  }
  /// Waits for a load; exits with a message when a block has not come.
  void Await(Ticket ticket) {
    while (ticket != 0 && !std::erase(ended_, ticket)) {
      Require(client_->WaitForCompletion(In(kCallMax)), "wait");
      for (const Completion& done : client_->Poll()) {
        RequireAll(done.blocks, "get");
        ended_.push_back(done.ticket);
      }
    }
  }
  /// Exits with a message unless the loaded blocks are those that were put.
  void Verify(std::uint32_t chain, std::uint32_t first, std::uint32_t end) {
    const std::span<const std::byte> memory = client_->RegionMemory(region_);
    for (std::uint32_t position = first; position < end; ++position) {
      const std::uint64_t wanted[] = {chain + 1, position};
      if (std::memcmp(memory.data() + position * kBlockBytes, wanted, sizeof wanted) != 0) {
        Require(Status(StatusCode::kCorrupt, "another block came"), "compare");
      }
    }
  }
  /// So that what was loaded before is not taken for what will be.
  void ForgetMemory() {
    std::memset(client_->RegionMemory(region_).data(), 0, kBlocks * kBlockBytes);
  }

 private:
  void Put(std::uint32_t chain) {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t position = 0; position < kBlocks; ++position) {
      const std::uint64_t words[] = {chain + 1, position};
      const std::uint64_t offset = std::uint64_t{position} * kBlockBytes;
      std::memcpy(client_->RegionMemory(region_).data() + offset, words, sizeof words);
      blocks.push_back({.position = position, .region = region_, .offset = offset});
    }
    const auto put = client_->Put(space_, chains_[chain], blocks, {}, In(kCallMax), Ack::kDurable);
    Require(put.status(), "put");
    for (const BlockResult& block : *put) {
      if (block.ack != Ack::kDurable) Require(Status(block.status, "not durable"), "put");
    }
  }

  ScratchFolder scratch_;
  DaemonSettings settings_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<Client> client_;
  std::vector<Chain> chains_;
  NamespaceId space_;
  RegionId region_;
  std::uint32_t cursor_ = 0;
  std::vector<Ticket> ended_;
};

/// One cell of the grid: each way is taken once a round, over a cold prompt.
class Cell {
 public:
  Cell(PromptStore& store, double rate) : store_(store), rate_(rate) {}

  void Round() {
    load_.push_back(LoadAll());
    compute_.push_back(ComputeAll());
    plan_.push_back(WithPlan());
    ratios_.push_back(plan_.back() / std::min(load_.back(), compute_.back()));
  }

  /// Time with the plan over that of the better way, of the medians.
  [[nodiscard]] double Ratio() const { return Median(plan_) / Better(); }
  [[nodiscard]] double Error() const { return Median(errors_); }
  [[nodiscard]] Figure ToFigure(std::uint64_t megabytes_per_s) const {
    Figure figure;
    figure.name = fmt::format("plan_{}MBps_{:.0f}Ktps", megabytes_per_s, rate_ / 1e3);
    figure.value = Median(plan_) * 1e3;
    figure.unit = "ms";
    figure.limit = Better() * 1e3;
    figure.limit_name = Median(load_) < Median(compute_) ? "load all" : "compute all";
    std::vector<double> inverse;
    for (const double ratio : ratios_) inverse.push_back(1 / ratio);
    figure.ratio = 1 / Ratio();
    figure.ratio_low = Quantile(inverse, 0.25);
    figure.ratio_high = Quantile(inverse, 0.75);
    figure.rounds = static_cast<int>(plan_.size());
    figure.note = fmt::format(
        "{:.2f} of the better; load all {:.1f} ms, compute all {:.1f} ms; {} blocks loaded; "
        "prediction off by {:.1f} %",
        Ratio(), Median(load_) * 1e3, Median(compute_) * 1e3, loaded_, Error() * 100);
    return figure;
  }

 private:
  [[nodiscard]] double Better() const { return std::min(Median(load_), Median(compute_)); }

  double LoadAll() {
    const std::uint32_t chain = store_.NextCold();
    store_.ForgetMemory();
    const auto begin = SteadyTime::now();
    (void)store_.Match(chain);
    store_.Await(store_.Load(chain, 0, kBlocks));
    const double took = Seconds(begin);
    store_.Verify(chain, 0, kBlocks);
    return took;
  }
  double ComputeAll() {
    const std::uint32_t chain = store_.NextCold();
    const auto begin = SteadyTime::now();
    (void)store_.Match(chain);
    Compute({.first = 0, .count = kTokens}, rate_);
    return Seconds(begin);
  }
  double WithPlan() {
    const std::uint32_t chain = store_.NextCold();
    store_.ForgetMemory();
    const auto begin = SteadyTime::now();
    const MatchResult match = store_.Match(chain);
    const auto plan =
        Client::Plan(match, {.tokens = kTokens, .rate = {{.context = 0, .tokens_per_s = rate_}}});
    Require(plan.status(), "plan");
    const Ticket front = store_.Load(chain, 0, plan->front);
    const Ticket back = store_.Load(chain, plan->back, plan->stop);
    store_.Await(front);
    Compute(plan->compute[0], rate_);
    store_.Await(back);
    Compute(plan->compute[1], rate_);
    const double took = Seconds(begin);
    store_.Verify(chain, 0, plan->front);
    store_.Verify(chain, plan->back, plan->stop);
    errors_.push_back(std::abs(took / plan->seconds - 1));
    loaded_ = plan->front + plan->stop - plan->back;
    return took;
  }

  PromptStore& store_;
  const double rate_;
  std::uint32_t loaded_ = 0;  // by the last plan
  std::vector<double> load_, compute_, plan_, ratios_, errors_;
};

}  // namespace

std::vector<Figure> BenchPlan(const BenchOptions& options) {
  PromptStore store(options);
  std::vector<Figure> figures;
  std::vector<double> ratios;
  std::vector<double> errors;
  const int rounds = std::max(1, options.rounds / 3);
  for (const std::uint64_t limit : kLimits) {
    store.Restart(limit);
    // What the daemon learns from: one prompt.
    const std::uint32_t first = store.NextCold();
    store.Await(store.Load(first, 0, kBlocks));
    for (const double rate : kRates) {
      Cell cell(store, rate);
      for (int round = 0; round < rounds; ++round) cell.Round();
      figures.push_back(cell.ToFigure(limit));
      ratios.push_back(cell.Ratio());
      errors.push_back(cell.Error());
    }
  }
  const auto over = std::ranges::count_if(ratios, [](double ratio) { return ratio > kRatioMax; });
  const auto both = std::ranges::count_if(ratios, [](double ratio) { return ratio < 0.9; });
  figures.push_back(CompareTotal("plan_worst_cell", "x", "1.05 of the better of both", kRatioMax,
                                 *std::ranges::max_element(ratios), ratios, false));
  figures.back().note = fmt::format("{} of {} cells above 1.05; {} beat both by 10 % and more",
                                    over, ratios.size(), both);
  figures.push_back(
      CompareTotal("plan_prediction_error", "%", "5 %", 5, Median(errors) * 100, errors, false));
  figures.back().note =
      fmt::format("median of the cells; worst {:.1f} %", *std::ranges::max_element(errors) * 100);
  return figures;
}

}  // namespace terrace::bench
