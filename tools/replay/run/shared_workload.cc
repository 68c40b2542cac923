#include "tools/replay/run/shared_workload.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace terrace::replay {
namespace {

constexpr std::uint64_t kMagic = 0x3230'594c'5052'5254;  // "TRRPLY02"

Status SystemError(const char* call) {
  return Status(StatusCode::kIo, std::string(call) + ": " + std::strerror(errno));
}

std::size_t TotalBytes(const RunParameters& parameters) {
  return sizeof(RunParameters) + parameters.request_count * sizeof(TraceRequest) +
         parameters.reference_count * sizeof(std::uint64_t) +
         parameters.hint_count * sizeof(TraceHint);
}

}  // namespace

Result<SharedWorkload> SharedWorkload::Create(const RunParameters& parameters, const Trace& trace,
                                              std::span<const TraceHint> hints) {
  RunParameters header = parameters;
  header.magic = kMagic;
  header.request_count = trace.requests.size();
  header.reference_count = trace.hash_ids.size();
  header.hint_count = hints.size();
  const std::size_t bytes = TotalBytes(header);
  const int fd = memfd_create("terrace-replay-workload", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return SystemError("memfd_create");
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    const Status failure = SystemError("ftruncate of the workload's memfd");
    close(fd);
    return failure;
  }
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    const Status failure = SystemError("mmap of the workload");
    close(fd);
    return failure;
  }
  auto* out = static_cast<std::byte*>(memory);
  std::memcpy(out, &header, sizeof header);
  out += sizeof header;
  std::memcpy(out, trace.requests.data(), trace.requests.size() * sizeof(TraceRequest));
  out += trace.requests.size() * sizeof(TraceRequest);
  std::memcpy(out, trace.hash_ids.data(), trace.hash_ids.size() * sizeof(std::uint64_t));
  out += trace.hash_ids.size() * sizeof(std::uint64_t);
  if (!hints.empty()) std::memcpy(out, hints.data(), hints.size_bytes());
  munmap(memory, bytes);
  // Sealed, so that no worker can change what the others and the coordinator read. A kernel
  // without seals only loses that protection.
  (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return Attach(fd);
}

Result<SharedWorkload> SharedWorkload::Attach(int fd) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return SystemError("fstat of the workload");
  const auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes < sizeof(RunParameters)) {
    return Status::Invalid("descriptor " + std::to_string(fd) + " holds no workload");
  }
  void* memory = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return SystemError("mmap of the workload");
  SharedWorkload workload(fd, static_cast<const std::byte*>(memory), bytes);
  const RunParameters& header = workload.parameters();
  if (header.magic != kMagic || header.request_count > kRequestsMax ||
      header.reference_count > kReferencesMax ||
      (header.hint_count != 0 && header.hint_count != header.request_count) ||
      TotalBytes(header) != bytes) {
    return Status::Invalid("descriptor " + std::to_string(fd) + " holds no workload");
  }
  return workload;
}

SharedWorkload::SharedWorkload(SharedWorkload&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      memory_(std::exchange(other.memory_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

SharedWorkload::~SharedWorkload() {
  if (memory_ != nullptr) munmap(const_cast<std::byte*>(memory_), bytes_);
  if (fd_ >= 0) close(fd_);
}

const RunParameters& SharedWorkload::parameters() const noexcept {
  return *reinterpret_cast<const RunParameters*>(memory_);
}

std::span<const TraceRequest> SharedWorkload::requests() const noexcept {
  return {reinterpret_cast<const TraceRequest*>(memory_ + sizeof(RunParameters)),
          parameters().request_count};
}

std::span<const std::uint64_t> SharedWorkload::BlocksOf(std::uint64_t request) const noexcept {
  const TraceRequest& entry = requests()[request];
  const auto* ids = reinterpret_cast<const std::uint64_t*>(
      memory_ + sizeof(RunParameters) + parameters().request_count * sizeof(TraceRequest));
  return {ids + entry.first_reference, entry.block_count};
}

TraceHint SharedWorkload::HintOf(std::uint64_t request) const noexcept {
  if (parameters().hint_count == 0) return {};
  const auto* hints = reinterpret_cast<const TraceHint*>(
      memory_ + sizeof(RunParameters) + parameters().request_count * sizeof(TraceRequest) +
      parameters().reference_count * sizeof(std::uint64_t));
  return hints[request];
}

}  // namespace terrace::replay
