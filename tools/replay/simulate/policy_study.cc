#include "tools/replay/simulate/policy_study.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "tools/replay/simulate/optimum.h"

namespace terrace::replay {
namespace {

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

class Study {
 public:
  Study(const Trace& trace, const BlockNumbers& blocks, std::span<const StudyCase> cases,
        const Economics& economics, const StudyOptions& options)
      : trace_(trace),
        blocks_(blocks),
        cases_(cases),
        economics_(economics),
        options_(options),
        results_(cases.size()) {
    if (std::ranges::any_of(cases, IsOptimal)) next_uses_ = NextUses(trace, blocks);
  }

  Result<std::vector<StudyResult>> Run() {
    {
      std::vector<std::jthread> threads;
      const std::size_t count = std::clamp<std::size_t>(options_.threads, 1, cases_.size());
      running_ = count;
      for (std::size_t i = 0; i < count; ++i) threads.emplace_back([this] { Work(); });
      WatchThem();
    }
    if (stop_) return Status(StatusCode::kCancelled, "stopped");
    return std::move(results_);
  }

 private:
  static bool IsOptimal(const StudyCase& entry) { return entry.policy == kOptimalPolicy; }

  void Work() {
    for (std::size_t i = next_++; i < cases_.size() && !stop_; i = next_++) {
      results_[i] = RunCase(cases_[i]);
    }
    const std::lock_guard lock(mutex_);
    --running_;
    ended_.notify_one();
  }

  void WatchThem() {
    std::unique_lock lock(mutex_);
    while (
        !ended_.wait_for(lock, std::chrono::milliseconds(100), [this] { return running_ == 0; })) {
      if (options_.progress && !options_.progress(references_)) stop_ = true;
    }
    if (options_.progress && !options_.progress(references_)) stop_ = true;
  }

  StudyResult RunCase(const StudyCase& entry) {
    StudyResult result;
    result.policy = entry.policy;
    result.tiers = entry.tiers;
    result.tiers.distinct_blocks = blocks_.distinct;
    const HitProgress progress = [this](std::uint64_t references) {
      references_ += references;
      return !stop_;
    };
    const double begin = ThreadSeconds();
    RequestHits hits;
    if (IsOptimal(entry)) {
      hits = OptimalHits(trace_, blocks_, next_uses_, entry.tiers.dram_blocks, progress);
    } else {
      result.tiers.policy = *FindPolicy(entry.policy);
      result.policy_bytes = result.tiers.policy->make(1)->BytesPerBlock();
      hits = SimulateRequests(trace_, blocks_, result.tiers, entry.shape, progress);
    }
    result.seconds = ThreadSeconds() - begin;
    result.run = hits.run;
    if (!hits.stopped) Worth(hits, result);
    return result;
  }

  void Worth(const RequestHits& hits, StudyResult& result) const {
    std::vector<std::uint32_t> tokens;
    tokens.reserve(hits.leading.size());
    for (std::size_t request = 0; request < hits.leading.size(); ++request) {
      const std::uint64_t full = std::uint64_t{hits.leading[request]} * trace_.block_tokens;
      const std::uint64_t hit =
          std::min<std::uint64_t>(full, trace_.requests[request].input_tokens);
      tokens.push_back(static_cast<std::uint32_t>(hit));
      result.tokens_hit += hit;
    }
    result.savings = ComputeSavings(economics_, trace_, tokens, options_.load_bytes_per_s, 0);
  }

  const Trace& trace_;
  const BlockNumbers& blocks_;
  const std::span<const StudyCase> cases_;
  const Economics& economics_;
  const StudyOptions& options_;
  std::vector<std::uint32_t> next_uses_;
  std::vector<StudyResult> results_;  // each written by one thread
  std::atomic<std::size_t> next_ = 0;
  std::atomic<std::uint64_t> references_ = 0;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::size_t running_ = 0;  // threads, under mutex_
};

}  // namespace

std::vector<std::string> StudyPolicies() {
  std::vector<std::string> names;
  for (const PolicyKind& kind : Policies()) names.emplace_back(kind.name);
  names.emplace_back(kOptimalPolicy);
  return names;
}

Status CheckStudyPolicy(std::string_view name) {
  if (name == kOptimalPolicy) return Status::Ok();
  const auto found = FindPolicy(name);
  if (found.ok()) return Status::Ok();
  return Status::Invalid(found.status().message() + ", " + std::string(kOptimalPolicy));
}

Result<std::vector<StudyResult>> RunPolicyStudy(const Trace& trace, const BlockNumbers& blocks,
                                                std::span<const StudyCase> cases,
                                                const Economics& economics,
                                                const StudyOptions& options) {
  for (const StudyCase& entry : cases) {
    Status status = CheckStudyPolicy(entry.policy);
    if (!status.ok()) return status;
  }
  if (cases.empty()) return std::vector<StudyResult>();
  return Study(trace, blocks, cases, economics, options).Run();
}

}  // namespace terrace::replay
