#include "tests/crash/verify.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace terrace::crash {

namespace {

using namespace std::chrono_literals;

/// Gets of blocks that are neither there nor missing, e.g. because no frame was free.
constexpr int kTriesMax = 20;
constexpr auto kTryPause = 50ms;
constexpr auto kDrainWait = 10s;
constexpr auto kDrainPoll = 5ms;

bool Decided(StatusCode code) { return code == StatusCode::kOk || code == StatusCode::kMiss; }

/// A stretch until each block of it was served or missed, at least once.
Status VerifyStretch(BlockClient& client, const Stretch& stretch, Oracle& oracle,
                     const std::function<bool(std::uint32_t)>& came_round, Findings& findings) {
  StatusCode undecided = StatusCode::kOk;
  for (int attempt = 0; attempt < kTriesMax; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(kTryPause);
    std::vector<std::uint32_t> durable;
    for (std::uint32_t index = 0; index < stretch.count; ++index) {
      durable.push_back(oracle.DurableLife(
          {.space = stretch.space, .chain = stretch.chain, .position = stretch.first + index}));
    }
    const Result<std::vector<BlockResult>> results = client.Fetch(stretch);
    if (results.code() == StatusCode::kPeerDead) return results.status();
    undecided = results.ok() ? StatusCode::kOk : results.code();
    for (std::uint32_t index = 0; results.ok() && index < stretch.count; ++index) {
      const StatusCode code = (*results)[index].status;
      if (code == StatusCode::kPeerDead) return Status(code, "the daemon is gone");
      if (!Decided(code)) undecided = code;
      if (code != StatusCode::kMiss || durable[index] == Oracle::kNone) continue;
      const Place place{
          .space = stretch.space, .chain = stretch.chain, .position = stretch.first + index};
      if (!came_round(durable[index])) {
        findings.Report(Finding::kLost, "durable since life " + std::to_string(durable[index]) +
                                            ": " + oracle.Describe(place));
      }
      oracle.Forgive(place);
    }
    if (undecided == StatusCode::kOk) return {};
  }
  return {StatusCode::kInternal, "a get answered " + std::string(StatusCodeName(undecided)) + " " +
                                     std::to_string(kTriesMax) + " times"};
}

double Sum(const std::vector<Sample>& samples, std::string_view name, std::string_view label) {
  double sum = 0;
  for (const Sample& sample : samples) {
    if (sample.name == name && sample.labels.find(label) != std::string::npos) sum += sample.value;
  }
  return sum;
}

struct Frames {
  double allocated = 0;
  double blocks = 0;
  double quarantined = 0;
  double queue_bytes = 0;
  [[nodiscard]] double Leaked() const { return std::abs(allocated - blocks) + quarantined; }
};

Frames FramesOf(const std::vector<Sample>& samples, bool emptied) {
  return {.allocated = Sum(samples, "terrace_tier_frames", "tier=\"dram\""),
          .blocks = emptied ? 0 : Sum(samples, "terrace_tier_blocks", "tier=\"dram\""),
          .quarantined = Sum(samples, "terrace_quarantined_frames", ""),
          .queue_bytes = Sum(samples, "terrace_nvme_write_queue_bytes", "")};
}

}  // namespace

Status VerifyStore(BlockClient& client, const std::vector<SpacePlan>& spaces, Oracle& oracle,
                   const std::function<bool(std::uint32_t life)>& came_round, Findings& findings) {
  Status opened = client.Open(spaces);
  if (!opened.ok()) return opened;
  for (std::uint32_t space = 0; space < spaces.size(); ++space) {
    for (std::uint32_t chain = 0; chain < spaces[space].chains; ++chain) {
      Status looked = VerifyStretch(
          client, {.space = space, .chain = chain, .first = 0, .count = spaces[space].length},
          oracle, came_round, findings);
      if (!looked.ok()) return looked;
    }
  }
  return {};
}

Status CheckFrames(Client& client, bool emptied, Findings& findings) {
  const auto deadline = std::chrono::steady_clock::now() + kDrainWait;
  Frames frames;
  do {
    const Result<std::vector<Sample>> samples = client.Stat(In(kDrainWait));
    if (!samples.ok()) return samples.status();
    frames = FramesOf(*samples, emptied);
    // No sample at all would look like a daemon that leaks nothing.
    if (Sum(*samples, "terrace_tier_capacity_bytes", "tier=\"dram\"") <= 0) {
      return {StatusCode::kInternal, "the daemon's counters do not name its DRAM"};
    }
    if (frames.Leaked() == 0 && frames.queue_bytes == 0) return {};
    std::this_thread::sleep_for(kDrainPoll);
  } while (std::chrono::steady_clock::now() < deadline);
  if (frames.Leaked() == 0) {
    return {StatusCode::kInternal,
            std::to_string(frames.queue_bytes) + " bytes still wait to be written"};
  }
  findings.Report(Finding::kLeaked,
                  std::to_string(frames.allocated) + " frames are allocated, " +
                      std::to_string(frames.blocks) + " blocks are in DRAM, " +
                      std::to_string(frames.quarantined) + " wait for their transport",
                  static_cast<std::uint64_t>(frames.Leaked()));
  return {};
}

}  // namespace terrace::crash
