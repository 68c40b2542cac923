// Raw block devices: loop devices over disks that fail. Warm after any end, refused when they are
// somebody else's, and one that fails takes only itself offline.
#include <sys/mount.h>

#include <algorithm>
#include <cerrno>

#include "tests/faults/loop_device.h"
#include "tests/faults/rounds.h"

namespace terrace::faults {

namespace {

constexpr std::uint64_t kDeviceBytes = 24 << 20;
constexpr std::uint32_t kBlocks = 24;
constexpr const char* kErrors = "terrace_nvme_errors_total";
constexpr const char* kOnline = "terrace_nvme_devices_online";

/// Disks under loop devices under a daemon; healed before the daemon is ended.
struct RawScene {
  RawScene(const Round& the_round, std::uint32_t devices)
      : round(the_round), subject(the_round.programs, the_round.folder, the_round.judge) {
    settings.folder = round.MakeFolder("store");
    settings.capacity = devices * kDeviceBytes;
    settings.errors_max = 4;
    settings.io_uring = round.Draw(0, 3) != 0;
  }
  ~RawScene() {
    for (const auto& disk : disks) disk->Heal();
    subject.Kill();
    loops.clear();  // before what they lie on
  }
  RawScene(const RawScene&) = delete;
  RawScene& operator=(const RawScene&) = delete;

  bool Attach(std::uint32_t devices) {
    for (std::uint32_t number = 0; number < devices; ++number) {
      auto disk = FaultDisk::Mount(round.MakeFolder("mount" + std::to_string(number)), 64 << 20);
      if (!round.judge.Ran(disk.status())) return false;
      disks.push_back(std::move(disk).value());
      disks.back()->Resize(kDeviceBytes);
      auto loop = LoopDevice::Attach(disks.back()->path());
      if (!round.judge.Ran(loop.status())) return false;
      loops.push_back(std::move(loop).value());
      settings.files.push_back(loops.back()->path());
    }
    return true;
  }

  const Round& round;
  Settings settings;
  std::vector<std::unique_ptr<FaultDisk>> disks;
  std::vector<std::unique_ptr<LoopDevice>> loops;
  Subject subject;
};

void WarmAfterAnyEnd(RawScene& scene, std::uint32_t devices) {
  if (!scene.Attach(devices) || !scene.round.judge.Ran(scene.subject.Start(scene.settings))) return;
  std::uint64_t written = 0;
  for (std::uint32_t life = 0; life < 3; ++life) {
    scene.subject.MustMakeDurable(life, kBlocks);
    if (scene.round.Draw(0, 1) == 0) {
      scene.subject.Kill();
    } else {
      scene.subject.Stop();
    }
    if (!scene.round.judge.Ran(scene.subject.Start(scene.settings))) return;
    scene.subject.Expect("terrace_nvme_blocks_recovered", "", (life + 1) * kBlocks);
    for (std::uint32_t chain = 0; chain <= life; ++chain) scene.subject.MustHave(chain, kBlocks);
    scene.subject.Expect(kErrors, "", 0);
  }
  for (const auto& disk : scene.disks) written += disk->counts().writes > 0 ? 1 : 0;
  scene.round.judge.Equal("devices that were written", static_cast<double>(written), devices);
  ++scene.round.judge.faults;  // the ends of the daemon
}

std::vector<std::byte> Copy(FaultDisk& disk) {
  const std::span<const std::byte> medium = disk.medium().first(kDeviceBytes);
  return {medium.begin(), medium.end()};
}

/// Somebody else's file system, mounted or not; another daemon's store.
void RefusesWhatIsNotItsOwn(RawScene& scene) {
  Judge& judge = scene.round.judge;
  if (!scene.Attach(1)) return;
  FaultDisk& disk = *scene.disks.front();
  const std::string device = scene.settings.files.front();
  const auto made =
      crash::RunProgram({"/usr/sbin/mkfs.ext4", "-q", "-F", device}, scene.round.folder + "/mkfs");
  if (!judge.Ran(made.status())) return;
  judge.True(Breach::kNotRun, made->Clean(), "mkfs.ext4: " + made->ToString());
  const std::vector<std::byte> before = Copy(disk);
  scene.subject.Refused(scene.settings, {device, "holds something else"});
  judge.True(Breach::kWrong, Copy(disk) == before, "a foreign device was written to");
  const std::string mounted = scene.round.MakeFolder("mounted");
  if (::mount(device.c_str(), mounted.c_str(), "ext4", MS_RDONLY, "") != 0) {
    return judge.Report(Breach::kNotRun, "mount " + device);
  }
  scene.subject.Refused(scene.settings, {device, "in use"});
  ::umount2(mounted.c_str(), MNT_DETACH);
  std::ranges::fill(disk.medium(), std::byte{});
  judge.faults += 2;
  if (!judge.Ran(scene.subject.Start(scene.settings))) return;
  scene.subject.MustMakeDurable(0, kBlocks);
  Round second{.programs = scene.round.programs,
               .folder = scene.round.MakeFolder("second"),
               .number = scene.round.number,
               .random = scene.round.random,
               .judge = judge};
  Subject other(second.programs, second.folder, judge);
  Settings theirs = scene.settings;
  theirs.folder = second.MakeFolder("store");
  other.Refused(theirs, {device, "in use"});
  ++judge.faults;
  scene.subject.MustHave(0, kBlocks);
  scene.subject.Kill();
  if (!judge.Ran(scene.subject.Start(scene.settings))) return;
  scene.subject.MustHave(0, kBlocks);
}

/// Blocks of that chain that are served.
std::uint64_t Served(Subject& subject, std::uint32_t chain) {
  return CountOf(subject.Get(chain, kBlocks), StatusCode::kOk);
}

void OneOfTwoFails(RawScene& scene) {
  Judge& judge = scene.round.judge;
  Subject& subject = scene.subject;
  if (!scene.Attach(2) || !judge.Ran(subject.Start(scene.settings))) return;
  subject.MustMakeDurable(0, kBlocks);
  subject.Stop();
  if (!judge.Ran(subject.Start(scene.settings))) return;
  const std::uint64_t victim = scene.round.Draw(0, 1);
  FaultDisk& disk = *scene.disks[victim];
  for (const DiskOp op : {DiskOp::kRead, DiskOp::kWrite, DiskOp::kSync}) {
    disk.Inject({.op = op, .error = EIO});
  }
  const std::uint64_t served = Served(subject, 0);
  const std::uint64_t missed = kBlocks - served;
  judge.faults += missed;
  judge.True(Breach::kNotRun, missed >= scene.settings.errors_max && served > 0,
             "the blocks do not lie on both devices: " + std::to_string(served) + " served");
  subject.Expect("terrace_nvme_loads_failed_total", "device", static_cast<double>(missed));
  subject.Expect(kOnline, "", 1);
  subject.AwaitLines("device_offline", 1);
  const std::uint64_t named = subject.Lines(scene.settings.files[victim] + " reason");
  judge.True(Breach::kOther, named == 1, "the line device_offline does not name the device");
  subject.MustMakeDurable(1, kBlocks);  // on the other one
  judge.Equal("blocks served by the other device", static_cast<double>(Served(subject, 0)),
              static_cast<double>(served));
  disk.Heal();
  subject.Await(kOnline, "", 2);
  subject.AwaitLines("device_online", 1);
  subject.MustHave(0, kBlocks);
  subject.Kill();
  if (!judge.Ran(subject.Start(scene.settings))) return;
  for (std::uint32_t chain = 0; chain < 2; ++chain) subject.MustHave(chain, kBlocks);
}

}  // namespace

void RunRaw(const Round& round) {
  const std::uint32_t variant = round.number % 4;
  RawScene scene(round, variant == 1 || variant == 3 ? 2 : 1);
  switch (variant) {
    case 0: WarmAfterAnyEnd(scene, 1); break;
    case 1: WarmAfterAnyEnd(scene, 2); break;
    case 2: RefusesWhatIsNotItsOwn(scene); break;
    default: OneOfTwoFails(scene); break;
  }
  scene.subject.Stop();
}

}  // namespace terrace::faults
