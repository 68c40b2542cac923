#include "transport/shm/shared_region.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "base/check.h"
#include "transport/shm/guarded_copy.h"

namespace terrace {

Result<std::shared_ptr<SharedRegion>> SharedRegion::Map(int fd, std::uint64_t bytes) {
  struct statfs about{};
  if (::fstatfs(fd, &about) != 0 || about.f_type != TMPFS_MAGIC) {
    return Status::Invalid("shared region: not memory of small pages");
  }
  const auto mapping = MapSealed(fd, bytes, PROT_READ | PROT_WRITE, "shared region");
  if (!mapping.ok()) return mapping.status();
  return std::shared_ptr<SharedRegion>(new SharedRegion(*mapping, bytes));
}

SharedRegion::~SharedRegion() { ::munmap(mapping_.begin, mapping_.mapped); }

bool SharedRegion::Copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  gone_ = gone_ || !GuardedCopy(to, from, bytes, {mapping_.begin, mapping_.mapped});
  return !gone_;
}

bool SharedRegion::Read(std::uint64_t offset, std::span<std::byte> destination) {
  TERRACE_CHECK(offset <= size_ && destination.size() <= size_ - offset);
  return Copy(destination.data(), mapping_.begin + offset, destination.size());
}

bool SharedRegion::Write(std::uint64_t offset, std::span<const std::byte> source) {
  TERRACE_CHECK(offset <= size_ && source.size() <= size_ - offset);
  return Copy(mapping_.begin + offset, source.data(), source.size());
}

}  // namespace terrace
