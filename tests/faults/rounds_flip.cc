// One flipped bit in each kind of file that a store has. On the log: one record, one miss, one
// count. In the index's files: rebuilt, or of no consequence; every block is served either way.
#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

#include "tests/faults/log_map.h"
#include "tests/faults/rounds.h"
#include "tiers/nvme/format.h"

namespace terrace::faults {

namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kBlocks = 60;  // of a chain: more than a segment has room for
constexpr std::uint32_t kChains = 3;
constexpr std::uint32_t kRemoved = 9;  // a chain that must stay away
constexpr const char* kErrors = "terrace_nvme_errors_total";
constexpr const char* kLoadsFailed = "terrace_nvme_loads_failed_total";

/// Blocks of all chains that a get misses; anything but kOk and kMiss is a breach.
std::uint64_t MissedOf(Scene& scene) {
  std::uint64_t missed = 0;
  for (std::uint32_t chain = 0; chain < kChains; ++chain) {
    const Blocks got = scene.subject.Get(chain, kBlocks);
    missed += CountOf(got, StatusCode::kMiss);
    scene.round.judge.Equal(
        "blocks hit or missed",
        static_cast<double>(CountOf(got, StatusCode::kMiss) + CountOf(got, StatusCode::kOk)),
        kBlocks);
  }
  return missed;
}

void PutAgainAndRestart(Scene& scene) {
  for (std::uint32_t chain = 0; chain < kChains; ++chain) {
    scene.subject.MustMakeDurable(chain, kBlocks);
    scene.subject.MustHave(chain, kBlocks);
  }
  if (!scene.Restart()) return;
  for (std::uint32_t chain = 0; chain < kChains; ++chain) scene.subject.MustHave(chain, kBlocks);
}

/// Bits of several records, in their header or in their payload.
void Records(Scene& scene, bool header) {
  Judge& judge = scene.round.judge;
  scene.subject.Stop();  // so that each record has its entry in the index
  std::vector<RecordAt> records = RecordsOn(scene.disk->medium());
  for (std::size_t left = records.size(); left > 1; --left) {  // in any order
    std::swap(records[left - 1], records[scene.round.Draw(0, left - 1)]);
  }
  const std::uint64_t flips = scene.round.Draw(1, 5);
  for (std::uint64_t flip = 0; flip < flips; ++flip) {
    const RecordAt& record = records[flip];
    const std::uint64_t from = record.offset + (header ? 0 : nvme::kPageBytes);
    const std::uint64_t bytes = header ? nvme::kPageBytes : record.payload_bytes;
    FlipBit(scene.disk->medium(), from * 8 + scene.round.Draw(0, bytes * 8 - 1));
  }
  judge.faults += flips;
  if (!judge.Ran(scene.subject.Start(scene.settings))) return;
  const auto counted = static_cast<double>(flips);
  judge.Equal("blocks missed", static_cast<double>(MissedOf(scene)), counted);
  // Read twice, to know a flip on the way from one on the medium.
  scene.subject.Expect(kErrors, "bad_header", header ? 2 * counted : 0);
  scene.subject.Expect(kErrors, "bad_payload", header ? 0 : 2 * counted);
  scene.subject.Expect(kLoadsFailed, "corrupt", counted);
  scene.subject.Expect(kLoadsFailed, "", counted);
  judge.Equal("blocks missed, again", static_cast<double>(MissedOf(scene)), counted);
  scene.subject.Expect(kLoadsFailed, "corrupt", counted);  // forgotten: not read again
  PutAgainAndRestart(scene);
}

/// On the way, the medium is well: read again, and right.
void OnTheWay(Scene& scene) {
  if (!scene.Restart()) return;
  const std::uint64_t before = scene.disk->counts().failed_reads;
  for (std::uint32_t chain = 0; chain < kChains; ++chain) {
    scene.disk->Inject({.op = DiskOp::kRead, .error = FaultDisk::kFlipBit, .times = 1});
    scene.subject.MustHave(chain, kBlocks);
  }
  const std::uint64_t flips = scene.disk->counts().failed_reads - before;
  scene.round.judge.faults += flips;
  scene.round.judge.Equal("bits that were flipped", static_cast<double>(flips), kChains);
  scene.subject.Expect(kErrors, "bad_", kChains);
  scene.subject.Expect(kLoadsFailed, "", 0);
}

void SegmentHeaderOf(Scene& scene) {
  Judge& judge = scene.round.judge;
  scene.subject.Stop();
  const std::vector<RecordAt> records = RecordsOn(scene.disk->medium());
  const std::uint32_t segment = records[scene.round.Draw(0, records.size() - 1)].segment;
  const auto lost = static_cast<double>(std::ranges::count(records, segment, &RecordAt::segment));
  const std::uint64_t offset = SegmentOffset(scene.disk->medium(), segment);
  FlipBit(scene.disk->medium(), offset * 8 + scene.round.Draw(0, nvme::kPageBytes * 8 - 1));
  ++judge.faults;
  if (!judge.Ran(scene.subject.Start(scene.settings))) return;
  judge.Equal("blocks missed", static_cast<double>(MissedOf(scene)), lost);
  scene.subject.Expect("terrace_nvme_blocks_recovered", "", kBlocks * kChains - lost);
  scene.subject.AwaitLines("nvme_segment_header_missing", 1);
  scene.subject.AwaitLines("blocks=" + std::to_string(static_cast<int>(lost)) + " unreadable=0", 1);
  scene.subject.Expect(kErrors, "", 0);
  PutAgainAndRestart(scene);
}

/// Page 0, page 1, or both.
void Superblocks(Scene& scene, std::uint32_t pages) {
  Judge& judge = scene.round.judge;
  scene.subject.Stop();
  const std::span<std::byte> medium = scene.disk->medium();
  const std::vector<std::byte> good(medium.begin(), medium.begin() + 2 * nvme::kPageBytes);
  for (std::uint32_t page = 0; page < 2; ++page) {
    if ((pages & (1U << page)) == 0) continue;
    // One of four among magic and version, which are looked at first.
    const std::uint64_t bits = scene.round.Draw(0, 3) == 0 ? 96 : nvme::kPageBytes * 8;
    FlipBit(medium, page * nvme::kPageBytes * 8 + scene.round.Draw(0, bits - 1));
    ++judge.faults;
  }
  if (pages == 3) {
    scene.subject.Refused(scene.settings, {scene.disk->path()});
    std::ranges::copy(good, medium.begin());
    if (!judge.Ran(scene.subject.Start(scene.settings))) return;
  } else {
    if (!judge.Ran(scene.subject.Start(scene.settings))) return;
    scene.subject.AwaitLines("mended", 1);
    judge.True(Breach::kOther, std::ranges::equal(good, medium.first(good.size())),
               "a superblock was mended to something else");
  }
  judge.Equal("blocks missed", static_cast<double>(MissedOf(scene)), 0);
  if (!scene.Restart()) return;
  judge.Equal("lines that say mended", static_cast<double>(scene.subject.Lines("mended")), 0);
  judge.Equal("blocks missed", static_cast<double>(MissedOf(scene)), 0);
}

/// Files of the index whose name begins or ends so, and that have bytes.
std::vector<fs::path> FilesOf(const fs::path& folder, std::string_view words) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(words) || name.ends_with(words)) files.push_back(entry.path());
  }
  return files;
}

/// An empty file gets a byte instead.
Status FlipBitOf(const fs::path& file, const Round& round) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  const std::uint64_t bytes = fs::file_size(file);
  const std::uint64_t at = bytes == 0 ? 0 : round.Draw(0, bytes - 1);
  char byte = 0;
  if (bytes != 0) stream.seekg(static_cast<std::streamoff>(at)).get(byte);
  byte = static_cast<char>(byte ^ (1 << round.Draw(0, 7)));
  stream.seekp(static_cast<std::streamoff>(at)).put(byte);
  stream.flush();
  return stream ? Status::Ok() : Status(StatusCode::kIo, "cannot flip a bit of " + file.string());
}

void IndexFile(Scene& scene, const char* words) {
  Judge& judge = scene.round.judge;
  Subject& subject = scene.subject;
  // Once more, so that there is a table beside the log that is written now.
  if (!scene.Restart()) return;
  subject.MustMakeDurable(kRemoved, kBlocks);
  const Blocks removed = subject.Remove(kRemoved, kBlocks);
  judge.Equal("blocks removed", static_cast<double>(CountOf(removed, StatusCode::kOk)), kBlocks);
  if (scene.round.Draw(0, 1) == 0) {
    subject.Stop();
  } else {
    subject.Kill();
  }
  const fs::path folder = fs::path(scene.settings.folder) / "index";
  const std::vector<fs::path> files = FilesOf(folder, words);
  if (files.empty()) return judge.Report(Breach::kNotRun, std::string("no file ") + words);
  const fs::path& file = files[scene.round.Draw(0, files.size() - 1)];
  if (!judge.Ran(FlipBitOf(file, scene.round))) return;
  ++judge.faults;
  if (!judge.Ran(subject.Start(scene.settings))) return;
  judge.Equal("blocks missed", static_cast<double>(MissedOf(scene)), 0);
  const Blocks back = subject.Get(kRemoved, kBlocks);
  judge.True(Breach::kWrong, CountOf(back, StatusCode::kOk) == 0,
             std::to_string(CountOf(back, StatusCode::kOk)) + " removed blocks came back");
  subject.Expect(kErrors, "", 0);
  const std::uint64_t aside = FilesOf(scene.settings.folder, "index.old-").size();
  const std::uint64_t said = subject.Lines("nvme_index_moved_aside");
  judge.Equal("indexes moved aside", static_cast<double>(aside), static_cast<double>(said));
  const bool rebuilt = said > 0;
  judge.Note(std::string(words) + (rebuilt ? ":rebuilt" : ":no_consequence"));
  if (rebuilt) subject.AwaitLines("nvme_index_rebuilt", 1);
  PutAgainAndRestart(scene);
  judge.Equal("indexes moved aside later",
              static_cast<double>(subject.Lines("nvme_index_moved_aside")), 0);
}

constexpr std::array<const char*, 8> kIndexFiles = {".sst",    ".log",     "MANIFEST-", "CURRENT",
                                                    "OPTIONS", "IDENTITY", "LOCK",      "LOG"};

}  // namespace

void RunFlip(const Round& round) {
  Scene scene(round);
  if (!scene.Begin()) return;
  for (std::uint32_t chain = 0; chain < kChains; ++chain) {
    scene.subject.MustMakeDurable(chain, kBlocks);
  }
  const std::uint32_t variant = round.number % kFlipVariants;
  switch (variant) {
    case 0: Records(scene, true); break;
    case 1: Records(scene, false); break;
    case 2: OnTheWay(scene); break;
    case 3: SegmentHeaderOf(scene); break;
    case 4: Superblocks(scene, 1); break;
    case 5: Superblocks(scene, 2); break;
    case 6: Superblocks(scene, 3); break;
    case 7: Records(scene, round.Draw(0, 1) == 0); break;
    default: IndexFile(scene, kIndexFiles[variant - 8]); break;
  }
  scene.subject.Stop();
}

}  // namespace terrace::faults
