#include "transport/shm/ring_hub.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"
#include "transport/shm/ring_stream.h"

namespace terrace {

Result<std::unique_ptr<RingHub>> RingHub::Create(Reactor& reactor) {
  UniqueFd never(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!never) return Status(StatusCode::kIo, std::string("eventfd: ") + std::strerror(errno));
  std::unique_ptr<RingHub> hub(new RingHub(reactor, std::move(never)));
  reactor.AddPoller(*hub);
  return hub;
}

RingHub::~RingHub() {
  TERRACE_CHECK(streams_.empty());
  reactor_.RemovePoller(*this);
}

void RingHub::Add(RingStream& stream, int bell) {
  streams_.push_back(&stream);
  reactor_.Watch(bell, [&stream] { stream.OnBell(); });
  Warm(stream);
}

void RingHub::Remove(RingStream& stream, int bell) {
  std::erase(streams_, &stream);
  reactor_.Unwatch(bell);
  std::replace(warm_.begin(), warm_.end(), &stream, static_cast<RingStream*>(nullptr));
}

void RingHub::Warm(RingStream& stream) { warm_.push_back(&stream); }

unsigned RingHub::Poll() {
  unsigned events = 0;
  // By index: streams come and go while their messages are handled.
  for (std::size_t index = 0; index < warm_.size(); ++index) {
    if (warm_[index] != nullptr) events += warm_[index]->Drain();
  }
  std::erase(warm_, nullptr);
  return events;
}

void RingHub::Disarm() {
  for (RingStream* stream : streams_) stream->Awake();
}

bool RingHub::Arm() {
  while (!warm_.empty()) {
    if (warm_.back() != nullptr && !warm_.back()->FallAsleep()) return false;
    warm_.pop_back();
  }
  return true;
}

}  // namespace terrace
