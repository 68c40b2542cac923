// Starts on a device that does not answer everywhere, or that has another size than it had.
#include <algorithm>
#include <cerrno>

#include "tests/faults/log_map.h"
#include "tests/faults/rounds.h"
#include "tiers/nvme/format.h"

namespace terrace::faults {

namespace {

constexpr std::uint32_t kBlocks = 45;  // less than a segment has room for
constexpr std::uint32_t kChains = 4;
constexpr const char* kRecovered = "terrace_nvme_blocks_recovered";
constexpr const char* kIncomplete = "nvme_log_tail_incomplete";

void MustHaveAll(Scene& scene) {
  for (std::uint32_t chain = 0; chain < kChains; ++chain) scene.subject.MustHave(chain, kBlocks);
}

/// Blocks that gets of all chains were given.
std::uint64_t ServedOf(Scene& scene) {
  std::uint64_t served = 0;
  for (std::uint32_t chain = 0; chain < kChains; ++chain) {
    served += CountOf(scene.subject.Get(chain, kBlocks), StatusCode::kOk);
  }
  return served;
}

/// Pages of the newest segment cannot be read when the log's end is looked for.
void TailIsUnreadable(Scene& scene) {
  Judge& judge = scene.round.judge;
  scene.subject.Kill();
  std::vector<RecordAt> records = RecordsOn(scene.disk->medium());
  const std::uint32_t newest = records.back().segment;
  std::erase_if(records, [newest](const RecordAt& record) { return record.segment != newest; });
  const std::size_t first = scene.round.Draw(0, records.size() - 1);
  const std::size_t lost = scene.round.Draw(1, records.size() - first);
  const std::uint64_t bytes = lost * kRecordBytes;
  scene.disk->Inject(
      {.op = DiskOp::kRead, .error = EIO, .first = records[first].offset, .bytes = bytes});
  ++judge.faults;
  if (!judge.Ran(scene.subject.Start(scene.settings))) return;
  scene.subject.AwaitLines(kIncomplete, 1);
  judge.Equal("blocks served", static_cast<double>(ServedOf(scene)),
              static_cast<double>(kBlocks * kChains - lost));
  scene.disk->Heal();
  // Whatever its end: the next start looks again.
  if (!scene.Restart()) return;
  MustHaveAll(scene);
  scene.subject.Expect(kRecovered, "", kBlocks * kChains);
  judge.Equal("lines of an incomplete log", static_cast<double>(scene.subject.Lines(kIncomplete)),
              0);
}

void SegmentHeaderIsUnreadable(Scene& scene) {
  Judge& judge = scene.round.judge;
  scene.subject.Stop();
  const std::vector<RecordAt> records = RecordsOn(scene.disk->medium());
  const std::uint32_t segment = records[scene.round.Draw(0, records.size() - 1)].segment;
  const auto lost = static_cast<double>(std::ranges::count(records, segment, &RecordAt::segment));
  scene.disk->Inject({.op = DiskOp::kRead,
                      .error = EIO,
                      .first = SegmentOffset(scene.disk->medium(), segment),
                      .bytes = nvme::kPageBytes});
  ++judge.faults;
  if (!judge.Ran(scene.subject.Start(scene.settings))) return;
  scene.subject.AwaitLines("nvme_segment_header_missing", 1);
  scene.subject.AwaitLines("unreadable=1", 1);
  scene.subject.Expect(kRecovered, "", kBlocks * kChains - lost);
  judge.Equal("blocks served", static_cast<double>(ServedOf(scene)), kBlocks * kChains - lost);
  scene.disk->Heal();
  if (!scene.Restart()) return;
  MustHaveAll(scene);
  scene.subject.Expect(kRecovered, "", kBlocks * kChains);
}

void SuperblockIsUnreadable(Scene& scene) {
  scene.subject.Stop();
  scene.disk->Inject(
      {.op = DiskOp::kRead, .error = EIO, .first = 0, .bytes = 2 * nvme::kPageBytes});
  ++scene.round.judge.faults;
  scene.subject.Refused(scene.settings, {scene.disk->path(), "Input/output error"});
  scene.disk->Heal();
  if (scene.round.judge.Ran(scene.subject.Start(scene.settings))) MustHaveAll(scene);
}

/// The configuration, or the device, has another size than the store: it keeps its own, and says
/// so.
void AnotherSize(Scene& scene, bool device) {
  Judge& judge = scene.round.judge;
  scene.subject.Stop();
  const std::uint64_t made = scene.settings.capacity;
  if (device) {
    scene.disk->Resize(made + (16 << 20));
  } else {
    scene.settings.capacity = scene.round.Draw(0, 1) == 0 ? made + (16 << 20) : made - (8 << 20);
  }
  ++judge.faults;
  if (!judge.Ran(scene.subject.Start(scene.settings))) return;
  scene.subject.AwaitLines("bytes that it was made with", device ? 0 : 1);
  scene.subject.Expect(kRecovered, "", kBlocks * kChains);
  scene.subject.Expect("terrace_tier_capacity_bytes", "tier=\"nvme\"",
                       static_cast<double>(made - (1 << 20)));
  MustHaveAll(scene);
  if (!scene.Restart()) return;
  MustHaveAll(scene);
}

}  // namespace

void RunStart(const Round& round) {
  Scene scene(round);
  // So seldom that a start has all of the log to look at, unless the stop was clean.
  scene.settings.sync_ms = 60'000;
  scene.settings.errors_max = 1000;  // it stays online, and answers for each block
  if (!scene.Begin()) return;
  for (std::uint32_t chain = 0; chain < kChains; ++chain) {
    scene.subject.MustMakeDurable(chain, kBlocks);
  }
  switch (round.number % 5) {
    case 0: TailIsUnreadable(scene); break;
    case 1: SegmentHeaderIsUnreadable(scene); break;
    case 2: SuperblockIsUnreadable(scene); break;
    case 3: AnotherSize(scene, false); break;
    default: AnotherSize(scene, true); break;
  }
  scene.subject.Stop();
}

}  // namespace terrace::faults
