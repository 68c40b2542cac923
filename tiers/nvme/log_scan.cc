#include "tiers/nvme/log_scan.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tiers/nvme/geometry.h"
#include "tiers/nvme/page_buffer.h"
#include "tiers/nvme/store.h"

namespace terrace::nvme {

namespace {

/// Large enough for the full bandwidth of a drive.
constexpr std::size_t kReadBytes = 1 << 20;
/// Where only headers are looked at, most of a larger read would be of payloads.
constexpr std::size_t kHeaderReadBytes = 64 << 10;
static_assert(kReadBytes % kPageBytes == 0 && kReadBytes >= kChecksumPieceBytes);

/// A segment, read ahead.
class Window {
 public:
  /// headers_only: between two headers lies what nobody looks at.
  Window(const ReadSlice& read, std::uint32_t device, std::uint64_t segment_bytes,
         bool headers_only)
      : read_(read),
        device_(device),
        headers_only_(headers_only),
        buffer_(std::min<std::uint64_t>(kReadBytes, segment_bytes)) {}
  /// From now on: `bytes` from `begin` of the slice.
  void Select(std::uint64_t begin, std::uint64_t bytes) {
    begin_ = begin;
    bytes_ = bytes;
    held_ = 0;
    held_from_ = 0;
  }
  /// Of what was selected; `length` in pages and at most the buffer's. Valid until the next call.
  /// kCorrupt: it is not within what was selected.
  Result<std::span<const std::byte>> At(std::uint64_t offset, std::size_t length) {
    if (offset > bytes_ || length > bytes_ - offset) {
      return Status(StatusCode::kCorrupt, "byte " + std::to_string(offset) +
                                              " is beyond the segment's " + std::to_string(bytes_));
    }
    if (offset < held_from_ || offset + length > held_from_ + held_ || held_ == 0) {
      // Headers that follow each other closely, and holes, are read at a drive's full bandwidth.
      const bool jumped = offset > held_from_ + held_;
      const std::size_t ahead = headers_only_ && jumped ? kHeaderReadBytes : kReadBytes;
      Status read = Fill(offset, std::min<std::uint64_t>(ahead, bytes_ - offset));
      // A bad sector ahead must not hide the good ones before it.
      if (!read.ok()) read = Fill(offset, length);
      if (!read.ok()) return read;
    }
    return std::as_const(buffer_).bytes().subspan(offset - held_from_, length);
  }
  [[nodiscard]] std::uint64_t bytes_read() const noexcept { return bytes_read_; }

 private:
  Status Fill(std::uint64_t offset, std::size_t length) {
    held_ = 0;
    held_from_ = offset;
    Status read = read_(device_, begin_ + offset, buffer_.bytes().first(length));
    if (!read.ok()) return read;
    held_ = length;
    bytes_read_ += length;
    return {};
  }

  const ReadSlice& read_;
  const std::uint32_t device_;
  const bool headers_only_;
  PageBuffer buffer_;
  std::uint64_t begin_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t held_from_ = 0;
  std::size_t held_ = 0;
  std::uint64_t bytes_read_ = 0;
};

Status VerifyPayload(Window& window, const RecordHeader& header) {
  const std::uint64_t begin = (header.page + std::uint64_t{1}) * kPageBytes;
  for (std::size_t piece = 0; piece < header.Checksums().size(); ++piece) {
    const std::uint64_t offset = piece * kChecksumPieceBytes;
    const std::size_t bytes =
        std::min<std::uint64_t>(kChecksumPieceBytes, header.payload_bytes - offset);
    const std::size_t pages = (bytes + kPageBytes - 1) / kPageBytes;
    const auto read = window.At(begin + offset, pages * kPageBytes);
    if (!read.ok()) return read.status();
    if (Checksum64(read->first(bytes)) != header.checksums[piece]) {
      return {StatusCode::kCorrupt,
              "payload from byte " + std::to_string(offset) + " does not match its checksum"};
    }
  }
  return {};
}

/// One segment, whose header is known.
class SegmentScan {
 public:
  SegmentScan(Window& window, const Superblock& superblock, const SegmentHeader& segment)
      : window_(window), superblock_(superblock), segment_(segment) {}

  void Run(bool verify, const std::function<void(const ScannedRecord&)>& visit,
           ScanTotals& totals) {
    const StoreGeometry geometry = GeometryOf(superblock_);
    std::uint32_t page = 1;
    while (page < geometry.segment_pages()) {
      const auto read = window_.At(std::uint64_t{page} * kPageBytes, kPageBytes);
      if (!read.ok()) ++totals.unreadable_pages;
      if (!read.ok() || !StartsAsRecord(*read)) {
        ++page;
        continue;
      }
      const auto header = HeaderIn<RecordHeader>(*read);
      if (!IsRecordAt(header, superblock_, segment_, page)) {
        ++page;
        continue;
      }
      const RecordPlace place{
          .segment_plus_one = geometry.StoreSegment(segment_.device, segment_.segment) + 1,
          .page = page,
          .generation = segment_.generation};
      Status payload = verify ? VerifyPayload(window_, header) : Status();
      const bool intact = payload.ok();
      ++totals.records;
      totals.sequence_max = std::max(totals.sequence_max, header.sequence);
      if (!intact) ++totals.damaged;
      visit({.header = header, .place = place, .payload = std::move(payload)});
      page += intact ? static_cast<std::uint32_t>(RecordPages(header.payload_bytes)) : 1;
    }
  }

 private:
  /// Spares most pages the copy and the hash.
  static bool StartsAsRecord(std::span<const std::byte> page) noexcept {
    return std::memcmp(page.data(), &kRecordMagic, sizeof kRecordMagic) == 0;
  }

  Window& window_;
  const Superblock& superblock_;
  const SegmentHeader& segment_;
};

/// Of a device, the segments that can hold a record from this sequence on.
///
/// A segment's header is written while the one before it in the ring is still filled, so records of
/// that one may have sequences above it; those of the one before that have not: they had their
/// places already. Removals and clears stand later than their sequences say, never earlier. So what
/// is older than the second segment that began below `from` holds nothing of it.
std::vector<const SegmentHeader*> SegmentsFrom(std::span<const SegmentHeader> headers,
                                               std::uint64_t from) {
  std::vector<const SegmentHeader*> segments;
  for (const SegmentHeader& header : headers) {
    if (header.generation != 0) segments.push_back(&header);
  }
  std::sort(segments.begin(), segments.end(),
            [](const SegmentHeader* left, const SegmentHeader* right) {
              return left->sequence > right->sequence;
            });
  std::size_t count = 0;
  for (std::size_t below = 0; count < segments.size() && below < 2; ++count) {
    below += segments[count]->sequence < from ? 1 : 0;
  }
  segments.resize(count);
  return segments;
}

}  // namespace

bool IsRecordAt(const RecordHeader& header, const Superblock& superblock,
                const SegmentHeader& segment, std::uint32_t page) noexcept {
  return IsSealed(header, superblock.salt) && header.device == segment.device &&
         header.slice == segment.slice && header.segment == segment.segment &&
         header.page == page && header.generation == segment.generation &&
         segment.generation != 0 &&  // of a header that does not verify: it holds nothing (N2)
         // A removal has the sequence of when the block was forgotten, which may be before the
         // segment that had room for it began.
         (header.kind != RecordKind::kBlock || header.sequence > segment.sequence) &&
         page + RecordPages(header.payload_bytes) <= GeometryOf(superblock).segment_pages();
}

ReadSlice ReadSliceOf(std::span<const DeviceFile> files, const Superblock& superblock,
                      std::uint32_t slice) {
  return [files, begin = GeometryOf(superblock).SliceOffset(slice)](
             std::uint32_t device, std::uint64_t offset, std::span<std::byte> bytes) {
    return files[device].ReadNow(begin + offset, bytes);
  };
}

Result<ScanTotals> ScanSlice(std::span<const DeviceFile> files, const Superblock& superblock,
                             std::uint32_t slice, const ScanOptions& options,
                             const std::function<void(const ScannedRecord&)>& visit) {
  const StoreGeometry geometry = GeometryOf(superblock);
  const ReadSlice reader = ReadSliceOf(files, superblock, slice);
  ScanTotals totals;
  std::vector<SegmentHeader> headers;
  for (std::uint32_t device = 0; device < files.size(); ++device) {
    Status read = ReadSegmentHeaders(files[device], superblock, device, slice, headers);
    if (!read.ok()) return read;
    Window window(reader, device, geometry.segment_bytes, !options.verify_payloads);
    for (const SegmentHeader& header : headers) {
      if (header.generation != 0) {
        ++totals.segments;
        totals.sequence_max = std::max(totals.sequence_max, header.sequence);
        window.Select(header.segment * geometry.segment_bytes, geometry.segment_bytes);
        SegmentScan(window, superblock, header).Run(options.verify_payloads, visit, totals);
      }
      if (options.passed) options.passed(geometry.segment_bytes);
    }
    totals.bytes_read += window.bytes_read();
  }
  return totals;
}

ScanTotals ScanTail(const ReadSlice& read, const Superblock& superblock,
                    std::span<const std::vector<SegmentHeader>> headers, std::uint64_t from,
                    const std::function<void(const ScannedRecord&)>& visit) {
  const std::uint64_t segment_bytes = GeometryOf(superblock).segment_bytes;
  ScanTotals totals;
  for (std::uint32_t device = 0; device < headers.size(); ++device) {
    Window window(read, device, segment_bytes, true);
    for (const SegmentHeader* header : SegmentsFrom(headers[device], from)) {
      ++totals.segments;
      totals.sequence_max = std::max(totals.sequence_max, header->sequence);
      window.Select(header->segment * segment_bytes, segment_bytes);
      SegmentScan(window, superblock, *header)
          .Run(
              false,
              [&](const ScannedRecord& record) {
                if (record.header.sequence >= from) visit(record);
              },
              totals);
    }
    totals.bytes_read += window.bytes_read();
  }
  return totals;
}

Status CheckBlockAt(const ReadSlice& read, const Superblock& superblock,
                    const SegmentHeader& segment, std::uint32_t page) {
  const std::uint64_t segment_bytes = GeometryOf(superblock).segment_bytes;
  Window window(read, segment.device, segment_bytes, false);
  window.Select(segment.segment * segment_bytes, segment_bytes);
  const auto bytes = window.At(std::uint64_t{page} * kPageBytes, kPageBytes);
  if (!bytes.ok()) return bytes.status();
  const auto header = HeaderIn<RecordHeader>(*bytes);
  if (!IsRecordAt(header, superblock, segment, page) || header.kind != RecordKind::kBlock) {
    return {StatusCode::kCorrupt, "no block stands there"};
  }
  return VerifyPayload(window, header);
}

}  // namespace terrace::nvme
