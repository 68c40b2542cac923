#include "transport/name_lookup.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <system_error>
#include <thread>

#include "base/signals_blocked.h"
#include "base/wait.h"

namespace terrace {
namespace {

/// Shared with the thread; whoever lets go last frees it.
struct Lookup {
  std::string host;
  std::uint16_t port = 0;
  UniqueFd done_fd;
  std::optional<Result<SocketAddress>> result;  // written before `done`
  std::atomic<bool> done{false};
};

class Arrival final : public SocketEvents {
 public:
  void OnSocket(bool /*readable*/, bool /*writable*/) override { event.Set(); }
  Event event;
};

void Run(const std::shared_ptr<Lookup>& lookup) {
  lookup->result.emplace(LookUpAddress(lookup->host, lookup->port));
  lookup->done.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(lookup->done_fd.get(), &one, sizeof(one));
}

Status StartThread(const std::shared_ptr<Lookup>& lookup) {
  const SignalsBlocked blocked;
  try {
    std::thread([lookup] { Run(lookup); }).detach();
  } catch (const std::system_error& error) {
    return {StatusCode::kRetry, std::string("no thread to look a name up: ") + error.what()};
  }
  return {};
}

}  // namespace

Task<Result<SocketAddress>> LookUpAddressAsync(SocketPoll* poll, std::string host,
                                               std::uint16_t port, Nanos deadline) {
  const auto lookup = std::make_shared<Lookup>();
  lookup->host = std::move(host);
  lookup->port = port;
  lookup->done_fd = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!lookup->done_fd) co_return Status(StatusCode::kRetry, "no descriptor is left");
  Arrival arrival;
  if (Status status = poll->Add(lookup->done_fd.get(), false, arrival); !status.ok()) {
    co_return status;
  }
  if (Status status = StartThread(lookup); !status.ok()) {
    poll->Remove(lookup->done_fd.get());
    co_return status;
  }
  (void)co_await arrival.event.WaitUntil(deadline);
  poll->Remove(lookup->done_fd.get());
  if (!lookup->done.load(std::memory_order_acquire)) {
    co_return Status(StatusCode::kPeerDead,
                     "host \"" + lookup->host + "\" was not looked up before the deadline");
  }
  co_return *lookup->result;
}

}  // namespace terrace
