// BenchTestStore: an NVMe store made by hand in a folder of its own: a superblock and what a test
// writes.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "tiers/nvme/format.h"
#include "tools/bench/load/daemon_process.h"
#include "tools/bench/load/log_records.h"

namespace terrace::bench {

class BenchTestStore {
 public:
  BenchTestStore(std::uint32_t slices, std::uint32_t segments, std::uint64_t segment_bytes) {
    // Not in /tmp, which may be a tmpfs without O_DIRECT.
    std::string folder = std::filesystem::current_path() / "bench-test.XXXXXX";
    EXPECT_NE(::mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    file_ = ::open(log().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    superblock_.store_id = {1, 2};
    superblock_.salt = 3;
    superblock_.devices = 1;
    superblock_.slices = slices;
    superblock_.segments = segments;
    superblock_.segment_bytes = segment_bytes;
    superblock_.device_bytes = nvme::kSlicesOffset + slices * segments * segment_bytes;
    nvme::Seal(superblock_);
    EXPECT_EQ(::ftruncate(file_, static_cast<off_t>(superblock_.device_bytes)), 0);
    Write(0, superblock_);
    Write(nvme::kPageBytes, superblock_);
  }
  ~BenchTestStore() {
    ::close(file_);
    std::filesystem::remove_all(folder_);
  }
  BenchTestStore(const BenchTestStore&) = delete;
  BenchTestStore& operator=(const BenchTestStore&) = delete;

  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] std::string log() const { return folder_ + "/" + kLogName; }
  [[nodiscard]] const nvme::Superblock& superblock() const { return superblock_; }

  void WriteSegment(std::uint32_t slice, std::uint32_t segment, std::uint32_t generation,
                    std::uint64_t sequence) {
    nvme::SegmentHeader header;
    header.store_id = superblock_.store_id;
    header.slice = slice;
    header.segment = segment;
    header.generation = generation;
    header.sequence = sequence;
    nvme::Seal(header, superblock_.salt);
    Write(SegmentOffset(superblock_, slice, segment), header);
  }
  /// Writes the header where `record` says that it stands; the offset of its payload.
  std::uint64_t WriteRecord(nvme::RecordHeader record, const std::string& name) {
    record.name_bytes = static_cast<std::uint8_t>(name.copy(record.name.data(), name.size()));
    record.key_bytes = record.placement_bytes = record.tenant_bytes = 1;
    nvme::Seal(record, superblock_.salt);
    const std::uint64_t offset =
        SegmentOffset(superblock_, record.slice, record.segment) + record.page * nvme::kPageBytes;
    Write(offset, record);
    return offset + nvme::kPageBytes;
  }

 private:
  template <typename Header>
  void Write(std::uint64_t offset, const Header& header) {
    EXPECT_EQ(::pwrite(file_, &header, sizeof header, static_cast<off_t>(offset)),
              static_cast<ssize_t>(sizeof header));
  }

  std::string folder_;
  int file_ = -1;
  nvme::Superblock superblock_;
};

}  // namespace terrace::bench
