#include "client/regions/region_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace terrace {
namespace {

constexpr std::size_t kHugePageBytes = 2 << 20;
constexpr std::uint64_t kRegionBytesMax = std::uint64_t{1} << 46;  // half of what x86-64 maps

/// Touches every page, so that no get pays for the first fault. The kernel's way when it has one
/// (MADV_POPULATE_WRITE, Linux 5.14), by hand otherwise.
bool Populate(std::byte* begin, std::size_t length) {
  if (::madvise(begin, length, MADV_POPULATE_WRITE) == 0) return true;
  if (errno == ENOMEM || errno == EFAULT) return false;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  auto* touched = reinterpret_cast<volatile std::byte*>(begin);
  for (std::size_t offset = 0; offset < length; offset += page) touched[offset] = std::byte{0};
  return true;
}

/// Puts a sealed memfd in the place of the mapping at `begin`; null, and nothing changed, when the
/// system makes none.
std::shared_ptr<const UniqueFd> MapFile(std::byte* begin, std::size_t length) {
  UniqueFd file(::memfd_create("terrace-region", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(length)) != 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
      ::mmap(begin, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
             file.get(), 0) == MAP_FAILED) {
    return nullptr;
  }
  return std::make_shared<const UniqueFd>(std::move(file));
}

Status NoMemory(std::uint64_t length) {
  return {StatusCode::kRetry, "no memory for a region of " + std::to_string(length) +
                                  " bytes: " + std::strerror(errno)};
}

}  // namespace

RegionMemory::RegionMemory(RegionMemory&& other) noexcept
    : begin_(std::exchange(other.begin_, nullptr)),
      length_(std::exchange(other.length_, 0)),
      mapped_(std::exchange(other.mapped_, 0)),
      file_(std::move(other.file_)) {}

RegionMemory& RegionMemory::operator=(RegionMemory&& other) noexcept {
  std::swap(begin_, other.begin_);
  std::swap(length_, other.length_);
  std::swap(mapped_, other.mapped_);
  std::swap(file_, other.file_);
  return *this;
}

RegionMemory::~RegionMemory() {
  if (begin_ != nullptr) ::munmap(begin_, mapped_);
}

Result<RegionMemory> RegionMemory::Allocate(std::uint64_t length) {
  Result<RegionMemory> memory = Map(length);
  if (!memory.ok()) return memory;
  for (std::uint64_t at = 0; at < length; at += kStepBytes) {
    if (Status status = memory->Touch(at, kStepBytes); !status.ok()) return status;
  }
  return memory;
}

Status RegionMemory::Touch(std::uint64_t offset, std::uint64_t length) {
  if (offset >= mapped_) return {};
  // To the end of the last huge page.
  const std::uint64_t end = std::min<std::uint64_t>(mapped_, offset + length + kHugePageBytes - 1);
  const std::uint64_t bytes = (end - offset) / kHugePageBytes * kHugePageBytes;
  return Populate(begin_ + offset, bytes) ? Status() : NoMemory(length_);
}

Status RegionMemory::CheckLength(std::uint64_t length) {
  if (length > 0 && length <= kRegionBytesMax) return {};
  return Status::Invalid("length is " + std::to_string(length) + ", not 1 to " +
                         std::to_string(kRegionBytesMax));
}

Result<RegionMemory> RegionMemory::Map(std::uint64_t length) {
  if (Status status = CheckLength(length); !status.ok()) return status;
  const std::size_t rounded = (length + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  // One huge page more than needed, so that an aligned piece of the right size lies in it.
  const std::size_t reserved = rounded + kHugePageBytes;
  void* mapping = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return NoMemory(length);
  auto* begin = static_cast<std::byte*>(mapping);
  const std::size_t head =
      (kHugePageBytes - reinterpret_cast<std::uintptr_t>(begin) % kHugePageBytes) % kHugePageBytes;
  if (head > 0) ::munmap(begin, head);
  ::munmap(begin + head + rounded, reserved - head - rounded);
  RegionMemory memory;
  memory.begin_ = begin + head;
  memory.length_ = length;
  memory.mapped_ = rounded;
  memory.file_ = MapFile(memory.begin_, rounded);
  ::madvise(memory.begin_, rounded, MADV_HUGEPAGE);  // a wish: refused, small pages do as well
  return memory;
}

}  // namespace terrace
