#include "tiers/dram/arena_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>

namespace terrace {

namespace {

constexpr std::uint64_t kHugePageBytes = 2 << 20;

Status Failed(std::string_view what, const ArenaMemoryOptions& options, std::uint64_t offset,
              int error) {
  return {StatusCode::kIo, "arena " + options.name + ": " + std::string(what) + " at byte " +
                               std::to_string(offset) + " of " + std::to_string(options.bytes) +
                               ": " + std::strerror(error)};
}

/// Makes [begin, begin + length) resident, or says why not (errno). A plain touch would meet the
/// lack of memory as SIGBUS, so the file is allocated first where MADV_POPULATE_WRITE is missing
/// (Linux before 5.14, gVisor).
int Touch(std::byte* begin, std::uint64_t length, int descriptor, std::uint64_t file_offset) {
  for (int attempt = 0; attempt < 8; ++attempt) {
    if (::madvise(begin, length, MADV_POPULATE_WRITE) == 0) return 0;
    if (errno == EINVAL) break;
    if (errno != EINTR && errno != EAGAIN) return errno;
  }
  if (::fallocate(descriptor, 0, static_cast<off_t>(file_offset), static_cast<off_t>(length)) !=
          0 &&
      errno != EOPNOTSUPP && errno != ENOSYS) {
    return errno;
  }
  for (std::uint64_t at = 0; at < length; at += 4096) {
    *reinterpret_cast<volatile std::byte*>(begin + at) = std::byte{0};
  }
  return 0;
}

/// Bytes the system says it can still give without swapping; all there are when it does not say.
std::uint64_t AvailableBytes() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    constexpr std::string_view kField = "MemAvailable:";
    if (!line.starts_with(kField)) continue;
    const std::size_t digits = line.find_first_of("0123456789");
    std::uint64_t kilobytes = 0;
    if (digits == std::string::npos) break;
    std::from_chars(line.data() + digits, line.data() + line.size(), kilobytes);
    return kilobytes * 1024;
  }
  return std::numeric_limits<std::uint64_t>::max();
}

}  // namespace

Status ArenaMemory::MapPart(const ArenaMemoryOptions& options, std::uint64_t offset,
                            std::uint64_t length) {
  const std::string name = "terrace:" + options.name;
  const int descriptor = ::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return Failed("memfd_create", options, offset, errno);
  descriptors_.push_back(descriptor);
  if (::ftruncate(descriptor, static_cast<off_t>(length)) != 0) {
    return Failed("ftruncate", options, offset, errno);
  }
  // Nobody who ever gets the descriptor can make our accesses SIGBUS by shrinking it.
  if (::fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return Failed("sealing", options, offset, errno);
  }
  std::byte* const begin = base_ + offset;
  if (::mmap(begin, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0) ==
      MAP_FAILED) {
    return Failed("mmap", options, offset, errno);
  }
  // Refusals are fine: no huge pages then. MeasurePages tells what was had.
  if (options.huge_pages) (void)::madvise(begin, length, MADV_HUGEPAGE);
  // A core file of a daemon must not hold the tenants' blocks, nor hundreds of GiB.
  (void)::madvise(begin, length, MADV_DONTDUMP);
  const bool all = options.touch_bytes >= options.touch_stride;
  const std::uint64_t stride = all ? length : options.touch_stride;
  for (std::uint64_t at = 0; at < length; at += stride) {
    const std::uint64_t bytes = std::min(all ? length : options.touch_bytes, length - at);
    const int error = Touch(begin + at, bytes, descriptor, at);
    if (error != 0) return Failed("touching memory", options, offset + at, error);
  }
  return Status::Ok();
}

Result<std::unique_ptr<ArenaMemory>> ArenaMemory::Create(const ArenaMemoryOptions& options) {
  std::unique_ptr<ArenaMemory> memory(new ArenaMemory);
  memory->bytes_ = options.bytes;
  // Touching more than there is would not fail here: the kernel would kill some process instead.
  const std::uint64_t available = AvailableBytes();
  if (options.touch_bytes >= options.touch_stride && options.bytes > available) {
    return Status(StatusCode::kIo, "arena " + options.name + ": " + std::to_string(options.bytes) +
                                       " bytes asked, " + std::to_string(available) +
                                       " available (MemAvailable in /proc/meminfo)");
  }
  memory->reserved_bytes_ = options.bytes + kHugePageBytes;
  memory->reserved_ = ::mmap(nullptr, memory->reserved_bytes_, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory->reserved_ == MAP_FAILED) {
    memory->reserved_ = nullptr;
    return Failed("reserving addresses", options, 0, errno);
  }
  const auto address = reinterpret_cast<std::uintptr_t>(memory->reserved_);
  memory->base_ = static_cast<std::byte*>(memory->reserved_) +
                  (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
  for (std::uint64_t offset = 0; offset < options.bytes; offset += options.part_bytes) {
    Status mapped =
        memory->MapPart(options, offset, std::min(options.part_bytes, options.bytes - offset));
    if (!mapped.ok()) return mapped;
  }
  return memory;
}

ArenaMemory::~ArenaMemory() {
  if (reserved_ != nullptr) ::munmap(reserved_, reserved_bytes_);
  for (const int descriptor : descriptors_) ::close(descriptor);
}

ArenaMemory::Measure ArenaMemory::MeasurePages() const {
  Measure measure;
  const auto begin = reinterpret_cast<std::uintptr_t>(base_);
  bool inside = false;
  std::ifstream smaps("/proc/self/smaps");
  for (std::string line; std::getline(smaps, line);) {
    const std::string_view text = line;
    const std::size_t colon = text.find(':');
    const std::size_t space = text.find(' ');
    if (colon == std::string_view::npos || space < colon) {  // "5581..-5582.. rw-s ..."
      std::uintptr_t start = 0;
      std::from_chars(text.data(), text.data() + text.size(), start, 16);
      inside = start >= begin && start < begin + bytes_;
      continue;
    }
    if (!inside) continue;
    const std::string_view field = text.substr(0, colon);
    const bool huge = field == "ShmemPmdMapped" || field == "FilePmdMapped";
    if (!huge && field != "Rss") continue;
    const std::size_t digits = text.find_first_of("0123456789", colon);
    if (digits == std::string_view::npos) continue;
    std::uint64_t kilobytes = 0;
    std::from_chars(text.data() + digits, text.data() + text.size(), kilobytes);
    (huge ? measure.huge_bytes : measure.resident_bytes) += kilobytes * 1024;
  }
  return measure;
}

}  // namespace terrace
