// The records of a log whose pages were damaged, also by somebody who can seal them anew: the scan
// ends, and reports only what stands where it says.
#include <algorithm>
#include <array>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tiers/nvme/geometry.h"
#include "tiers/nvme/log_scan.h"
#include "tiers/nvme/page_buffer.h"
#include "tiers/nvme/store.h"

namespace terrace::fuzz {
namespace {

using namespace terrace::nvme;  // NOLINT(google-build-using-namespace)

constexpr std::uint64_t kSalt = 77;
constexpr std::uint32_t kSegments = 8;
constexpr std::uint32_t kSegmentPages = 8;
constexpr std::size_t kSliceBytes = std::size_t{kSegments} * kSegmentPages * kPageBytes;

const Superblock& StoreSuperblock() {
  static const Superblock superblock = [] {
    StoreGeometry geometry;
    geometry.slices = 1;
    geometry.segments = kSegments;
    geometry.segment_bytes = kSegmentPages * kPageBytes;
    geometry.devices = 1;
    return MakeSuperblock(geometry, 0, {1, 2}, kSalt, 1);
  }();
  return superblock;
}

/// A slice in memory. Every input begins with the same log; the pages that it changed are put back.
class Slice {
 public:
  Slice() : fresh_(kSliceBytes) {
    std::uint64_t sequence = 1;
    for (std::uint32_t segment = 0; segment < 4; ++segment) {
      SegmentHeader header;
      header.store_id = StoreSuperblock().store_id;
      header.segment = segment;
      header.generation = segment + 1;
      header.sequence = sequence++;
      Seal(header, kSalt);
      PutHeader(header, Page(fresh_, segment * kSegmentPages));
      for (std::uint32_t page = 1; page + 2 <= kSegmentPages; page += 2) {
        PutRecord(segment, page, sequence++);
      }
    }
    now_ = fresh_;
  }
  [[nodiscard]] std::span<std::byte> Page(std::uint32_t page) {
    changed_.push_back(page);
    return Page(now_, page);
  }
  void Restore() {
    for (const std::uint32_t page : changed_) {
      std::ranges::copy(Page(fresh_, page), Page(now_, page).begin());
    }
    changed_.clear();
  }
  [[nodiscard]] SegmentHeader Header(std::uint32_t segment) {
    auto header = HeaderIn<SegmentHeader>(Page(now_, segment * kSegmentPages));
    if (IsHeaderOf(header, StoreSuperblock(), 0, 0, segment) && IsSealed(header, kSalt)) {
      return header;
    }
    header = {};
    header.segment = segment;
    return header;
  }
  Status Read(std::uint64_t offset, std::span<std::byte> into) const {
    if (offset > now_.size() || into.size() > now_.size() - offset) {
      return {StatusCode::kIo, "beyond the device"};
    }
    std::copy_n(now_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
    return {};
  }

 private:
  static std::span<std::byte> Page(Bytes& bytes, std::uint32_t page) {
    return std::span(bytes).subspan(std::size_t{page} * kPageBytes, kPageBytes);
  }
  void PutRecord(std::uint32_t segment, std::uint32_t page, std::uint64_t sequence) {
    RecordHeader header;
    header.sequence = sequence;
    header.segment = segment;
    header.page = page;
    header.generation = segment + 1;
    header.payload_bytes = kPageBytes;
    header.key_bytes = 4;
    const auto payload = Page(fresh_, segment * kSegmentPages + page + 1);
    std::ranges::fill(payload, static_cast<std::byte>(sequence));
    header.checksums[0] = Checksum64(payload);
    Seal(header, kSalt);
    PutHeader(header, Page(fresh_, segment * kSegmentPages + page));
  }

  Bytes fresh_;
  Bytes now_;
  std::vector<std::uint32_t> changed_;
};

void Damage(Input& input, Slice& slice) {
  for (int patch = 0; patch < 8 && !input.empty(); ++patch) {
    const std::uint32_t number = input.Byte() % (kSegments * kSegmentPages);
    const std::span<std::byte> page = slice.Page(number);
    const std::uint8_t how = input.Byte();
    std::size_t at = input.Byte();
    if (at >= 240) at = input.Take<std::uint16_t>() % kPageBytes;
    const auto bytes = input.First(1 + input.Byte() % 16U);
    const std::size_t count = std::min(bytes.size(), kPageBytes - at);
    std::copy_n(bytes.begin(), count, page.begin() + static_cast<std::ptrdiff_t>(at));
    if (how % 4 == 0) continue;
    if (how % 4 == 1) {
      auto header = HeaderIn<SegmentHeader>(page);
      Seal(header, kSalt);
      PutHeader(header, page);
    } else {
      auto header = HeaderIn<RecordHeader>(page);
      Seal(header, kSalt);
      PutHeader(header, page);
    }
  }
}

void CheckRecord(const ScannedRecord& record, std::uint64_t from) {
  TERRACE_CHECK(record.header.sequence >= from && record.place.exists());
  TERRACE_CHECK(record.place.page == record.header.page && record.place.page >= 1 &&
                record.place.segment() == record.header.segment &&
                record.place.generation == record.header.generation);
  TERRACE_CHECK(record.place.page + RecordPages(record.header.payload_bytes) <= kSegmentPages);
  TERRACE_CHECK(record.header.Key().size() <= kKeyBytesMax && record.payload.ok());
}

void Run(std::span<const std::byte> bytes) {
  static Slice slice;
  Input input(bytes);
  const std::uint64_t from = input.Byte();
  Damage(input, slice);
  std::vector<std::vector<SegmentHeader>> headers(1);
  headers[0].reserve(kSegments);
  for (std::uint32_t segment = 0; segment < kSegments; ++segment) {
    headers[0].push_back(slice.Header(segment));
  }
  const ReadSlice read = [](std::uint32_t device, std::uint64_t offset, std::span<std::byte> into) {
    TERRACE_CHECK(device == 0);
    return slice.Read(offset, into);
  };
  std::vector<RecordPlace> places;
  const ScanTotals totals =
      ScanTail(read, StoreSuperblock(), headers, from, [&](const ScannedRecord& record) {
        CheckRecord(record, from);
        places.push_back(record.place);
      });
  TERRACE_CHECK(totals.records >= places.size() && totals.unreadable_pages == 0 &&
                totals.records <= std::size_t{kSegments} * kSegmentPages);
  if (bytes.size() % 4 == 0) {
    // One place in four inputs: what an index that is wrong may name.
    const SegmentHeader& segment = headers[0][input.Byte() % kSegments];
    const Status status = CheckBlockAt(read, StoreSuperblock(), segment, input.Byte() % 16U);
    if (status.ok()) TERRACE_CHECK(segment.generation != 0);
  }
  slice.Restore();
}

std::vector<Bytes> Seeds() {
  std::vector<Bytes> seeds = {Output().Byte(0).Take(), Output().Byte(9).Take()};
  for (unsigned how = 0; how < 3; ++how) {
    for (const unsigned at : {0U, 8U, 12U, 16U, 36U, 40U, 48U, 120U}) {
      seeds.push_back(
          Output().Byte(0).Byte(how == 1 ? 8 : 9).Byte(how).Byte(at).Byte(0).Byte(1).Take());
    }
  }
  return seeds;
}

}  // namespace

const Target kNvmeLogTarget{.name = "nvme_log", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
