#include "base/reactor.h"

#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace terrace {

namespace {

constexpr std::size_t kReadyPerTurn = 256;  // then UCX and the ring get their share
constexpr unsigned kCompletionsPerTurn = 256;
constexpr std::uint64_t kEpollPeekTurns = 16;  // a busy epoll loop looks at its files this often

}  // namespace

/// One watched descriptor. In ring mode it is also the completion of its one-shot poll, so it
/// lives until that has come back, even when it was unwatched before.
struct Reactor::FdWatch final : RingCompletion {
  int fd = -1;
  std::uint64_t id = 0;  // never used twice: a late event of epoll finds nobody
  bool armed = false;
  bool fired = false;
  bool removed = false;
  bool sleep_only = false;  // pollers and the wake-up: armed only before sleeping
  std::function<void()> ready;

  void OnComplete(std::int32_t result) noexcept override {
    armed = false;
    if (!removed && result >= 0) fired = true;
  }
};

/// Where the loop sleeps: a ring, or epoll when the kernel refuses rings.
struct Reactor::Sleeper {
  io_uring ring{};
  bool has_ring = false;
  int epoll_fd = -1;

  ~Sleeper() {
    if (has_ring) io_uring_queue_exit(&ring);
    if (epoll_fd >= 0) ::close(epoll_fd);
  }

  bool MakeRing(unsigned entries) {
    // The ring is enabled by the thread that will run the loop: SINGLE_ISSUER binds it to that.
    constexpr unsigned kFlagSets[] = {
        IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
            IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_R_DISABLED,
    };
    for (const unsigned flags : kFlagSets) {
      if (io_uring_queue_init(entries, &ring, flags) == 0) {
        // Sleeping needs a wait with a timeout that is an argument, not a queued operation.
        if ((ring.features & IORING_FEAT_EXT_ARG) != 0) return has_ring = true;
        io_uring_queue_exit(&ring);
      }
    }
    return false;
  }
};

Result<std::unique_ptr<Reactor>> Reactor::Create(ReactorOptions options, Clock& clock) {
  auto sleeper = std::make_unique<Sleeper>();
  if (options.shared || !options.use_io_uring || !sleeper->MakeRing(options.ring_entries)) {
    sleeper->epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
    if (sleeper->epoll_fd < 0) {
      return Status(StatusCode::kIo, std::string("epoll_create1: ") + std::strerror(errno));
    }
  }
  const int wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) return Status(StatusCode::kIo, std::string("eventfd: ") + std::strerror(errno));
  std::unique_ptr<Reactor> reactor(
      new Reactor(std::move(options), clock, std::move(sleeper), wake_fd));
  return reactor;
}

Reactor::Reactor(ReactorOptions options, Clock& clock, std::unique_ptr<Sleeper> sleeper,
                 int wake_fd)
    : options_(std::move(options)),
      scheduler_(clock),
      sleeper_(std::move(sleeper)),
      wake_fd_(wake_fd) {
  AddWatch(wake_fd_, true, [this] {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t bytes = ::read(wake_fd_, &count, sizeof count);
  });
}

Reactor::~Reactor() {
  Stop();
  Join();
  sleeper_.reset();  // before the watches: a poll in flight names them
  ::close(wake_fd_);
}

void Reactor::Enqueue(std::function<void()> function) {
  const std::lock_guard lock(inbox_mutex_);
  inbox_.push_back(std::move(function));
  inbox_filled_.store(true, std::memory_order_seq_cst);
}

void Reactor::Post(std::function<void()> function) {
  Enqueue(std::move(function));
  WakeIfSleeping();
}

void Reactor::Stop() {
  stop_.store(true, std::memory_order_seq_cst);
  WakeIfSleeping();
}

void Reactor::WakeIfSleeping() {
  // The sleeper sets `sleeping_`, then looks at the inbox; we filled the inbox, then look at
  // `sleeping_`. Both sequentially consistent: one of the two sees the other.
  if (sleeping_.load(std::memory_order_seq_cst)) Wake();
}

void Reactor::Wake() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t bytes = ::write(wake_fd_, &one, sizeof one);
}

void Reactor::Start() {
  TERRACE_CHECK(!thread_.joinable());
  thread_ = std::thread([this] { Run(); });
}

void Reactor::Join() {
  if (thread_.joinable()) thread_.join();
}

void Reactor::NameThread() const {
  ::pthread_setname_np(::pthread_self(), options_.name.substr(0, 15).c_str());
}

void Reactor::Run() {
  TERRACE_CHECK(!options_.shared);
  NameThread();
  const Scheduler::CurrentScope current(scheduler_);
  if (sleeper_->has_ring) {
    // Fails only when an earlier Run of this ring has enabled it already. By the raw register
    // call, because Debian's liburing 2.3 does not export io_uring_enable_rings.
    io_uring_register(static_cast<unsigned>(sleeper_->ring.ring_fd), IORING_REGISTER_ENABLE_RINGS,
                      nullptr, 0);
  }
  Nanos idle_since = 0;
  while (!stop_.load(std::memory_order_seq_cst)) {
    if (!KeepTurning(idle_since)) Sleep();
  }
}

bool Reactor::KeepTurning(Nanos& idle_since, Nanos spin_least) {
  if (Turn()) {
    idle_since = 0;
    return true;
  }
  if (const Nanos spin = std::max(SpinTime(), spin_least); spin > 0) {
    if (idle_since == 0) idle_since = looked_at_clock_;
    if (looked_at_clock_ - idle_since < spin) return true;
  }
  idle_since = 0;
  return false;
}

bool Reactor::Turn() {
  const Nanos started = scheduler_.Now();
  counters_.turns.fetch_add(1, std::memory_order_relaxed);
  // The order: what is ready first, because it produces sends and SQEs that the later steps carry
  // out in the same turn; then the inbox, whose requests are new work; then UCX, whose callbacks
  // only enqueue; then the ring, which submits what all of them queued with one system call; the
  // timers last, so that a completion that came in time is seen before its deadline is.
  bool worked = scheduler_.RunReady(kReadyPerTurn) > 0;
  worked |= DrainInbox();
  worked |= PollPollers();
  worked |= sleeper_->has_ring ? ReapRing() : PeekEpoll();
  worked |= RunFired();
  // An idle turn takes less than what a timer can be late by; a look at the clock is a third of it.
  looked_at_clock_ = worked ? scheduler_.Now() : started;
  worked |= scheduler_.RunTimers(looked_at_clock_) > 0;
  if (worked) NoteTurn(started);
  return worked || scheduler_.HasReady();
}

bool Reactor::DrainInbox() {
  if (!inbox_filled_.load(std::memory_order_acquire)) return false;
  std::vector<std::function<void()>> functions;
  {
    const std::lock_guard lock(inbox_mutex_);
    functions.swap(inbox_);
    inbox_filled_.store(false, std::memory_order_relaxed);
  }
  for (const auto& function : functions) function();
  counters_.posts.fetch_add(functions.size(), std::memory_order_relaxed);
  return true;
}

bool Reactor::PollPollers() {
  unsigned events = 0;
  // By index: a poller may add or remove one while it is polled.
  for (std::size_t index = 0; index < pollers_.size(); ++index) events += pollers_[index]->Poll();
  return events > 0;
}

Nanos Reactor::SpinTime() const {
  const bool expecting = std::any_of(pollers_.begin(), pollers_.end(),
                                     [](const Poller* poller) { return poller->Expecting(); });
  return expecting ? std::max(options_.spin, options_.spin_expecting) : options_.spin;
}

bool Reactor::ArmWatches(bool sleeping) {
  bool queued = false;
  for (const auto& watch : watches_) {
    if (watch->armed || watch->fired || watch->removed || (watch->sleep_only && !sleeping)) {
      continue;
    }
    io_uring_sqe* sqe = io_uring_get_sqe(&sleeper_->ring);
    if (sqe == nullptr) {
      io_uring_submit(&sleeper_->ring);
      sqe = io_uring_get_sqe(&sleeper_->ring);
      if (sqe == nullptr) return queued;  // armed on the next turn
    }
    io_uring_prep_poll_add(sqe, watch->fd, POLLIN);
    io_uring_sqe_set_data(sqe, static_cast<RingCompletion*>(watch.get()));
    watch->armed = true;
    RingSubmitted();
    queued = true;
  }
  return queued;
}

bool Reactor::ReapRing() {
  io_uring& ring = sleeper_->ring;
  ArmWatches(false);
  const bool to_submit = io_uring_sq_ready(&ring) > 0;
  // With DEFER_TASKRUN completions appear only when the owner enters the kernel.
  const bool to_collect = ring_inflight_ > 0 && (__atomic_load_n(ring.sq.kflags, __ATOMIC_ACQUIRE) &
                                                 IORING_SQ_TASKRUN) != 0;
  if (to_submit || to_collect) {
    io_uring_submit_and_get_events(&ring);
  } else if (io_uring_cq_ready(&ring) == 0) {
    return false;
  }
  return TakeCompletions() > 0;
}

unsigned Reactor::TakeCompletions() {
  io_uring_cqe* cqes[kCompletionsPerTurn];
  const unsigned count = io_uring_peek_batch_cqe(&sleeper_->ring, cqes, kCompletionsPerTurn);
  struct Finished {
    RingCompletion* completion;
    std::int32_t result;
  };
  Finished finished[kCompletionsPerTurn];
  for (unsigned index = 0; index < count; ++index) {
    finished[index] = {static_cast<RingCompletion*>(io_uring_cqe_get_data(cqes[index])),
                       cqes[index]->res};
  }
  // Advanced before any callback runs: a callback that ends the loop early cannot make the same
  // completion be seen twice.
  io_uring_cq_advance(&sleeper_->ring, count);
  for (unsigned index = 0; index < count; ++index) {
    if (finished[index].completion == nullptr) continue;
    --ring_inflight_;
    finished[index].completion->OnComplete(finished[index].result);
  }
  return count;
}

bool Reactor::PeekEpoll() {
  const std::uint64_t turns = counters_.turns.load(std::memory_order_relaxed);
  if (turns % kEpollPeekTurns == 0) PeekEpollNow();
  return false;  // what is readable shows in RunFired
}

std::span<const epoll_event> Reactor::WaitEpoll(int epoll_fd, std::span<epoll_event> room,
                                                Nanos wait) {
  // Rounded up: waking a millisecond early would spin until the timer is due.
  const Nanos milliseconds = (wait + kMillisecond - 1) / kMillisecond;
  const int count = ::epoll_wait(epoll_fd, room.data(), static_cast<int>(room.size()),
                                 static_cast<int>(milliseconds));
  return room.first(static_cast<std::size_t>(std::max(count, 0)));  // -1: a signal came
}

int Reactor::epoll_fd() const noexcept { return sleeper_->epoll_fd; }

void Reactor::PeekEpollNow() {
  std::array<epoll_event, kEpollEvents> events;
  MarkFired(WaitEpoll(sleeper_->epoll_fd, events, 0));
}

void Reactor::MarkFired(std::span<const epoll_event> events) {
  for (const epoll_event& event : events) {
    const std::uint64_t id = event.data.u64;  // a copy: the struct is packed
    const auto found = std::find_if(watches_.begin(), watches_.end(),
                                    [id](const auto& watch) { return watch->id == id; });
    if (found != watches_.end()) (*found)->fired = true;
  }
}

bool Reactor::RunFired() {
  bool any = false;
  for (std::size_t index = 0; index < watches_.size(); ++index) {
    FdWatch* watch = watches_[index].get();
    if (!watch->fired) continue;
    watch->fired = false;
    if (watch->removed) continue;
    any = true;
    // Copied: the callback may unwatch, and so free, its own watch.
    const std::function<void()> ready = watch->ready;
    if (ready) ready();
  }
  if (removed_watches_) {
    const auto gone = [](const auto& watch) { return watch->removed && !watch->armed; };
    std::erase_if(watches_, gone);
    removed_watches_ = std::any_of(watches_.begin(), watches_.end(),
                                   [](const auto& watch) { return watch->removed; });
  }
  return any;
}

bool Reactor::BeginSleep() {
  sleeping_.store(true, std::memory_order_seq_cst);
  return !inbox_filled_.load(std::memory_order_seq_cst) && !stop_.load(std::memory_order_seq_cst) &&
         std::all_of(pollers_.begin(), pollers_.end(),
                     [](Poller* poller) { return poller->Arm(); });
}

Nanos Reactor::SleepTime() const {
  return std::clamp<Nanos>(scheduler_.NextTimer() - scheduler_.Now(), 0, kSleepMax);
}

void Reactor::Sleep() {
  if (BeginSleep()) {
    const Nanos wait = SleepTime();
    counters_.sleeps.fetch_add(1, std::memory_order_relaxed);
    if (sleeper_->has_ring) {
      ArmWatches(true);
      __kernel_timespec timeout{.tv_sec = wait / kSecond, .tv_nsec = wait % kSecond};
      io_uring_cqe* first = nullptr;
      io_uring_submit_and_wait_timeout(&sleeper_->ring, &first, 1, &timeout, nullptr);
    } else {
      std::array<epoll_event, kEpollEvents> events;
      MarkFired(WaitEpoll(sleeper_->epoll_fd, events, wait));
    }
  }
  EndSleep();
}

void Reactor::NoteTurn(Nanos started) {
  const Nanos took = scheduler_.Now() - started;
  if (took > counters_.stall_max_ns.load(std::memory_order_relaxed)) {
    counters_.stall_max_ns.store(took, std::memory_order_relaxed);
  }
  if (took > options_.stall_limit) counters_.stalls.fetch_add(1, std::memory_order_relaxed);
}

void Reactor::AddPoller(Poller& poller) {
  pollers_.push_back(&poller);
  AddWatch(poller.Fd(), true, {});
}

void Reactor::RemovePoller(Poller& poller) {
  std::erase(pollers_, &poller);
  Unwatch(poller.Fd());
}

void Reactor::Watch(int fd, std::function<void()> ready) { AddWatch(fd, false, std::move(ready)); }

void Reactor::AddWatch(int fd, bool sleep_only, std::function<void()> ready) {
  auto watch = std::make_unique<FdWatch>();
  watch->fd = fd;
  watch->id = next_watch_++;
  watch->sleep_only = sleep_only;
  watch->ready = std::move(ready);
  if (!sleeper_->has_ring) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = watch->id;
    TERRACE_CHECK(::epoll_ctl(sleeper_->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
  }
  watches_.push_back(std::move(watch));
}

void Reactor::Unwatch(int fd) {
  for (const auto& watch : watches_) {
    if (watch->fd != fd || watch->removed) continue;
    watch->removed = true;
    removed_watches_ = true;
    if (!sleeper_->has_ring) {
      ::epoll_ctl(sleeper_->epoll_fd, EPOLL_CTL_DEL, fd, nullptr);
    } else if (watch->armed) {
      // The poll holds the file open; its completion (ECANCELED) frees the watch.
      io_uring_sqe* sqe = io_uring_get_sqe(&sleeper_->ring);
      if (sqe == nullptr) {  // many leave at once
        io_uring_submit(&sleeper_->ring);
        sqe = io_uring_get_sqe(&sleeper_->ring);
      }
      if (sqe != nullptr) {
        io_uring_prep_poll_remove(
            sqe, reinterpret_cast<std::uint64_t>(static_cast<RingCompletion*>(watch.get())));
        io_uring_sqe_set_data(sqe, nullptr);
      }
    }
    return;
  }
}

io_uring* Reactor::ring() noexcept { return sleeper_->has_ring ? &sleeper_->ring : nullptr; }

std::string_view Reactor::sleeps_in() const noexcept {
  return sleeper_->has_ring ? "io_uring" : "epoll";
}

}  // namespace terrace
