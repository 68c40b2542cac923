#include "tiers/nvme/superblock_pages.h"

#include <algorithm>
#include <cstring>

#include "base/crash_point.h"
#include "tiers/nvme/page_buffer.h"

namespace terrace::nvme {

namespace {

Status Refused(const DeviceFile& file, StatusCode code, const std::string& why) {
  return {code, "device " + file.name() + ": " + why};
}

bool IsZeros(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

/// As Check; but a page whose magic or version alone is wrong, as a flipped bit leaves it, is a
/// damaged one of ours and no stranger's: with both put right its checksum matches.
Status CheckPage(const Superblock& found) {
  Status state = Check(found);
  if (state.ok() || state.code() == StatusCode::kCorrupt) return state;
  Superblock righted = found;
  righted.magic = kSuperblockMagic;
  righted.version = kFormatVersion;
  if (!Check(righted).ok()) return state;
  return {StatusCode::kCorrupt, "the superblock's magic or version is damaged"};
}

/// Writes and syncs.
Status WritePage(DeviceFile& file, std::uint32_t number, const Superblock& superblock) {
  PageBuffer page(kPageBytes);
  PutHeader(superblock, page.bytes());
  Status written = file.WriteNow(number * kPageBytes, page.bytes());
  return written.ok() ? file.SyncNow() : written;
}

}  // namespace

Result<SuperblockPages> ReadSuperblockPages(const DeviceFile& file) {
  PageBuffer buffer(2 * kPageBytes);
  Status read = file.ReadNow(0, buffer.bytes());
  if (!read.ok()) return read;
  SuperblockPages pages;
  const auto first = buffer.bytes().first(kPageBytes);
  const auto second = buffer.bytes().last(kPageBytes);
  pages.fresh = IsZeros(buffer.bytes());
  if (pages.fresh) return pages;
  const auto superblock = HeaderIn<Superblock>(first);
  const auto copy = HeaderIn<Superblock>(second);
  const Status first_state = CheckPage(superblock);
  const Status second_state = CheckPage(copy);
  for (const Status& state : {first_state, second_state}) {
    if (state.code() == StatusCode::kIncompatible) {
      return Refused(file, StatusCode::kIncompatible, state.message());
    }
  }
  if (first_state.ok()) {
    pages.superblock = superblock;
    if (!second_state.ok() || std::memcmp(first.data(), second.data(), kPageBytes) != 0) {
      pages.damage = "the superblock's copy (page 1) is damaged";
      pages.damaged_page = 1;
    }
    return pages;
  }
  // Zeros are nobody's, so the copy may speak for them. Other bytes without our magic may be a
  // partition table that was written over the first page: not ours to overwrite.
  const bool first_is_ours = first_state.code() == StatusCode::kCorrupt || IsZeros(first);
  if (first_is_ours && second_state.ok()) {
    pages.superblock = copy;
    pages.damage = "the superblock (page 0) is damaged, its copy is whole";
    return pages;
  }
  if (!first_is_ours && second_state.ok()) {
    return Refused(file, StatusCode::kInvalid,
                   "page 0 holds something else, though page 1 still is a superblock of ours; if "
                   "nobody else uses it, write zeros over page 0");
  }
  if (first_state.code() == StatusCode::kCorrupt || second_state.code() == StatusCode::kCorrupt) {
    return Refused(file, StatusCode::kCorrupt,
                   "its superblock and the copy of it are both damaged; what it holds is lost: "
                   "remove it to make a new store");
  }
  return Refused(file, StatusCode::kInvalid,
                 "holds something else; remove it or name another file");
}

Status WriteSuperblockPages(DeviceFile& file, const Superblock& superblock) {
  Status written = WritePage(file, 1, superblock);
  CrashHere(CrashPoint::kStoreCopyWritten);
  return written.ok() ? WritePage(file, 0, superblock) : written;
}

Status MendSuperblockPage(DeviceFile& file, const SuperblockPages& pages) {
  return WritePage(file, pages.damaged_page, pages.superblock);
}

}  // namespace terrace::nvme
