#include "tools/bench/limits/bare_uring_loop.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace terrace::bench {

namespace {

constexpr std::uint64_t kFillBytes = 4 << 20;

[[noreturn]] void Die(const std::string& what, int error) {
  std::fprintf(stderr, "terrace-bench: %s: %s\n", what.c_str(), std::strerror(error));
  std::exit(1);
}

}  // namespace

BareUringLoop::BareUringLoop(const std::string& path, Access access, unsigned depth,
                             ColdMemory& memory)
    : access_(access), depth_(depth), memory_(memory) {
  const int flags = access == Access::kRead ? O_RDONLY : O_RDWR | O_CREAT;
  file_ = ::open(path.c_str(), flags | O_DIRECT | O_CLOEXEC, 0600);
  if (file_ < 0) Die("open " + path, errno);
  // The flags that suit a loop of one thread (Linux 6.1); without them before that.
  int made =
      ::io_uring_queue_init(depth, &ring_, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  if (made == -EINVAL) made = ::io_uring_queue_init(depth, &ring_, 0);
  if (made != 0) Die("io_uring_queue_init", -made);
}

BareUringLoop::~BareUringLoop() {
  ::io_uring_queue_exit(&ring_);
  ::close(file_);
}

void BareUringLoop::WriteOnce(std::uint64_t bytes) {
  const int failed = ::posix_fallocate(file_, 0, static_cast<off_t>(bytes));
  if (failed != 0) Die("reserve " + std::to_string(bytes) + " bytes", failed);
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t offset = 0; offset < bytes; offset += kFillBytes) offsets.push_back(offset);
  if (Run(offsets, kFillBytes).seconds < 0) Die("write " + std::to_string(bytes) + " bytes", EIO);
}

bool BareUringLoop::Submit(std::uint64_t offset, std::uint64_t block_bytes) {
  io_uring_sqe* const entry = ::io_uring_get_sqe(&ring_);
  if (entry == nullptr) return false;
  void* const memory = memory_.Next(block_bytes).data();
  if (access_ == Access::kRead) {
    ::io_uring_prep_read(entry, file_, memory, static_cast<unsigned>(block_bytes), offset);
  } else {
    ::io_uring_prep_write(entry, file_, memory, static_cast<unsigned>(block_bytes), offset);
  }
  return true;
}

BareUringLoop::Times BareUringLoop::Run(std::span<const std::uint64_t> offsets,
                                        std::uint64_t block_bytes) {
  const CpuTimes cpu_before = OwnCpu();
  const auto started = std::chrono::steady_clock::now();
  bool failed = false;
  std::size_t next = 0;
  std::size_t in_flight = 0;
  while (next < offsets.size() || in_flight > 0) {
    while (!failed && next < offsets.size() && in_flight < depth_) {
      if (!Submit(offsets[next], block_bytes)) break;
      ++next;
      ++in_flight;
    }
    if (in_flight == 0) break;  // failed, and all that was under way has ended
    const int submitted = ::io_uring_submit_and_wait(&ring_, 1);
    if (submitted < 0 && submitted != -EINTR) Die("io_uring_submit_and_wait", -submitted);
    for (io_uring_cqe* done = nullptr; ::io_uring_peek_cqe(&ring_, &done) == 0; --in_flight) {
      if (done->res != static_cast<int>(block_bytes)) failed = true;
      ::io_uring_cqe_seen(&ring_, done);
    }
  }
  if (access_ == Access::kWrite && ::fdatasync(file_) != 0) failed = true;
  Times times;
  if (failed) return times;
  times.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  times.cpu = OwnCpu() - cpu_before;
  return times;
}

}  // namespace terrace::bench
