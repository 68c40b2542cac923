// A file system that is full: the index's during load and at a start, and the log's when it is
// made.
#include <sys/statvfs.h>

#include <filesystem>

#include "tests/faults/loop_device.h"
#include "tests/faults/rounds.h"

namespace terrace::faults {

namespace {

constexpr std::uint64_t kFileSystemBytes = 32 << 20;
/// For the index before it is filled: a start takes 1 MiB.
constexpr std::uint64_t kLeft = 1500 << 10;
constexpr std::uint32_t kBlocks = 64;
constexpr std::uint32_t kChainsMax = 400;
constexpr const char* kDeclined = "terrace_nvme_blocks_declined_total";
constexpr const char* kHealthy = "terrace_nvme_index_healthy";

struct Told {
  std::uint64_t offline = 0, write_failed = 0, queue_full = 0;
  void Add(const Blocks& blocks) {
    offline += CountOf(blocks, NotDurable::kOffline);
    write_failed += CountOf(blocks, NotDurable::kWriteFailed);
    queue_full += CountOf(blocks, NotDurable::kQueueFull);
  }
};

/// Removes blocks while the index fails: what was answered kIo is what is counted.
void RemovalsAreCounted(Subject& subject, Judge& judge, std::uint32_t chain) {
  const double before = subject.Metric("terrace_removals_not_logged_total");
  const Blocks removed = subject.Remove(chain, 8);
  judge.Equal("removals answered kIo", static_cast<double>(CountOf(removed, StatusCode::kIo)), 8);
  subject.Expect("terrace_removals_not_logged_total", "", before + 8);
}

void IndexRunsFull(Scene& scene, SmallFileSystem& disk) {
  Judge& judge = scene.round.judge;
  Subject& subject = scene.subject;
  if (!judge.Ran(disk.Fill())) return;
  ++judge.faults;
  Told told;
  std::uint32_t durable = 0;  // the last chain all of which is
  std::uint32_t last = 10;
  bool failed = false;
  for (; last < 10 + kChainsMax && !failed; ++last) {
    const Blocks put = subject.Put(last, kBlocks, true);
    judge.Equal("blocks stored", static_cast<double>(CountOf(put, StatusCode::kOk)), kBlocks);
    told.Add(put);
    if (DurableIn(put) == kBlocks) durable = last;
    failed = subject.Metric(kHealthy) == 0;
  }
  if (!failed) subject.Await(kHealthy, "", 0);
  told.Add(subject.Put(5, kBlocks, true));
  judge.Note(told.write_failed > 0 ? "write_failed_told" : "offline_told");
  subject.Expect(kDeclined, "offline", static_cast<double>(told.offline));
  subject.Expect(kDeclined, "write_failed", static_cast<double>(told.write_failed));
  subject.Expect(kDeclined, "queue_full", static_cast<double>(told.queue_full));
  judge.True(Breach::kOther, told.offline > 0, "nobody was told that the tier is offline");
  judge.True(Breach::kOther, subject.Metric("terrace_nvme_index_failures_total") > 0,
             "the index fails, and no failure is counted");
  subject.Expect("terrace_nvme_errors_total", "", 0);  // the log's device is well
  for (const std::uint32_t chain : {durable, 5U, last - 1}) subject.MustHave(chain, kBlocks);
  RemovalsAreCounted(subject, judge, durable);
  judge.Ran(disk.Free());
  subject.Await(kHealthy, "", 1);
  for (const std::uint32_t chain : {durable, 5U, last - 1}) subject.MustMakeDurable(chain, kBlocks);
  if (!scene.Restart()) return;
  for (const std::uint32_t chain : {durable, 5U, last - 1}) subject.MustHave(chain, kBlocks);
}

/// A start when nothing more can be written beside the index: refused with the reason, or it
/// serves; with room again all is there.
void StartsOnAFullDisk(Scene& scene, SmallFileSystem& disk) {
  Judge& judge = scene.round.judge;
  Subject& subject = scene.subject;
  for (std::uint32_t chain = 0; chain < 3; ++chain) subject.MustMakeDurable(chain, kBlocks);
  if (scene.round.Draw(0, 1) == 0) {
    subject.Stop();
  } else {
    subject.Kill();
  }
  if (!judge.Ran(disk.Fill())) return;
  ++judge.faults;
  const Status started = subject.Start(scene.settings);
  if (started.ok()) {
    judge.Note("start_served");
    for (std::uint32_t chain = 0; chain < 3; ++chain) subject.MustHave(chain, kBlocks);
    subject.Stop();
  } else {
    judge.Note("start_refused");
    // The first thing that a start writes is a line in `starts`, which may fit or not.
    judge.Equal("lines that name the reason",
                static_cast<double>(subject.Lines("bytes left on its file system") +
                                    subject.Lines("cannot be written to")),
                1);
    subject.Kill();
  }
  if (!judge.Ran(disk.Free()) || !judge.Ran(subject.Start(scene.settings))) return;
  for (std::uint32_t chain = 0; chain < 3; ++chain) {
    subject.MustHave(chain, kBlocks);
    subject.MustMakeDurable(chain, kBlocks);
  }
}

/// The log is preallocated: too little room is told before anything is kept.
void LogDoesNotFit(const Round& round, SmallFileSystem& disk) {
  Subject subject(round.programs, round.folder, round.judge);
  Settings settings;
  settings.folder = round.MakeFolder("store");
  settings.files = {disk.folder() + "/log"};
  settings.capacity = kFileSystemBytes + (1 << 20);
  subject.Refused(settings, {"bytes asked", "bytes left", settings.files.front()});
  ++round.judge.faults;
  round.judge.True(Breach::kOther, !std::filesystem::exists(settings.files.front()),
                   "a refused start left its log behind");
  settings.capacity = 18 << 20;
  if (!round.judge.Ran(subject.Start(settings))) return;
  subject.MustMakeDurable(0, kBlocks);
  // Full around the log: it has what it needs already.
  if (!round.judge.Ran(disk.Fill())) return;
  ++round.judge.faults;
  for (std::uint32_t chain = 1; chain < 20; ++chain) subject.MustMakeDurable(chain, kBlocks);
  subject.Expect("terrace_nvme_errors_total", "", 0);
  subject.MustHave(19, kBlocks);
  subject.Stop();
}

}  // namespace

void RunEnospc(const Round& round) {
  auto made = SmallFileSystem::Make(round.MakeFolder("small"), kFileSystemBytes);
  if (!round.judge.Ran(made.status())) return;
  if (round.number % 3 == 2) return LogDoesNotFit(round, **made);
  Scene scene(round);
  scene.settings.folder = (*made)->folder() + "/store";
  scene.settings.dram = 64 << 20;
  if (round.number % 3 == 0 && !round.judge.Ran((*made)->Fill(kLeft))) return;
  if (!scene.Begin()) return;
  if (round.number % 3 == 0) {
    IndexRunsFull(scene, **made);
  } else {
    StartsOnAFullDisk(scene, **made);
  }
  scene.subject.Stop();
}

}  // namespace terrace::faults
