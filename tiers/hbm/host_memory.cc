#include "tiers/hbm/host_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "base/check.h"
#include "base/random.h"

namespace terrace {
namespace {

constexpr const char* kNamePrefix = "terrace-device-";

Result<std::span<std::byte>> MapAll(int descriptor, std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (memory == MAP_FAILED) {
    return Status(StatusCode::kRetry, std::string("mmap: ") + std::strerror(errno));
  }
  return std::span(static_cast<std::byte*>(memory), bytes);
}

/// Whether the descriptor of this process is the memfd of that name.
bool HasName(int descriptor, const std::string& name) {
  std::array<char, 256> target{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t length = ::readlink(link.c_str(), target.data(), target.size());
  return length > 0 && std::string_view(target.data(), static_cast<std::size_t>(length)) ==
                           "/memfd:" + name + " (deleted)";
}

}  // namespace

HostMemory::HostMemory(HostMemory&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})),
      descriptor_(std::exchange(other.descriptor_, -1)),
      name_(std::move(other.name_)) {}

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(name_, other.name_);
  return *this;
}

HostMemory::~HostMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<HostMemory> HostMemory::Make(std::size_t bytes) {
  TERRACE_CHECK(bytes > 0);
  HostMemory memory;
  memory.name_ = kNamePrefix + std::to_string(SystemRandom().Next());
  memory.descriptor_ = ::memfd_create(memory.name_.c_str(), MFD_CLOEXEC);
  if (memory.descriptor_ < 0 || ::ftruncate(memory.descriptor_, static_cast<off_t>(bytes)) != 0) {
    return Status(StatusCode::kRetry, std::string("memfd: ") + std::strerror(errno));
  }
  const auto mapped = MapAll(memory.descriptor_, bytes);
  if (!mapped.ok()) return mapped.status();
  memory.bytes_ = *mapped;
  return memory;
}

std::vector<std::byte> HostMemory::Handle() const {
  const std::string text =
      std::to_string(::getpid()) + ' ' + std::to_string(descriptor_) + ' ' + name_;
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

Result<HostMemory> HostMemory::Open(std::span<const std::byte> handle) {
  std::istringstream text(std::string(reinterpret_cast<const char*>(handle.data()), handle.size()));
  pid_t process = 0;
  int number = -1;
  HostMemory memory;
  if (!(text >> process >> number >> memory.name_) || process <= 0 || number < 0 ||
      !memory.name_.starts_with(kNamePrefix)) {
    return Status::Invalid("handle: names no memory");
  }
  const std::string path = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(number);
  memory.descriptor_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (memory.descriptor_ < 0) {
    const bool denied = errno == EACCES || errno == EPERM;
    return Status(denied ? StatusCode::kUnsupported : StatusCode::kPeerDead,
                  "handle: " + path + ": " + std::strerror(errno));
  }
  struct stat about{};
  if (!HasName(memory.descriptor_, memory.name_) || ::fstat(memory.descriptor_, &about) != 0 ||
      about.st_size <= 0) {
    return Status(StatusCode::kPeerDead,
                  "handle: " + path + " is not " + memory.name_ + " any more");
  }
  const auto mapped = MapAll(memory.descriptor_, static_cast<std::size_t>(about.st_size));
  if (!mapped.ok()) return mapped.status();
  memory.bytes_ = *mapped;
  return memory;
}

}  // namespace terrace
