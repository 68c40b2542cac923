#include "transport/shm/shared_region.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <algorithm>

#include "base/check.h"
#include "transport/elsewhere.h"
#include "transport/shm/guarded_copy.h"

namespace terrace {

namespace {

// A process of x86-64 has 128 TiB of addresses and, by default, 65,530 mappings. Half and a quarter
// of them are for what clients share; a client of one reactor has an eighth of that.
constexpr SharedMemoryUse::Limit kOfAll{.bytes = std::uint64_t{64} << 40, .regions = 16'384};
constexpr SharedMemoryUse::Limit kOfOne{.bytes = kOfAll.bytes / 8, .regions = kOfAll.regions / 8};
constexpr std::size_t kPartBytes = 64 << 20;

}  // namespace

std::shared_ptr<SharedMemoryUse> SharedMemoryUse::OfOneClient() {
  static const auto all = std::make_shared<SharedMemoryUse>(kOfAll, nullptr);
  return std::make_shared<SharedMemoryUse>(kOfOne, all);
}

bool SharedMemoryUse::Take(std::uint64_t bytes) noexcept {
  if (bytes > limit_.bytes) return false;
  // Added first: two that take at once do not both take the last of it.
  const bool fits = bytes_.fetch_add(bytes) <= limit_.bytes - bytes;
  if (regions_.fetch_add(1) < limit_.regions && fits && (all_ == nullptr || all_->Take(bytes))) {
    return true;
  }
  bytes_.fetch_sub(bytes);
  regions_.fetch_sub(1);
  return false;
}

void SharedMemoryUse::GiveBack(std::uint64_t bytes) noexcept {
  bytes_.fetch_sub(bytes);
  regions_.fetch_sub(1);
  if (all_ != nullptr) all_->GiveBack(bytes);
}

Result<std::shared_ptr<SharedRegion>> SharedRegion::Map(
    int fd, std::uint64_t bytes, const std::shared_ptr<SharedMemoryUse>& use) {
  // The seals first: they are asked of memory alone, while a file's process may let anybody wait
  // who asks for anything else.
  struct statfs about{};
  if (::fcntl(fd, F_GET_SEALS) < 0 || ::fstatfs(fd, &about) != 0 || about.f_type != TMPFS_MAGIC) {
    return Status::Invalid("shared region: not memory of small pages");
  }
  const auto mapping = MapSealed(fd, bytes, PROT_READ | PROT_WRITE, "shared region");
  if (!mapping.ok()) return mapping.status();
  if (!use->Take(bytes)) {
    ::munmap(mapping->begin, mapping->mapped);
    return Status(StatusCode::kRetry, "shared region: the client shares too much already");
  }
  return std::shared_ptr<SharedRegion>(new SharedRegion(*mapping, bytes, use));
}

SharedRegion::~SharedRegion() {
  DoElsewhere([mapping = mapping_, size = size_, use = use_] {
    // In parts, so that whoever maps something meanwhile waits for one of them at most.
    for (std::size_t at = 0; at < mapping.mapped; at += kPartBytes) {
      (void)::madvise(mapping.begin + at, std::min(kPartBytes, mapping.mapped - at), MADV_DONTNEED);
    }
    ::munmap(mapping.begin, mapping.mapped);
    use->GiveBack(size);
  });
}

bool SharedRegion::Copy(std::byte* to, const std::byte* from, std::size_t bytes,
                        std::uint64_t* checksum) {
  gone_ = gone_ || !GuardedCopy(to, from, bytes, {mapping_.begin, mapping_.mapped}, checksum);
  return !gone_;
}

bool SharedRegion::Read(std::uint64_t offset, std::span<std::byte> destination,
                        std::uint64_t* checksum) {
  TERRACE_CHECK(offset <= size_ && destination.size() <= size_ - offset);
  return Copy(destination.data(), mapping_.begin + offset, destination.size(), checksum);
}

bool SharedRegion::Write(std::uint64_t offset, std::span<const std::byte> source) {
  TERRACE_CHECK(offset <= size_ && source.size() <= size_ - offset);
  return Copy(mapping_.begin + offset, source.data(), source.size());
}

}  // namespace terrace
