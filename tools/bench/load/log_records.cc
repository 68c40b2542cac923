#include "tools/bench/load/log_records.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace terrace::bench {

namespace {

/// A file read a header at a time.
class HeaderFile {
 public:
  explicit HeaderFile(const std::string& path)
      : path_(path), file_(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC)) {}
  ~HeaderFile() {
    if (file_ >= 0) ::close(file_);
  }
  HeaderFile(const HeaderFile&) = delete;
  HeaderFile& operator=(const HeaderFile&) = delete;

  template <typename Header>
  Status Read(std::uint64_t offset, Header& header) {
    static_assert(sizeof(Header) == nvme::kPageBytes);
    if (file_ < 0) return {StatusCode::kIo, "cannot open " + path_};
    const ssize_t got =
        ::pread(file_, page_->bytes, sizeof page_->bytes, static_cast<off_t>(offset));
    if (got != static_cast<ssize_t>(sizeof page_->bytes)) {
      return {StatusCode::kIo, "read " + path_ + " at " + std::to_string(offset) + ": " +
                                   (got < 0 ? std::strerror(errno) : "short")};
    }
    std::memcpy(&header, page_->bytes, sizeof header);
    return {};
  }

 private:
  struct alignas(nvme::kPageBytes) Page {
    std::byte bytes[nvme::kPageBytes];
  };
  const std::string path_;
  const int file_;
  const std::unique_ptr<Page> page_ = std::make_unique<Page>();
};

struct FoundSegment {
  std::uint64_t offset = 0;  // on the device, bytes
  nvme::SegmentHeader header;
};

/// The segments that hold something, newest first.
Status FindSegments(HeaderFile& file, const nvme::Superblock& superblock,
                    std::vector<FoundSegment>& segments) {
  for (std::uint32_t slice = 0; slice < superblock.slices; ++slice) {
    for (std::uint32_t segment = 0; segment < superblock.segments; ++segment) {
      FoundSegment found{.offset = SegmentOffset(superblock, slice, segment), .header = {}};
      if (Status status = file.Read(found.offset, found.header); !status.ok()) return status;
      if (nvme::IsSealed(found.header, superblock.salt)) segments.push_back(found);
    }
  }
  std::ranges::sort(segments, [](const FoundSegment& left, const FoundSegment& right) {
    return left.header.sequence > right.header.sequence;
  });
  return {};
}

/// True when the record stands where its segment's generation wrote it.
bool Belongs(const nvme::RecordHeader& record, const nvme::SegmentHeader& segment,
             std::uint64_t page) {
  return record.generation == segment.generation && record.slice == segment.slice &&
         record.segment == segment.segment && record.page == page;
}

}  // namespace

Result<nvme::Superblock> ReadSuperblock(const std::string& path) {
  nvme::Superblock superblock;
  HeaderFile file(path);
  if (Status status = file.Read(0, superblock); !status.ok()) return status;
  if (Status status = nvme::Check(superblock); !status.ok()) return status;
  return superblock;
}

std::uint64_t SegmentOffset(const nvme::Superblock& superblock, std::uint32_t slice,
                            std::uint32_t segment) noexcept {
  return nvme::kSlicesOffset +
         (std::uint64_t{slice} * superblock.segments + segment) * superblock.segment_bytes;
}

Result<std::vector<std::uint64_t>> FindPayloads(const std::string& path, std::string_view name,
                                                std::uint64_t block_bytes, std::size_t most) {
  const Result<nvme::Superblock> superblock = ReadSuperblock(path);
  if (!superblock.ok()) return superblock.status();
  HeaderFile file(path);
  std::vector<FoundSegment> segments;
  if (Status status = FindSegments(file, *superblock, segments); !status.ok()) return status;
  const std::uint64_t pages = superblock->segment_bytes / nvme::kPageBytes;
  std::vector<std::uint64_t> payloads;
  for (const FoundSegment& segment : segments) {
    nvme::RecordHeader record;
    for (std::uint64_t page = 1; page < pages && payloads.size() < most;
         page += nvme::RecordPages(record.payload_bytes)) {
      const std::uint64_t offset = segment.offset + page * nvme::kPageBytes;
      if (Status status = file.Read(offset, record); !status.ok()) return status;
      if (!nvme::IsSealed(record, superblock->salt)) break;
      if (!Belongs(record, segment.header, page)) break;
      if (record.kind == nvme::RecordKind::kBlock && record.payload_bytes == block_bytes &&
          record.Name() == name) {
        payloads.push_back(offset + nvme::kPageBytes);
      }
    }
  }
  return payloads;
}

}  // namespace terrace::bench
