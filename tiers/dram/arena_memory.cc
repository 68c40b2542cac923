#include "tiers/dram/arena_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>

namespace terrace {

namespace {

constexpr std::uint64_t kHugePageBytes = 2 << 20;
constexpr std::uint64_t kPageBytes = 4096;

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
  for (std::uint64_t at = 0; at < length; at += kPageBytes) {
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

/// Another description of the same memory, read-only; -1 with errno.
int OpenAgain(int descriptor) {
  // Also keeps other users from opening it by the descriptor they have; a user who owns it may
  // have changed that, so each time.
  (void)::fchmod(descriptor, S_IRUSR);
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  // O_NONBLOCK: a lease that somebody took on it must not stop us.
  return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

/// Whether any description but `probe`, and memfd_create's own, is open or mapped.
bool OpenElsewhere(int probe) {
  if (::fcntl(probe, F_SETLEASE, F_WRLCK) != 0) return true;
  (void)::fcntl(probe, F_SETLEASE, F_UNLCK);
  return false;
}

}  // namespace

Status ArenaMemory::Failed(std::string_view what, std::uint64_t at, int error) const {
  return {StatusCode::kIo, "arena " + options_.name + ": " + std::string(what) + " at byte " +
                               std::to_string(at) + " of " + std::to_string(options_.bytes) + ": " +
                               std::strerror(error)};
}

std::uint64_t ArenaMemory::PartBytes(std::uint32_t part) const noexcept {
  return std::min(options_.part_bytes, options_.bytes - OffsetOf(part));
}

void ArenaMemory::Close(Part& part) {
  for (int* const descriptor : {&part.lent, &part.probe, &part.descriptor}) {
    if (*descriptor >= 0) ::close(*descriptor);
    *descriptor = -1;
  }
}

Status ArenaMemory::MakePart(std::uint32_t part) {
  const std::uint64_t offset = OffsetOf(part);
  const std::uint64_t length = PartBytes(part);
  const std::string name = "terrace:" + options_.name;
  Part made{.descriptor = ::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (made.descriptor < 0) return Failed("memfd_create", offset, errno);
  Status failed;
  std::byte* const begin = base_ + offset;
  if (::ftruncate(made.descriptor, static_cast<off_t>(length)) != 0) {
    failed = Failed("ftruncate", offset, errno);
  } else if (::fcntl(made.descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    // Nobody who ever gets the descriptor can make our accesses SIGBUS by shrinking it.
    failed = Failed("sealing", offset, errno);
  } else if (::mmap(begin, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, made.descriptor,
                    0) == MAP_FAILED) {
    failed = Failed("mmap", offset, errno);
  }
  if (!failed.ok()) {
    Close(made);
    return failed;
  }
  Close(parts_[part]);
  parts_[part] = made;
  // Refusals are fine: no huge pages then. MeasurePages tells what was had.
  if (options_.huge_pages) (void)::madvise(begin, length, MADV_HUGEPAGE);
  // A core file of a daemon must not hold the tenants' blocks, nor hundreds of GiB.
  (void)::madvise(begin, length, MADV_DONTDUMP);
  return Status::Ok();
}

Status ArenaMemory::TouchAll(std::uint32_t part) {
  const std::uint64_t offset = OffsetOf(part);
  const std::uint64_t length = PartBytes(part);
  const bool all = options_.touch_bytes >= options_.touch_stride;
  const std::uint64_t stride = all ? length : options_.touch_stride;
  for (std::uint64_t at = 0; at < length; at += stride) {
    const std::uint64_t bytes = std::min(all ? length : options_.touch_bytes, length - at);
    const int error = Touch(base_ + offset + at, bytes, parts_[part].descriptor, at);
    if (error != 0) return Failed("touching memory", offset + at, error);
  }
  return Status::Ok();
}

Result<std::unique_ptr<ArenaMemory>> ArenaMemory::Create(const ArenaMemoryOptions& options) {
  std::unique_ptr<ArenaMemory> memory(new ArenaMemory(options));
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
    return memory->Failed("reserving addresses", 0, errno);
  }
  const auto address = reinterpret_cast<std::uintptr_t>(memory->reserved_);
  memory->base_ = static_cast<std::byte*>(memory->reserved_) +
                  (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
  memory->parts_.resize((options.bytes + options.part_bytes - 1) / options.part_bytes);
  for (std::uint32_t part = 0; part < memory->parts_.size(); ++part) {
    Status made = memory->MakePart(part);
    if (made.ok()) made = memory->TouchAll(part);
    if (!made.ok()) return made;
  }
  return memory;
}

ArenaMemory::~ArenaMemory() {
  if (reserved_ != nullptr) ::munmap(reserved_, reserved_bytes_);
  for (Part& part : parts_) Close(part);
}

Status ArenaMemory::SealPart(std::uint32_t number) {
  Part& part = parts_[number];
  const std::uint64_t offset = OffsetOf(number);
  const auto unsupported = [&](std::string_view why) {
    return Status(StatusCode::kUnsupported,
                  "arena " + options_.name + " cannot be shared: " + std::string(why));
  };
  // F_SEAL_SEAL, so that nobody who has it can add a seal of his own.
  if (::fcntl(part.descriptor, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0 &&
      (::fcntl(part.descriptor, F_GET_SEALS) & F_SEAL_FUTURE_WRITE) == 0) {
    if (errno == EINVAL) return unsupported("the kernel has no F_SEAL_FUTURE_WRITE (Linux 5.1)");
    return Failed("sealing against writers", offset, errno);
  }
  void* const writable =
      ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, part.descriptor, 0);
  if (writable != MAP_FAILED) {
    ::munmap(writable, kPageBytes);
    return unsupported("F_SEAL_FUTURE_WRITE seals nothing here");
  }
  const int probe = OpenAgain(part.descriptor);
  if (probe < 0) {
    if (errno == ENOENT) return unsupported("there is no /proc");
    return Failed("opening memory read-only", offset, errno);
  }
  // Should somebody open it in the microsecond of a probe, the kernel says so with this signal,
  // which nobody minds; SIGIO would end the process.
  (void)::fcntl(probe, F_SETSIG, SIGURG);
  // Both answers of M3 once, before anything depends on them.
  const bool had_by_others = OpenElsewhere(probe);
  const int lent = OpenAgain(part.descriptor);
  const int error = errno;
  if (lent < 0 || had_by_others || !OpenElsewhere(probe)) {
    ::close(probe);
    if (lent < 0) return Failed("opening memory read-only", offset, error);
    ::close(lent);
    return unsupported("leases do not tell who has a memfd");
  }
  part.probe = probe;
  part.lent = lent;
  return Status::Ok();
}

Result<int> ArenaMemory::SharePart(std::uint32_t number) {
  Part& part = parts_[number];
  if (part.lent >= 0) return part.lent;
  if (part.probe < 0) {
    if (Status sealed = SealPart(number); !sealed.ok()) return sealed;
    return part.lent;
  }
  part.lent = OpenAgain(part.descriptor);
  if (part.lent < 0) return Failed("opening memory read-only", OffsetOf(number), errno);
  return part.lent;
}

bool ArenaMemory::LentOut(std::uint32_t number) {
  Part& part = parts_[number];
  if (part.lent >= 0) ::close(part.lent);
  part.lent = -1;
  return part.probe >= 0 && OpenElsewhere(part.probe);
}

Status ArenaMemory::SwapPart(std::uint32_t part) {
  // Takes the pages out of the page tables first, which others may use meanwhile; mapping over
  // them would do it under the lock for writing.
  (void)::madvise(base_ + OffsetOf(part), PartBytes(part), MADV_DONTNEED);
  return MakePart(part);
}

Status ArenaMemory::TouchPart(std::uint32_t part) {
  const std::uint64_t available = AvailableBytes();
  if (PartBytes(part) > available) {
    return {StatusCode::kIo, "arena " + options_.name + ": " + std::to_string(PartBytes(part)) +
                                 " bytes asked for an extent, " + std::to_string(available) +
                                 " available (MemAvailable in /proc/meminfo)"};
  }
  Status touched = TouchAll(part);
  if (!touched.ok()) {
    (void)::fallocate(parts_[part].descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                      static_cast<off_t>(PartBytes(part)));
  }
  return touched;
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
      inside = start >= begin && start < begin + options_.bytes;
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
