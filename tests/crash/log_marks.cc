#include "tests/crash/log_marks.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "tiers/nvme/store.h"

namespace terrace::crash {

namespace {
constexpr int kInUseWaitsMax = 10'000;  // of a millisecond
}  // namespace

Result<LogMark> ReadLogMark(const std::string& folder, const std::vector<std::string>& files) {
  nvme::StoreOptions options;
  options.folder = folder;
  options.files = files;
  options.read_only = true;
  Result<nvme::OpenedStore> store = nvme::OpenStore(options);
  // The kernel holds the files of a process that was killed until its writes have ended.
  for (int wait = 0; store.code() == StatusCode::kRetry && wait < kInUseWaitsMax; ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    store = nvme::OpenStore(options);
  }
  LogMark mark;
  if (store.code() == StatusCode::kMiss) return mark;
  if (!store.ok()) return store.status();
  for (std::uint32_t device = 0; device < store->files.size(); ++device) {
    for (std::uint32_t slice = 0; slice < store->superblock.slices; ++slice) {
      std::vector<nvme::SegmentHeader> headers;
      Status read =
          nvme::ReadSegmentHeaders(store->files[device], store->superblock, device, slice, headers);
      if (!read.ok()) return read;
      std::vector<std::uint64_t>& ring = mark.begun.emplace_back();
      for (const nvme::SegmentHeader& header : headers) ring.push_back(header.sequence);
    }
  }
  return mark;
}

bool CameRound(const LogMark& then, const LogMark& now) {
  for (std::size_t ring = 0; ring < now.begun.size(); ++ring) {
    std::uint64_t newest = 0;
    if (ring < then.begun.size()) {
      for (const std::uint64_t sequence : then.begun[ring]) newest = std::max(newest, sequence);
    }
    const auto since = std::count_if(now.begun[ring].begin(), now.begun[ring].end(),
                                     [newest](std::uint64_t at) { return at > newest; });
    if (static_cast<std::size_t>(since) + 1 >= now.begun[ring].size()) return true;
  }
  return false;
}

}  // namespace terrace::crash
