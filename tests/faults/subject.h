// Subject: a daemon under test, its store, and one client that checks every byte that it gets.
//
// Model. One namespace with chains of blocks of kBlockBytes. A block is put once, or again after it
// was lost; the bytes of its last put that stored it are the only right ones.
//
// Thread: one. Lifetime: the judge outlives it. Failures of the test's own steps are a Status;
// what the daemon does wrong goes to the judge.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/terrace.hpp"
#include "tests/crash/crash_daemon.h"
#include "tests/faults/judge.h"

namespace terrace::faults {

inline constexpr std::uint64_t kBlockBytes = 16 << 10;
inline constexpr std::uint64_t kRecordBytes = kBlockBytes + 4096;  ///< on the device
/// For answers and recoveries that come by themselves, with room for a busy machine.
inline constexpr std::chrono::milliseconds kPatience{20'000};
/// What a call may take beyond its deadline (docs/fault-model.md: 1 s), and a busy machine's share.
inline constexpr std::chrono::milliseconds kBeyondDeadline{3'000};

struct Settings {
  std::string folder;              ///< nvme.folder
  std::vector<std::string> files;  ///< nvme.files
  std::uint64_t capacity = 32 << 20;
  std::uint64_t dram = 16 << 20;
  std::uint32_t reactors = 1;
  std::uint32_t errors_max = 8;
  std::uint32_t stuck_ms = 10'000;
  std::uint32_t sync_ms = 50;
  bool io_uring = true;
};

using Blocks = std::vector<BlockResult>;

/// Blocks of an answer that have that status.
std::uint64_t CountOf(const Blocks& blocks, StatusCode status);
/// Blocks of a durable put's answer that are no more than committed, for that reason.
std::uint64_t CountOf(const Blocks& blocks, NotDurable reason);
std::uint64_t DurableIn(const Blocks& blocks);

/// All that a file holds.
std::string TextOf(const std::string& path);

class Subject {
 public:
  /// `folder`: of the daemon's configuration and log.
  Subject(const std::string& programs, const std::string& folder, Judge& judge);

  /// Starts the daemon and connects.
  Status Start(const Settings& settings);
  /// A start that must be refused, and say all of `words`.
  void Refused(const Settings& settings, const std::vector<std::string>& words);
  /// SIGTERM; a daemon that does not end well goes to the judge.
  void Stop();
  void Kill();
  [[nodiscard]] crash::CrashDaemon& daemon() noexcept { return daemon_; }

  /// Blocks [0, count) of a chain, each with new bytes.
  Blocks Put(std::uint32_t chain, std::uint32_t count, bool durable,
             std::chrono::milliseconds limit = kPatience);
  /// Gets them and checks every byte of those that came.
  Blocks Get(std::uint32_t chain, std::uint32_t count, std::chrono::milliseconds limit = kPatience);
  Blocks Remove(std::uint32_t chain, std::uint32_t count);
  /// All of them are there, or kLost.
  void MustHave(std::uint32_t chain, std::uint32_t count);
  /// All of them become durable, or kOther.
  void MustMakeDurable(std::uint32_t chain, std::uint32_t count);

  /// A metric, summed over its labels that contain `label`.
  double Metric(std::string_view name, std::string_view label = "");
  /// The judge compares it.
  void Expect(std::string_view name, std::string_view label, double wanted);
  /// Until the metric has that value; kLate when it takes longer than kPatience.
  void Await(std::string_view name, std::string_view label, double wanted);
  /// No frame of DRAM but those of blocks, and none in quarantine.
  void ExpectNoLooseFrame();
  /// Frames of DRAM that belong to no block.
  double LooseFrames();

  /// What the daemon has logged since its last start.
  [[nodiscard]] std::string Log() const;
  /// Lines of it that hold the words.
  [[nodiscard]] std::uint64_t Lines(std::string_view words) const;
  /// Lines come a moment after their event.
  void AwaitLines(std::string_view words, std::uint64_t count);

 private:
  [[nodiscard]] std::string ConfigOf(const Settings& settings) const;
  Status Connect();
  [[nodiscard]] Chain ChainOf(std::uint32_t chain, std::uint32_t count) const;
  [[nodiscard]] std::vector<BlockBuffer> Buffers(std::uint32_t count) const;
  Blocks Judged(const char* what, const Result<Blocks>& result, std::uint32_t count,
                std::chrono::steady_clock::time_point began, std::chrono::milliseconds limit);

  const std::string folder_;
  Judge& judge_;
  crash::CrashDaemon daemon_;
  std::unique_ptr<Client> client_;
  RegionId region_;
  NamespaceId space_;
  std::size_t log_from_ = 0;
  std::uint32_t version_ = 0;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> stored_;  // [block]: version
};

}  // namespace terrace::faults
