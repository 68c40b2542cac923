// Header pages of an NVMe device: a changed page is noticed, and one whose checksum is right all
// the same (who knows the salt can make one) breaks no limit.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tiers/nvme/geometry.h"
#include "tiers/nvme/page_buffer.h"
#include "tiers/nvme/store.h"

namespace terrace::fuzz {
namespace {

using namespace terrace::nvme;  // NOLINT(google-build-using-namespace)

constexpr std::uint64_t kSalt = 0x5a17;
using Page = std::array<std::byte, kPageBytes>;

Superblock HonestSuperblock() {
  StoreGeometry geometry;
  geometry.slices = 2;
  geometry.segments = 8;
  geometry.segment_bytes = 1 << 20;
  geometry.devices = 1;
  return MakeSuperblock(geometry, 0, {1, 2}, kSalt, 1'700'000'000);
}

RecordHeader HonestRecord() {
  RecordHeader header;
  header.sequence = 7;
  header.page = 1;
  header.generation = 3;
  header.namespace_id = 1;
  header.payload_bytes = 300'000;
  header.key_bytes = 5;
  header.placement_bytes = 5;
  header.tenant_bytes = 3;
  header.name_bytes = 4;
  return header;
}

/// Overwrites parts of the page; true when it is another one afterwards. The places are those of
/// the fields rather than of the zeros: below 256, or the last 16 bytes.
bool Damage(Input& input, Page& page) {
  const Page before = page;
  for (int patch = 0; patch < 8 && !input.empty(); ++patch) {
    std::size_t at = input.Byte();
    if (at >= 240) at = input.Take<std::uint16_t>() % kPageBytes;
    const auto bytes = input.First(1 + input.Byte() % 16U);
    const std::size_t count = std::min(bytes.size(), kPageBytes - at);
    std::copy_n(bytes.begin(), count, page.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return before != page;
}

template <typename Header>
Page PageOf(const Header& header) {
  Page page;
  PutHeader(header, page);
  return page;
}

void TrySuperblock(Input& input, bool reseal) {
  Superblock honest = HonestSuperblock();
  Seal(honest);
  Page page = PageOf(honest);
  const bool changed = Damage(input, page);
  auto read = HeaderIn<Superblock>(page);
  if (reseal) Seal(read);
  const Status status = Check(read);
  if (!status.ok()) {
    TERRACE_CHECK(changed && !status.message().empty());
    return;
  }
  TERRACE_CHECK(!changed || reseal);
  const StoreGeometry geometry = GeometryOf(read);
  TERRACE_CHECK(geometry.devices >= 1 && geometry.devices <= kDevicesMax &&
                read.device < geometry.devices);
  TERRACE_CHECK(geometry.segment_pages() >= 2 && geometry.store_segments() <= 64U * 4096);
  TERRACE_CHECK(geometry.SegmentOffset(geometry.slices - 1, geometry.segments - 1) +
                    geometry.segment_bytes ==
                read.device_bytes);
  TERRACE_CHECK(geometry.device_bytes() == read.device_bytes &&
                read.device_bytes / geometry.segment_bytes <= 64U * 4096 + 256);
}

void TrySegment(Input& input, bool reseal) {
  const Superblock superblock = HonestSuperblock();
  SegmentHeader honest;
  honest.store_id = superblock.store_id;
  honest.segment = 3;
  honest.generation = 2;
  honest.sequence = 100;
  Seal(honest, kSalt);
  Page page = PageOf(honest);
  const bool changed = Damage(input, page);
  auto read = HeaderIn<SegmentHeader>(page);
  if (reseal) Seal(read, kSalt);
  TERRACE_CHECK(changed || IsSealed(read, kSalt));
  if (!IsSealed(read, kSalt)) return;
  TERRACE_CHECK(!changed || reseal);
  TERRACE_CHECK(!IsSealed(read, kSalt + 1));
  if (!IsHeaderOf(read, superblock, 0, 0, 3)) return;
  TERRACE_CHECK(read.store_id == superblock.store_id && read.segment == 3 && read.slice == 0 &&
                read.device == 0);
}

void TryRecord(Input& input, bool reseal) {
  RecordHeader honest = HonestRecord();
  Seal(honest, kSalt);
  Page page = PageOf(honest);
  const bool changed = Damage(input, page);
  auto read = HeaderIn<RecordHeader>(page);
  if (reseal) Seal(read, kSalt);
  TERRACE_CHECK(changed || IsSealed(read, kSalt));
  if (!IsSealed(read, kSalt)) return;
  TERRACE_CHECK(!changed || reseal);
  TERRACE_CHECK(!IsSealed(read, kSalt + 1));
  TERRACE_CHECK(read.Key().size() <= kKeyBytesMax && read.placement_bytes <= kKeyBytesMax);
  TERRACE_CHECK(read.Tenant().size() <= kNameBytesMax && read.Name().size() <= kNameBytesMax);
  TERRACE_CHECK(read.Checksums().size() <= kBlockBytesMax / kChecksumPieceBytes);
  TERRACE_CHECK(RecordPages(read.payload_bytes) <= 1 + kBlockBytesMax / kPageBytes);
  TERRACE_CHECK((read.kind == RecordKind::kBlock) == (read.payload_bytes != 0));
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::uint8_t kind = input.Byte();
  const bool reseal = (kind & 4) != 0;
  switch (kind % 4) {
    case 0: return TrySuperblock(input, reseal);
    case 1: return TrySegment(input, reseal);
    default: return TryRecord(input, reseal);
  }
}

std::vector<Bytes> Seeds() {
  std::vector<Bytes> seeds;
  for (unsigned kind = 0; kind < 7; ++kind) {
    for (const unsigned at : {0U, 8U, 12U, 40U, 48U, 56U, 120U, 121U, 123U}) {
      seeds.push_back(Output().Byte(kind).Byte(at).Byte(0).Byte(1).Take());
    }
  }
  return seeds;
}

}  // namespace

const Target kNvmeHeaderTarget{.name = "nvme_header", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
