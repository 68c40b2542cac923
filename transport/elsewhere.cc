#include "transport/elsewhere.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <deque>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/signals_blocked.h"

namespace terrace {
namespace {

constexpr int kThreadsMax = 8;

struct Elsewhere {
  std::mutex mutex;
  std::deque<std::function<void()>> waiting;  // guarded by mutex
  int threads = 0;                            // guarded by mutex
};

/// Never destroyed: its threads may outlive main.
Elsewhere& Shared() {
  static auto* const shared = new Elsewhere;
  return *shared;
}

void Run(Elsewhere& shared) {
  std::unique_lock lock(shared.mutex);
  while (!shared.waiting.empty()) {
    const std::function<void()> work = std::move(shared.waiting.front());
    shared.waiting.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
  --shared.threads;
}

}  // namespace

void DoElsewhere(std::function<void()> work) {
  Elsewhere& shared = Shared();
  const std::lock_guard lock(shared.mutex);
  shared.waiting.push_back(std::move(work));
  if (shared.threads == kThreadsMax) return;
  const SignalsBlocked blocked;
  try {
    std::thread([&shared] { Run(shared); }).detach();
    ++shared.threads;
  } catch (const std::system_error&) {
    return;  // no thread to be had: it is done with what comes next
  }
}

void CloseForeign(UniqueFd fd) {
  if (!fd || ::fcntl(fd.get(), F_GET_SEALS) >= 0) return;
  const linger none{};  // fails for what is no socket
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
  DoElsewhere([kept = std::make_shared<UniqueFd>(std::move(fd))] { kept->Reset(); });
}

}  // namespace terrace
