#include "transport/shm/sealed_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace terrace {
namespace {
constexpr std::uintptr_t kHugePageBytes = 2 << 20;
constexpr std::uint64_t kPageBytes = 4096;
}  // namespace

Result<SealedMapping> MapSealed(int fd, std::uint64_t bytes, int protection,
                                const std::string& what) {
  const auto failed = [&what](const char* step) {
    return Status(StatusCode::kIo, what + ": " + step + std::strerror(errno));
  };
  struct stat about{};
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (::fstat(fd, &about) != 0 || seals < 0) return failed("");
  const auto size = static_cast<std::uint64_t>(about.st_size);
  if (bytes == 0 || size < bytes || (seals & F_SEAL_SHRINK) == 0) {
    return Status::Invalid(what + " of " + std::to_string(size) + " bytes, not " +
                           std::to_string(bytes) + " and sealed");
  }
  // At an address that huge pages can be mapped at.
  const std::size_t pages = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  const std::size_t reserved = pages + kHugePageBytes;
  void* const hole = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (hole == MAP_FAILED) return failed("addresses: ");
  auto* const first = static_cast<std::byte*>(hole);
  const std::size_t skip =
      (kHugePageBytes - reinterpret_cast<std::uintptr_t>(first) % kHugePageBytes) % kHugePageBytes;
  std::byte* const begin = first + skip;
  if (skip > 0) ::munmap(first, skip);
  ::munmap(begin + pages, reserved - skip - pages);
  if (::mmap(begin, pages, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    const Status status = failed("mmap: ");
    ::munmap(begin, pages);
    return status;
  }
  // Refusals are fine: small pages then. A core file must not hold the tenant's blocks.
  (void)::madvise(begin, pages, MADV_HUGEPAGE);
  (void)::madvise(begin, pages, MADV_DONTDUMP);
  return SealedMapping{begin, pages};
}

}  // namespace terrace
