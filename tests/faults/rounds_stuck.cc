// A device that keeps an operation for good, or until it is thawed: calls end at their deadline,
// the device is offline until the operation ends, and no frame is lost or used too early.
#include <csignal>
#include <thread>

#include "tests/faults/loop_device.h"
#include "tests/faults/rounds.h"

namespace terrace::faults {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kBlocks = 12;
constexpr auto kShort = 300ms;  // a deadline that the stuck operation does not meet
constexpr std::uint32_t kStuckMs = 400;
constexpr std::uint64_t kFileSystemBytes = 48 << 20;
constexpr const char* kErrors = "terrace_nvme_errors_total";
constexpr const char* kOnline = "terrace_nvme_devices_online";

/// What DRAM has is served, and puts are, while the device is offline.
void GoesOnWithoutDevice(Subject& subject, Judge& judge, std::uint32_t chain) {
  subject.Await(kOnline, "", 0);
  subject.AwaitLines("device_offline", 1);
  subject.Expect(kErrors, "stuck", 1);
  const double declined = subject.Metric("terrace_nvme_blocks_declined_total", "offline");
  const Blocks put = subject.Put(chain, kBlocks, true);
  judge.Equal("blocks told offline", static_cast<double>(CountOf(put, NotDurable::kOffline)),
              kBlocks);
  subject.Expect("terrace_nvme_blocks_declined_total", "offline", declined + kBlocks);
  subject.MustHave(chain, kBlocks);
}

void ComesBack(Subject& subject) {
  subject.Await(kOnline, "", 1);
  subject.AwaitLines("device_online", 1);
  subject.ExpectNoLooseFrame();
  subject.Expect(kErrors, "stuck", 1);
  subject.Expect(kErrors, "read", 0);
  subject.Expect(kErrors, "write", 0);
}

void ReadsAreStuck(Scene& scene) {
  Judge& judge = scene.round.judge;
  Subject& subject = scene.subject;
  subject.MustMakeDurable(0, kBlocks);
  if (!scene.Restart()) return;
  scene.disk->Hold(DiskOp::kRead);
  const Blocks got = subject.Get(0, kBlocks, kShort);
  judge.Equal("blocks that ended with kTimeout",
              static_cast<double>(CountOf(got, StatusCode::kTimeout)), kBlocks);
  const std::uint64_t held = scene.disk->counts().held;
  judge.faults += held;
  judge.True(Breach::kNotRun, held > 0, "no read is held");
  // Nobody's while the device may still write into them.
  judge.Equal("frames that belong to no block", subject.LooseFrames(), static_cast<double>(held));
  GoesOnWithoutDevice(subject, judge, 1);
  const Blocks again = subject.Get(0, kBlocks, kShort);
  judge.Equal("blocks that are not to be had", static_cast<double>(CountOf(again, StatusCode::kOk)),
              0);
  judge.Equal("frames that belong to no block, later", subject.LooseFrames(),
              static_cast<double>(held));
  scene.disk->Heal();
  ComesBack(subject);
  subject.MustHave(0, kBlocks);
  subject.MustMakeDurable(1, kBlocks);
}

/// Writes, or syncs.
void WritesAreStuck(Scene& scene, DiskOp op) {
  Judge& judge = scene.round.judge;
  Subject& subject = scene.subject;
  subject.MustMakeDurable(0, kBlocks);
  scene.disk->Hold(op);
  const Blocks put = subject.Put(2, kBlocks, true, kShort);
  judge.Equal("blocks told timeout", static_cast<double>(CountOf(put, NotDurable::kTimeout)),
              kBlocks);
  const std::uint64_t held = scene.disk->counts().held;
  judge.faults += held;
  judge.True(Breach::kNotRun, held > 0, "no write is held");
  GoesOnWithoutDevice(subject, judge, 1);
  subject.MustHave(2, kBlocks);
  scene.disk->Heal();
  ComesBack(subject);
  subject.MustMakeDurable(1, kBlocks);
  subject.MustMakeDurable(2, kBlocks);
  if (!scene.Restart()) return;
  for (std::uint32_t chain = 0; chain < 3; ++chain) subject.MustHave(chain, kBlocks);
}

/// A file system that is frozen: its writes wait in the kernel.
void FileSystemIsFrozen(const Round& round) {
  auto made = SmallFileSystem::Make(round.MakeFolder("frozen"), kFileSystemBytes);
  if (!round.judge.Ran(made.status())) return;
  SmallFileSystem& disk = **made;
  Subject subject(round.programs, round.folder, round.judge);
  Settings settings;
  settings.folder = round.MakeFolder("store");
  settings.files = {disk.folder() + "/log"};
  settings.stuck_ms = kStuckMs;
  if (!round.judge.Ran(subject.Start(settings))) return;
  subject.MustMakeDurable(0, kBlocks);
  if (!round.judge.Ran(disk.Freeze())) return;
  ++round.judge.faults;
  const Blocks put = subject.Put(2, kBlocks, true, kShort);
  round.judge.Equal("blocks told timeout", static_cast<double>(CountOf(put, NotDurable::kTimeout)),
                    kBlocks);
  GoesOnWithoutDevice(subject, round.judge, 1);
  const bool thawed = round.judge.Ran(disk.Thaw());
  if (thawed) {
    ComesBack(subject);
    for (std::uint32_t chain = 1; chain < 3; ++chain) subject.MustMakeDurable(chain, kBlocks);
    subject.Kill();
    if (!round.judge.Ran(subject.Start(settings))) return;
    for (std::uint32_t chain = 0; chain < 3; ++chain) subject.MustHave(chain, kBlocks);
  }
  subject.Stop();
}

/// A daemon is told to stop while a device keeps an operation: it ends when the device does, or is
/// killed, and the next one finds everything.
void StoppedWhileStuck(Scene& scene) {
  Subject& subject = scene.subject;
  subject.MustMakeDurable(0, kBlocks);
  if (!scene.Restart()) return;
  scene.disk->Hold(DiskOp::kRead);
  (void)subject.Get(0, kBlocks, kShort);
  scene.round.judge.faults += scene.disk->counts().held;
  const bool killed = scene.round.Draw(0, 1) == 0;
  subject.daemon().Signal(killed ? SIGKILL : SIGTERM);
  std::this_thread::sleep_for(kShort);
  scene.disk->Heal();
  scene.round.judge.True(Breach::kLate, subject.daemon().WaitForEnd(kPatience),
                         "the daemon does not end though its device has answered");
  const crash::ProcessEnd& end = subject.daemon().end();
  scene.round.judge.True(Breach::kOther, killed ? end.Killed() : end.Clean(),
                         "the daemon ended with " + end.ToString());
  if (!scene.round.judge.Ran(subject.Start(scene.settings))) return;
  subject.MustHave(0, kBlocks);
}

}  // namespace

void RunStuck(const Round& round) {
  const std::uint32_t variant = round.number % 5;
  if (variant == 3) return FileSystemIsFrozen(round);
  Scene scene(round);
  scene.settings.stuck_ms = kStuckMs;
  if (!scene.Begin()) return;
  switch (variant) {
    case 0: ReadsAreStuck(scene); break;
    case 1: WritesAreStuck(scene, DiskOp::kWrite); break;
    case 2: WritesAreStuck(scene, DiskOp::kSync); break;
    default: StoppedWhileStuck(scene); break;
  }
  scene.subject.Stop();
}

}  // namespace terrace::faults
