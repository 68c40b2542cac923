#include "transport/shm/lent_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace terrace {
namespace {
constexpr std::uintptr_t kHugePageBytes = 2 << 20;
}  // namespace

Result<std::shared_ptr<const ExtentMapping>> ExtentMapping::Map(int fd, std::uint64_t bytes) {
  struct stat about{};
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (::fstat(fd, &about) != 0 || seals < 0) {
    return Status(StatusCode::kIo, std::string("lent extent: ") + std::strerror(errno));
  }
  if (bytes == 0 || static_cast<std::uint64_t>(about.st_size) != bytes ||
      (seals & F_SEAL_SHRINK) == 0) {
    return Status::Invalid("lent extent of " + std::to_string(about.st_size) + " bytes, not " +
                           std::to_string(bytes) + " and sealed");
  }
  // At an address that huge pages can be mapped at.
  const std::size_t reserved = bytes + kHugePageBytes;
  void* const hole = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (hole == MAP_FAILED) {
    return Status(StatusCode::kIo, std::string("lent extent: addresses: ") + std::strerror(errno));
  }
  auto* const first = static_cast<std::byte*>(hole);
  const std::size_t skip =
      (kHugePageBytes - reinterpret_cast<std::uintptr_t>(first) % kHugePageBytes) % kHugePageBytes;
  std::byte* const begin = first + skip;
  if (skip > 0) ::munmap(first, skip);
  const std::size_t pages = (bytes + 4095) / 4096 * 4096;
  if (reserved - skip > pages) ::munmap(begin + pages, reserved - skip - pages);
  if (::mmap(begin, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    const int error = errno;
    ::munmap(begin, pages);
    return Status(StatusCode::kIo, std::string("lent extent: mmap: ") + std::strerror(error));
  }
  // Refusals are fine: small pages then. A core file must not hold the tenant's blocks.
  (void)::madvise(begin, bytes, MADV_HUGEPAGE);
  (void)::madvise(begin, bytes, MADV_DONTDUMP);
  return std::shared_ptr<const ExtentMapping>(new ExtentMapping(begin, bytes));
}

ExtentMapping::~ExtentMapping() { ::munmap(begin_, size_); }

Result<std::unique_ptr<LentMemory>> LentMemory::Make(const Loan& loan,
                                                     std::shared_ptr<SharedPage> page,
                                                     std::shared_ptr<const ExtentMapping> extent) {
  const std::uint64_t size = extent->bytes().size();
  if (loan.bytes == 0 || loan.place.offset > size || loan.bytes > size - loan.place.offset ||
      loan.slot >= kLeaseSlots) {
    return Status::Invalid("a loan of " + std::to_string(loan.bytes) + " bytes at byte " +
                           std::to_string(loan.place.offset) + " of an extent of " +
                           std::to_string(size) + ", slot " + std::to_string(loan.slot));
  }
  return std::unique_ptr<LentMemory>(new LentMemory(loan, std::move(page), std::move(extent)));
}

LentMemory::LentMemory(const Loan& loan, std::shared_ptr<SharedPage> page,
                       std::shared_ptr<const ExtentMapping> extent)
    : loan_(loan),
      process_(::getpid()),
      page_(std::move(page)),
      extent_(std::move(extent)),
      bytes_(extent_->bytes().subspan(loan.place.offset, loan.bytes)) {}

bool LentMemory::Release() noexcept {
  if (released_.exchange(true) || ::getpid() != process_) return false;
  const bool intact = Intact();
  if (intact) GiveBack(page_->layout(), loan_.slot, loan_.generation);
  return intact;
}

void LentMemory::GiveBack(SharedLayout& page, std::uint32_t slot,
                          std::uint32_t generation) noexcept {
  page.released[slot].store(generation, std::memory_order_relaxed);
  page.released_bits[slot / 64].fetch_or(std::uint64_t{1} << (slot % 64),
                                         std::memory_order_release);
}

}  // namespace terrace
