// A device that answers EIO, or ENOSPC, for a while: every answer of it is counted once, no block
// is lost, and it goes offline when there are too many.
#include <cerrno>

#include "tests/faults/rounds.h"

namespace terrace::faults {

namespace {

constexpr std::uint32_t kBlocks = 40;
constexpr std::uint32_t kErrorsMax = 8;
constexpr const char* kErrors = "terrace_nvme_errors_total";
constexpr const char* kDeclined = "terrace_nvme_blocks_declined_total";

void ReadsFail(Scene& scene) {
  Judge& judge = scene.round.judge;
  scene.subject.MustMakeDurable(0, kBlocks);
  if (!scene.Restart()) return;
  const std::uint64_t failures = scene.round.Draw(1, kErrorsMax - 1);
  const std::uint64_t before = scene.disk->counts().failed_reads;
  scene.disk->Inject({.op = DiskOp::kRead, .error = EIO, .times = failures});
  const Blocks got = scene.subject.Get(0, kBlocks);
  judge.faults += failures;
  const auto counted = static_cast<double>(failures);
  judge.Equal("reads that the device failed",
              static_cast<double>(scene.disk->counts().failed_reads - before), counted);
  judge.Equal("misses", static_cast<double>(CountOf(got, StatusCode::kMiss)), counted);
  judge.Equal("hits", static_cast<double>(CountOf(got, StatusCode::kOk)), kBlocks - counted);
  scene.subject.Expect(kErrors, "read", counted);
  scene.subject.Expect("terrace_nvme_loads_failed_total", "device", counted);
  scene.subject.Expect("terrace_nvme_loads_total", "", kBlocks - counted);
  scene.subject.Expect("terrace_get_blocks_missed_total", "", counted);
  scene.subject.MustHave(0, kBlocks);  // they stayed, for the next get
  scene.subject.Expect("terrace_nvme_devices_online", "", 1);
  scene.subject.ExpectNoLooseFrame();
}

/// Writes or syncs fail while blocks are to become durable.
void WritesFail(Scene& scene, DiskOp op) {
  Judge& judge = scene.round.judge;
  scene.subject.MustMakeDurable(1, 4);
  const std::uint64_t failures = scene.round.Draw(1, kErrorsMax - 1);
  const int error = scene.round.Draw(0, 1) == 0 ? EIO : ENOSPC;
  scene.disk->Inject({.op = op, .error = error, .times = failures});
  std::uint64_t told = 0;
  std::uint32_t chain = 10;
  const auto failed = [&scene, op] {
    const DiskCounts counts = scene.disk->counts();
    return op == DiskOp::kWrite ? counts.failed_writes : counts.failed_syncs;
  };
  // Puts share syncs, so it may take several until all have failed.
  while (failed() < failures && chain < 30) {
    const Blocks put = scene.subject.Put(chain++, kBlocks, true);
    told += CountOf(put, NotDurable::kWriteFailed);
    judge.Equal("blocks of a put that are durable, or were told why not",
                static_cast<double>(DurableIn(put) + CountOf(put, NotDurable::kWriteFailed)),
                kBlocks);
  }
  judge.faults += failures;
  judge.Equal("operations that the device failed", static_cast<double>(failed()),
              static_cast<double>(failures));
  scene.subject.Expect(kErrors, op == DiskOp::kWrite ? "write" : "sync",
                       static_cast<double>(failures));
  scene.subject.Expect(kErrors, op == DiskOp::kWrite ? "sync" : "write", 0);
  scene.subject.Expect(kDeclined, "write_failed", static_cast<double>(told));
  scene.disk->Heal();
  for (std::uint32_t put = 10; put < chain; ++put) {
    scene.subject.MustHave(put, kBlocks);  // from DRAM
    scene.subject.MustMakeDurable(put, kBlocks);
  }
  if (!scene.Restart()) return;
  for (std::uint32_t put = 10; put < chain; ++put) scene.subject.MustHave(put, kBlocks);
  scene.subject.MustHave(1, 4);
  scene.subject.Expect(kErrors, "", 0);
}

/// `terracectl stat` says what the metrics say.
void StatSays(Scene& scene, const std::string& words) {
  const std::string output = scene.round.folder + "/stat";
  const Result<crash::ProcessEnd> ran = crash::RunProgram(
      {scene.round.programs + "/terracectl", "stat", "--connect", scene.subject.daemon().address()},
      output);
  if (!scene.round.judge.Ran(ran.status())) return;
  scene.round.judge.True(Breach::kOther, ran->Clean(), "terracectl stat: " + ran->ToString());
  const std::string text = TextOf(output);
  scene.round.judge.True(Breach::kOther, text.find(words) != std::string::npos,
                         "no '" + words + "' in: " + text);
}

void GoesOfflineAndComesBack(Scene& scene) {
  Judge& judge = scene.round.judge;
  scene.subject.MustMakeDurable(0, kBlocks);
  if (!scene.Restart()) return;
  const DiskCounts before = scene.disk->counts();
  for (const DiskOp op : {DiskOp::kRead, DiskOp::kWrite, DiskOp::kSync}) {
    scene.disk->Inject({.op = op, .error = EIO});
  }
  const Blocks got = scene.subject.Get(0, kBlocks);
  judge.Equal("misses", static_cast<double>(CountOf(got, StatusCode::kMiss)), kBlocks);
  scene.subject.Expect("terrace_nvme_devices_online", "", 0);
  const auto failed = static_cast<double>(scene.disk->counts().failed_reads - before.failed_reads);
  judge.faults += static_cast<std::uint64_t>(failed);
  scene.subject.Expect(kErrors, "read", failed);
  scene.subject.Expect(kErrors, "write", 0);
  scene.subject.Expect("terrace_nvme_loads_failed_total", "device", kBlocks);
  scene.subject.AwaitLines("device_offline", 1);
  StatSays(scene, "0 of 1");
  const Blocks put = scene.subject.Put(1, kBlocks, true);
  judge.Equal("blocks told offline", static_cast<double>(CountOf(put, NotDurable::kOffline)),
              kBlocks);
  scene.subject.Expect(kDeclined, "offline", kBlocks);
  scene.subject.MustHave(1, kBlocks);
  scene.subject.ExpectNoLooseFrame();
  scene.disk->Heal();
  scene.subject.Await("terrace_nvme_devices_online", "", 1);
  scene.subject.AwaitLines("device_online", 1);
  StatSays(scene, "1 of 1");
  scene.subject.MustHave(0, kBlocks);
  scene.subject.MustMakeDurable(1, kBlocks);
  if (!scene.Restart()) return;
  scene.subject.MustHave(0, kBlocks);
  scene.subject.MustHave(1, kBlocks);
}

}  // namespace

void RunEio(const Round& round) {
  Scene scene(round);
  scene.settings.errors_max = kErrorsMax;
  if (!scene.Begin()) return;
  switch (round.number % 4) {
    case 0: ReadsFail(scene); break;
    case 1: WritesFail(scene, DiskOp::kWrite); break;
    case 2: WritesFail(scene, DiskOp::kSync); break;
    default: GoesOfflineAndComesBack(scene); break;
  }
  scene.subject.Stop();
}

}  // namespace terrace::faults
