// A device that is slow: the kernel's throttle holds the daemon to a fraction of what it asks for.
// Calls end at their deadline, nothing counts as failed, and all is there when it is fast again.
#include "tests/faults/loop_device.h"
#include "tests/faults/rounds.h"

namespace terrace::faults {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kBlocks = 32;
constexpr std::uint64_t kDeviceBytes = 32 << 20;
constexpr std::uint64_t kSlow = 512 << 10;  // bytes a second: all blocks take more than 1 s
constexpr auto kShort = 250ms;

/// What the client was answered.
struct Answers {
  std::uint64_t asked = 0, hit = 0, not_hit = 0, late = 0;
  void Add(const Blocks& blocks) {
    asked += blocks.size();
    hit += CountOf(blocks, StatusCode::kOk);
    late += CountOf(blocks, StatusCode::kTimeout);
    not_hit += blocks.size() - CountOf(blocks, StatusCode::kOk);
  }
};

}  // namespace

void RunThrottled(const Round& round) {
  Judge& judge = round.judge;
  auto disk = FaultDisk::Mount(round.MakeFolder("mount"), kDeviceBytes);
  if (!judge.Ran(disk.status())) return;
  (*disk)->Resize(kDeviceBytes);
  auto loop = LoopDevice::Attach((*disk)->path());
  if (!judge.Ran(loop.status())) return;
  auto throttle = Throttle::Make((*loop)->path(), kSlow);
  if (!judge.Ran(throttle.status())) return;
  Subject subject(round.programs, round.folder, judge);
  Settings settings;
  settings.folder = round.MakeFolder("store");
  settings.files = {(*loop)->path()};
  settings.capacity = kDeviceBytes;
  settings.io_uring = round.Draw(0, 3) != 0;
  if (!judge.Ran(subject.Start(settings))) return;
  subject.MustMakeDurable(0, kBlocks);
  subject.Stop();
  if (!judge.Ran(subject.Start(settings))) return;
  if (!judge.Ran((*throttle)->Catch(subject.daemon().pid()))) return;
  ++judge.faults;

  Answers answers;
  for (int call = 0; call < 3; ++call) answers.Add(subject.Get(0, kBlocks, kShort));
  judge.True(Breach::kNotRun, answers.late > 0, "no get was late: the device is not slow");
  judge.True(Breach::kOther, answers.late == answers.not_hit,
             "a get of a slow device ended neither with kOk nor with kTimeout");
  // Shorter than its bytes take at that speed.
  const Blocks put = subject.Put(1, kBlocks, true, 750ms);
  const std::uint64_t told = CountOf(put, NotDurable::kTimeout);
  judge.True(Breach::kOther, told + DurableIn(put) == kBlocks,
             "a durable put ended neither durable nor with timeout");
  subject.Expect("terrace_nvme_blocks_declined_total", "timeout", static_cast<double>(told));
  subject.Expect("terrace_get_blocks_total", "", static_cast<double>(answers.asked));
  // A call whose answer came too late is kTimeout for all its blocks, also for those that came.
  const double hits = subject.Metric("terrace_get_blocks_hit_total");
  judge.True(Breach::kMiscounted, hits >= static_cast<double>(answers.hit),
             "the daemon counts fewer hits than there were");
  judge.Equal("blocks hit, missed or failed",
              hits + subject.Metric("terrace_get_blocks_missed_total") +
                  subject.Metric("terrace_get_blocks_failed_total"),
              static_cast<double>(answers.asked));
  subject.Expect("terrace_nvme_errors_total", "", 0);  // slow is neither failed nor stuck
  subject.Expect("terrace_nvme_devices_online", "", 1);
  subject.MustHave(1, kBlocks);  // from DRAM, whatever the device does

  if (!judge.Ran((*throttle)->Lift())) return;
  subject.MustHave(0, kBlocks);
  subject.MustMakeDurable(1, kBlocks);
  subject.ExpectNoLooseFrame();
  subject.Expect("terrace_nvme_errors_total", "", 0);
  subject.Expect("terrace_nvme_loads_failed_total", "", 0);
  subject.Stop();
  if (!judge.Ran(subject.Start(settings))) return;
  for (std::uint32_t chain = 0; chain < 2; ++chain) subject.MustHave(chain, kBlocks);
  subject.Stop();
}

}  // namespace terrace::faults
