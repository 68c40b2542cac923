#include "tiers/hbm/host_device_memory.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/wait.h"

namespace terrace {
namespace {

// Above what x86-64 and arm64 map for programs.
constexpr DeviceAddress kFirstAddress = DeviceAddress{1} << 56;
constexpr std::uint64_t kGapBytes = std::uint64_t{2} << 20;

/// What the handle of an exported allocation holds: the memfd, as its owner has it open.
struct MemfdHandle {
  char mark[8] = {'T', 'R', 'M', 'E', 'M', 'F', 'D', '1'};
  std::int64_t process = 0;
  std::int64_t descriptor = -1;
  std::uint64_t inode = 0;
};
static_assert(sizeof(MemfdHandle) <= sizeof(ExportedMemory::handle));

}  // namespace

/// The ends of copies are timers; nothing has to be polled.
class HostDeviceMemory::IdlePoller final : public Poller {
 public:
  IdlePoller() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { TERRACE_CHECK(fd_ >= 0); }
  ~IdlePoller() override { ::close(fd_); }
  IdlePoller(const IdlePoller&) = delete;
  IdlePoller& operator=(const IdlePoller&) = delete;
  unsigned Poll() override { return 0; }
  [[nodiscard]] int Fd() const noexcept override { return fd_; }
  bool Arm() override { return true; }

 private:
  int fd_;
};

struct HostDeviceMemory::Mapping {
  std::byte* memory = nullptr;
  std::uint64_t bytes = 0;
  int fd = -1;  // of our own; -1 for what another process exported
  std::size_t copies = 0;
};

/// `co_await Slot{device, urgency};`: a place among the copies in flight.
struct HostDeviceMemory::Slot {
  HostDeviceMemory* device;
  CopyUrgency urgency;
  [[nodiscard]] bool await_ready() const noexcept {
    if (device->in_flight_ >= device->options_.copies_in_flight) return false;
    ++device->in_flight_;
    return true;
  }
  void await_suspend(std::coroutine_handle<> waiter) const {
    device->waiting_[static_cast<std::size_t>(urgency)].push_back(waiter);
  }
  void await_resume() const noexcept {}
};

/// Device addresses are 0 where the host's memory, or nothing, stands on that side.
struct HostDeviceMemory::Copy {
  const char* call;
  DeviceAddress device_to = 0;
  DeviceAddress device_from = 0;
  std::byte* host_to = nullptr;
  const std::byte* host_from = nullptr;
  std::uint64_t bytes = 0;
  std::span<std::uint64_t> checksums;
};

HostDeviceMemory::HostDeviceMemory(HostDeviceOptions options)
    : options_(std::move(options)),
      poller_(std::make_unique<IdlePoller>()),
      next_address_(kFirstAddress) {
  TERRACE_CHECK(options_.copies_in_flight > 0);
}

HostDeviceMemory::~HostDeviceMemory() {
  TERRACE_CHECK(in_flight_ == 0);
  while (!mappings_.empty()) {
    Unmap(mappings_.begin()->first, mappings_.begin()->second.fd < 0);
  }
}

Poller& HostDeviceMemory::poller() noexcept { return *poller_; }

Status HostDeviceMemory::Failed(const char* call, const std::string& cause, StatusCode code) const {
  return {code, name() + ": " + call + ": " + cause};
}

void HostDeviceMemory::Break(const std::string& cause) {
  if (state_.ok()) state_ = {StatusCode::kIo, name() + ": " + cause};
}

// Takes the descriptor: keeps it when the memory is ours, closes it otherwise.
Result<DeviceAddress> HostDeviceMemory::Map(int fd, std::uint64_t bytes, bool opened) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = errno;
  if (opened || memory == MAP_FAILED) ::close(fd);
  if (memory == MAP_FAILED) {
    return Failed("mmap", std::to_string(bytes) + " bytes: " + std::strerror(error),
                  StatusCode::kRetry);
  }
  const DeviceAddress address = next_address_;
  next_address_ += (bytes + kGapBytes - 1) / kGapBytes * kGapBytes + kGapBytes;
  mappings_[address] = {
      .memory = static_cast<std::byte*>(memory), .bytes = bytes, .fd = opened ? -1 : fd};
  return address;
}

void HostDeviceMemory::Unmap(DeviceAddress memory, bool opened) {
  const auto found = mappings_.find(memory);
  TERRACE_CHECK(found != mappings_.end() && (found->second.fd < 0) == opened);
  const Mapping& mapping = found->second;
  TERRACE_CHECK(mapping.copies == 0);  // a copy would go to memory that somebody else may have
  ::munmap(mapping.memory, mapping.bytes);
  if (mapping.fd >= 0) {
    ::close(mapping.fd);
    allocated_bytes_ -= mapping.bytes;
  }
  mappings_.erase(found);
}

Result<DeviceAddress> HostDeviceMemory::Allocate(std::uint64_t bytes) {
  if (!state_.ok()) return state_;
  if (bytes == 0) return Failed("Allocate", "0 bytes", StatusCode::kInvalid);
  const std::uint64_t free = refuse_ ? 0 : options_.total_bytes - allocated_bytes_;
  if (bytes > free) {
    return Failed("Allocate",
                  "out of memory: " + std::to_string(bytes) + " bytes asked for, " +
                      std::to_string(free) + " of " + std::to_string(options_.total_bytes) +
                      " are free",
                  StatusCode::kRetry);
  }
  const int fd = ::memfd_create("terrace-device-double", MFD_CLOEXEC);
  if (fd < 0) return Failed("memfd_create", std::strerror(errno), StatusCode::kRetry);
  if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    const int error = errno;
    ::close(fd);
    return Failed("ftruncate", std::strerror(error), StatusCode::kRetry);
  }
  Result<DeviceAddress> mapped = Map(fd, bytes, false);
  if (mapped.ok()) allocated_bytes_ += bytes;
  return mapped;
}

void HostDeviceMemory::Free(DeviceAddress memory) { Unmap(memory, false); }

Status HostDeviceMemory::RegisterHost(std::span<std::byte> memory) {
  if (!state_.ok()) return state_;
  if (memory.empty()) return Failed("RegisterHost", "0 bytes", StatusCode::kInvalid);
  for (const auto& [start, bytes] : registered_) {
    if (start < memory.data() + memory.size() && memory.data() < start + bytes) {
      return Failed("RegisterHost", "some of it is registered already", StatusCode::kInvalid);
    }
  }
  registered_[memory.data()] = memory.size();
  return {};
}

void HostDeviceMemory::DeregisterHost(std::span<std::byte> memory) {
  const auto found = registered_.find(memory.data());
  TERRACE_CHECK(found != registered_.end() && found->second == memory.size());
  registered_.erase(found);
}

std::uint64_t HostDeviceMemory::registered_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& [start, size] : registered_) bytes += size;
  return bytes;
}

std::size_t HostDeviceMemory::opened() const noexcept {
  return static_cast<std::size_t>(
      std::ranges::count_if(mappings_, [](const auto& entry) { return entry.second.fd < 0; }));
}

// REQUIRES: the bytes lie within one mapping; `start` is where that begins.
HostDeviceMemory::Mapping& HostDeviceMemory::MappingOf(DeviceAddress from, std::uint64_t bytes,
                                                       DeviceAddress& start) {
  auto after = mappings_.upper_bound(from);
  TERRACE_CHECK(after != mappings_.begin());
  --after;
  start = after->first;
  TERRACE_CHECK(bytes <= after->second.bytes && from - start <= after->second.bytes - bytes);
  return after->second;
}

std::span<std::byte> HostDeviceMemory::Bytes(DeviceAddress from, std::uint64_t bytes) {
  DeviceAddress start = 0;
  const Mapping& mapping = MappingOf(from, bytes, start);
  return {mapping.memory + (from - start), bytes};
}

void HostDeviceMemory::PinMappings(const Copy& copy, bool pin) {
  DeviceAddress start = 0;
  for (const DeviceAddress address : {copy.device_to, copy.device_from}) {
    if (address == 0) continue;
    std::size_t& copies = MappingOf(address, copy.bytes, start).copies;
    pin ? ++copies : --copies;
  }
}

Task<Status> HostDeviceMemory::CopyIn(DeviceAddress to, std::span<const std::byte> from,
                                      std::span<std::uint64_t> checksums, CopyUrgency urgency) {
  return Run({.call = "CopyIn",
              .device_to = to,
              .host_from = from.data(),
              .bytes = from.size(),
              .checksums = checksums},
             urgency);
}

Task<Status> HostDeviceMemory::CopyOut(std::span<std::byte> to, DeviceAddress from,
                                       std::span<std::uint64_t> checksums, CopyUrgency urgency) {
  return Run({.call = "CopyOut",
              .device_from = from,
              .host_to = to.data(),
              .bytes = to.size(),
              .checksums = checksums},
             urgency);
}

Task<Status> HostDeviceMemory::CopyWithin(DeviceAddress to, DeviceAddress from, std::uint64_t bytes,
                                          std::span<std::uint64_t> checksums, CopyUrgency urgency) {
  return Run({.call = "CopyWithin",
              .device_to = to,
              .device_from = from,
              .bytes = bytes,
              .checksums = checksums},
             urgency);
}

Task<Status> HostDeviceMemory::Checksum(DeviceAddress from, std::uint64_t bytes,
                                        std::span<std::uint64_t> checksums, CopyUrgency urgency) {
  return Run({.call = "Checksum", .device_from = from, .bytes = bytes, .checksums = checksums},
             urgency);
}

Task<Status> HostDeviceMemory::Run(Copy copy, CopyUrgency urgency) {
  if (!state_.ok()) co_return state_;
  if (!copy.checksums.empty() && copy.checksums.size() != ChecksumPieceCount(copy.bytes)) {
    co_return Failed(copy.call,
                     std::to_string(copy.checksums.size()) + " checksums for " +
                         std::to_string(copy.bytes) + " bytes",
                     StatusCode::kInvalid);
  }
  if (copy.bytes == 0) co_return Status::Ok();
  PinMappings(copy, true);
  co_await Slot{this, urgency};
  Status status = co_await RunInSlot(&copy);
  ReleaseSlot();
  PinMappings(copy, false);
  co_return status;
}

Task<Status> HostDeviceMemory::RunInSlot(const Copy* copy) {
  most_in_flight_ = std::max(most_in_flight_, in_flight_);
  const std::uint64_t number = ++begun_;
  if (number == break_at_) Break(std::string(copy->call) + ": broken by a test");
  if (!state_.ok()) co_return state_;
  co_await SleepUntil{Scheduler::Current().Now() + options_.latency +
                      options_.per_mebibyte * static_cast<Nanos>(copy->bytes) / (1 << 20)};
  if (!state_.ok()) co_return state_;
  if (number == fail_at_) co_return Failed(copy->call, "failed by a test", StatusCode::kIo);
  MoveBytes(*copy, number == flip_at_);
  co_return Status::Ok();
}

void HostDeviceMemory::MoveBytes(const Copy& copy, bool flip) {
  std::byte* to = copy.device_to != 0 ? Bytes(copy.device_to, copy.bytes).data() : copy.host_to;
  const std::byte* from =
      copy.device_from != 0 ? Bytes(copy.device_from, copy.bytes).data() : copy.host_from;
  if (to != nullptr) {
    std::memmove(to, from, copy.bytes);
    if (flip) to[copy.bytes / 2] ^= std::byte{0x10};
  }
  // What the device has: the source, unless it came from the host.
  if (copy.checksums.empty()) return;
  ChecksumBlock({copy.device_from != 0 ? from : to, copy.bytes}, copy.checksums);
}

void HostDeviceMemory::ReleaseSlot() {
  for (auto& waiting : waiting_) {
    if (waiting.empty()) continue;
    Scheduler::Current().Ready(waiting.front());  // with this slot
    waiting.pop_front();
    return;
  }
  --in_flight_;
}

Result<ExportedMemory> HostDeviceMemory::Export(DeviceAddress memory) {
  if (!state_.ok()) return state_;
  const auto found = mappings_.find(memory);
  TERRACE_CHECK(found != mappings_.end() && found->second.fd >= 0);
  struct stat facts{};
  if (::fstat(found->second.fd, &facts) != 0) {
    return Failed("Export", std::strerror(errno), StatusCode::kIo);
  }
  MemfdHandle handle;
  handle.process = ::getpid();
  handle.descriptor = found->second.fd;
  handle.inode = facts.st_ino;
  ExportedMemory exported{.bytes = found->second.bytes};
  std::memcpy(exported.handle.data(), &handle, sizeof handle);
  return exported;
}

Result<DeviceAddress> HostDeviceMemory::OpenExported(const ExportedMemory& memory) {
  if (!state_.ok()) return state_;
  MemfdHandle handle;
  std::memcpy(&handle, memory.handle.data(), sizeof handle);
  if (std::memcmp(handle.mark, MemfdHandle{}.mark, sizeof handle.mark) != 0 || memory.bytes == 0) {
    return Failed("OpenExported", "no handle of exported memory", StatusCode::kInvalid);
  }
  if (handle.process == ::getpid() && !options_.open_own) {
    return Failed("OpenExported", "the memory is this process's own", StatusCode::kInvalid);
  }
  const std::string path =
      "/proc/" + std::to_string(handle.process) + "/fd/" + std::to_string(handle.descriptor);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    const bool gone = errno == ENOENT || errno == ESRCH;
    return Failed("OpenExported", path + ": " + std::strerror(errno),
                  gone ? StatusCode::kPeerDead : StatusCode::kUnsupported);
  }
  struct stat facts{};
  if (::fstat(fd, &facts) != 0 || facts.st_ino != handle.inode) {
    ::close(fd);  // another process has that number now, or the owner let the memory go
    return Failed("OpenExported", path + ": the memory is gone", StatusCode::kPeerDead);
  }
  if (memory.bytes > static_cast<std::uint64_t>(facts.st_size)) {
    ::close(fd);
    return Failed("OpenExported",
                  std::to_string(memory.bytes) + " bytes of memory of " +
                      std::to_string(facts.st_size) + " bytes",
                  StatusCode::kInvalid);
  }
  return Map(fd, memory.bytes, true);
}

void HostDeviceMemory::CloseExported(DeviceAddress memory) { Unmap(memory, true); }

}  // namespace terrace
