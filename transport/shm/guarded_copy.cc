#include "transport/shm/guarded_copy.h"

#include <sys/mman.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <mutex>

#include "base/check.h"
#include "base/checksum.h"
#include "base/streaming_copy.h"

namespace terrace {
namespace {

constexpr std::uintptr_t kPageBytes = 4096;
constexpr std::size_t kStreamedBytesMin = 64 << 10;  // less is likely to be read from the caches

/// What this thread copies from or to; the handler looks at it.
struct Guard {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::atomic<bool> broken{false};
};
thread_local Guard guard;

struct sigaction action_before;

/// In the place of a page that has gone comes one of our own, and the copy goes on to its end.
void OnSigbus(int signal, siginfo_t* info, void* /*context*/) {
  const bool sent = info->si_code <= 0;  // by a process: there is no address, and no second time
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  if (!sent && at >= guard.begin && at < guard.end) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the page of an address
    void* const page = reinterpret_cast<void*>(at / kPageBytes * kPageBytes);
    if (::mmap(page, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
               -1, 0) != MAP_FAILED) {
      guard.broken.store(true, std::memory_order_relaxed);
      return;
    }
  }
  // Somebody else's: it happens again, to whoever was asked before us.
  ::sigaction(signal, &action_before, nullptr);
  if (sent) ::raise(signal);  // comes once this has returned
}

void InstallHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_sigaction = OnSigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    TERRACE_CHECK(::sigaction(SIGBUS, &action, &action_before) == 0);
  });
}

}  // namespace

bool GuardedCopy(std::byte* to, const std::byte* from, std::size_t bytes,
                 std::span<const std::byte> doubtful, std::uint64_t* checksum) {
  const CopyPart whole{to, from, bytes};
  return GuardedCopy({&whole, 1}, doubtful, checksum);
}

bool GuardedCopy(std::span<const CopyPart> parts, std::span<const std::byte> doubtful,
                 std::uint64_t* checksum) {
  std::size_t bytes = 0;
  for (const CopyPart& part : parts) bytes += part.bytes;
  InstallHandler();
  guard.begin = reinterpret_cast<std::uintptr_t>(doubtful.data());
  guard.end = guard.begin + doubtful.size();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (checksum != nullptr) {
    ChecksumCopy copy;
    copy.Copy(parts);
    *checksum = copy.Finish();
  } else if (bytes >= kStreamedBytesMin) {
    StreamingCopy(parts);
  } else {
    for (const CopyPart& part : parts) std::memcpy(part.to, part.from, part.bytes);
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  guard.begin = guard.end = 0;
  return !guard.broken.exchange(false, std::memory_order_relaxed);
}

}  // namespace terrace
