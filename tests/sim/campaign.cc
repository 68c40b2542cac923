#include "tests/sim/campaign.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/clock.h"

namespace terrace::testing {

namespace {

constexpr int kPollMs = 200;
/// Of what a job said before it died, the end.
constexpr std::size_t kLastWordsBytes = 600;

double Seconds(Nanos time) { return static_cast<double>(time) / static_cast<double>(kSecond); }

/// What a job writes for each seed; one write to a pipe is whole below PIPE_BUF.
struct SeedRecord {
  std::uint64_t seed = 0;
  SimulationCounts counts;
  std::array<char, 512> failure{};
};
static_assert(sizeof(SeedRecord) <= 4096 && std::is_trivially_copyable_v<SeedRecord>);

/// In memory that all jobs share.
struct Shared {
  std::atomic<std::uint64_t> next_seed{0};
  std::atomic<bool> stop{false};
  struct Job {
    std::atomic<std::uint64_t> seed{0};
    std::atomic<Nanos> since{0};  ///< 0: between two seeds
  };
  std::array<Job, CampaignOptions::kJobsMax> jobs;
};

class Campaign {
 public:
  Campaign(const CampaignOptions& options, const volatile int* interrupted)
      : options_(options), interrupted_(interrupted), began_(clock_.Now()) {
    void* const memory =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    TERRACE_CHECK(memory != MAP_FAILED);
    shared_ = new (memory) Shared;
    shared_->next_seed = options.first_seed;
    TERRACE_CHECK(::pipe(records_.data()) == 0);
  }
  ~Campaign() {
    for (const int end : records_) ::close(end);
    ::munmap(shared_, sizeof(Shared));
  }
  Campaign(const Campaign&) = delete;
  Campaign& operator=(const Campaign&) = delete;

  CampaignResult Run(const std::function<void(const CampaignResult&)>& on_progress) {
    for (std::uint32_t job = 0; job < options_.jobs; ++job) jobs_.push_back(Start(job));
    while (running_ > 0) {
      TakeRecords();
      const std::size_t violations = result_.violations.size();
      for (std::uint32_t job = 0; job < options_.jobs; ++job) Look(job);
      result_.seconds = Seconds(clock_.Now() - began_);
      const bool late = options_.time_limit_s > 0 && result_.seconds >= options_.time_limit_s;
      const bool enough = options_.stop_at_first && !result_.violations.empty();
      if (late || enough || *interrupted_ != 0) shared_->stop = true;
      if (enough && violations == result_.violations.size()) KillAll();
      on_progress(result_);
    }
    TakeRecords();
    on_progress(result_);
    return std::move(result_);
  }

 private:
  struct Job {
    pid_t process = 0;  // 0: none
    int words = -1;     // what it says on stderr
  };

  Job Start(std::uint32_t number) {
    Job job{.process = 0, .words = ::memfd_create("simulate:job", MFD_CLOEXEC)};
    TERRACE_CHECK(job.words >= 0);
    shared_->jobs[number].since = 0;
    job.process = ::fork();
    TERRACE_CHECK(job.process >= 0);
    if (job.process == 0) {
      ::signal(SIGINT, SIG_IGN);  // the parent says when to stop
      ::dup2(job.words, STDERR_FILENO);
      RunSeeds(number);
      ::_exit(0);
    }
    ++running_;
    return job;
  }

  void RunSeeds(std::uint32_t number) {
    Shared::Job& job = shared_->jobs[number];
    while (!shared_->stop) {
      const std::uint64_t seed = shared_->next_seed++;
      if (seed > options_.last_seed) break;
      job.seed = seed;
      job.since = clock_.Now();
      const SimulationReport report = options_.simulate(seed, options_.profile);
      SeedRecord record{.seed = seed, .counts = report, .failure = {}};
      report.failure.copy(record.failure.data(), record.failure.size() - 1);
      const auto written = ::write(records_[1], &record, sizeof record);
      TERRACE_CHECK(written == sizeof record);
      job.since = 0;
    }
  }

  void TakeRecords() {
    pollfd readable{.fd = records_[0], .events = POLLIN, .revents = 0};
    const Nanos until = clock_.Now() + kPollMs * kMillisecond;
    int wait_ms = running_ > 0 ? kPollMs : 0;
    while (::poll(&readable, 1, wait_ms) > 0) {
      SeedRecord record;
      if (::read(records_[0], &record, sizeof record) != sizeof record) break;
      ++result_.seeds;
      result_.counts.Add(record.counts);
      if (record.failure[0] != '\0') AddViolation(record.seed, record.failure.data());
      wait_ms = std::max(0, static_cast<int>((until - clock_.Now()) / kMillisecond));
    }
  }

  void AddViolation(std::uint64_t seed, std::string what) {
    result_.violations.push_back(
        {.seed = seed, .what = std::move(what), .after_s = Seconds(clock_.Now() - began_)});
  }

  /// Whether it is still there, and what it was doing when it went.
  void Look(std::uint32_t number) {
    Job& job = jobs_[number];
    if (job.process == 0) return;
    const Shared::Job& shared = shared_->jobs[number];
    const Nanos since = shared.since;
    const bool hangs = since != 0 && Seconds(clock_.Now() - since) > options_.seed_limit_s;
    if (hangs) ::kill(job.process, SIGKILL);
    int status = 0;
    if (::waitpid(job.process, &status, hangs ? 0 : WNOHANG) != job.process) return;
    --running_;
    job.process = 0;
    const bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!well && !killed_) {
      ++result_.seeds;
      AddViolation(shared.seed,
                   hangs ? "it did not end in " + std::to_string(options_.seed_limit_s) + " s"
                         : LastWords(job.words, status));
    }
    ::close(job.words);
    if (!well && !shared_->stop && !options_.stop_at_first) job = Start(number);
  }

  static std::string LastWords(int words, int status) {
    std::string text = WIFSIGNALED(status)
                           ? "the process died of signal " + std::to_string(WTERMSIG(status))
                           : "the process ended with " + std::to_string(WEXITSTATUS(status));
    std::string said(kLastWordsBytes, '\0');
    const off_t end = ::lseek(words, 0, SEEK_END);
    const off_t from = std::max<off_t>(0, end - static_cast<off_t>(kLastWordsBytes));
    const ssize_t read = ::pread(words, said.data(), said.size(), from);
    said.resize(read > 0 ? static_cast<std::size_t>(read) : 0);
    while (!said.empty() && said.back() == '\n') said.pop_back();
    if (!said.empty()) text += ": " + said;
    return text;
  }

  void KillAll() {
    killed_ = true;
    for (const Job& job : jobs_) {
      if (job.process != 0) ::kill(job.process, SIGKILL);
    }
  }

  const CampaignOptions options_;
  const volatile int* const interrupted_;
  SteadyClock clock_;
  const Nanos began_;
  Shared* shared_ = nullptr;
  std::array<int, 2> records_{-1, -1};
  std::vector<Job> jobs_;
  std::size_t running_ = 0;
  bool killed_ = false;
  CampaignResult result_;
};

}  // namespace

CampaignResult RunCampaign(const CampaignOptions& options, const volatile int* interrupted,
                           const std::function<void(const CampaignResult&)>& on_progress) {
  TERRACE_CHECK(options.jobs >= 1 && options.jobs <= CampaignOptions::kJobsMax);
  return Campaign(options, interrupted).Run(on_progress);
}

}  // namespace terrace::testing
