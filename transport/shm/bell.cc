#include "transport/shm/bell.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

namespace terrace {
namespace {

Status NoDescriptor(const char* call) {
  return {StatusCode::kRetry, std::string(call) + ": " + std::strerror(errno)};
}

/// One direction: what is rung, and what hears it.
Result<std::array<UniqueFd, 2>> MakeDirection() {
  UniqueFd rung(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!rung) return NoDescriptor("eventfd");
  UniqueFd heard(::epoll_create1(EPOLL_CLOEXEC));
  if (!heard) return NoDescriptor("epoll_create1");
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  if (::epoll_ctl(heard.get(), EPOLL_CTL_ADD, rung.get(), &event) != 0) {
    return NoDescriptor("epoll_ctl");
  }
  return std::array<UniqueFd, 2>{std::move(rung), std::move(heard)};
}

}  // namespace

Result<std::array<Bell, 2>> Bell::MakePair() {
  auto there = MakeDirection();
  if (!there.ok()) return there.status();
  auto back = MakeDirection();
  if (!back.ok()) return back.status();
  auto& [rings_there, hears_there] = *there;
  auto& [rings_back, hears_back] = *back;
  return std::array<Bell, 2>{Bell(std::move(rings_there), std::move(hears_back)),
                             Bell(std::move(rings_back), std::move(hears_there))};
}

void Bell::Ring() const {
  const std::uint64_t one = 1;
  // Refused: the counter is full, which only rings enough to wake anybody have made it.
  [[maybe_unused]] const ssize_t written = ::write(rung_.get(), &one, sizeof one);
}

void Bell::Hear() const {
  epoll_event event{};
  (void)::epoll_wait(heard_.get(), &event, 1, 0);
}

}  // namespace terrace
