#include "client/calls/client_core.h"

#include <algorithm>
#include <utility>

#include "base/signals_blocked.h"
#include "base/wait.h"
#include "client/session/lease_flow.h"

namespace terrace {
namespace {

constexpr Nanos kBackoffFirst = 50 * kMillisecond;
constexpr Nanos kBackoffMax = kSecond;
constexpr Nanos kFirstPauseMax = 100 * kMillisecond;  // between attempts of Connect
// One attempt to connect again; short, so that Stop never waits long for one under way.
constexpr Nanos kAttemptMax = 800 * kMillisecond;
constexpr Nanos kStopMax = kSecond;               // how long Stop waits for the thread
constexpr Nanos kStopGrace = 300 * kMillisecond;  // for memory to become quiet while stopping
constexpr Nanos kStopStep = 2 * kMillisecond;
constexpr Nanos kStartSlack = 2 * kSecond;  // past connect_timeout, for a busy machine
constexpr std::size_t kRetiredMax = 64;     // connections kept only for memory in doubt
/// What a thread that submits does for others: while one was busy in a long turn thousands of
/// commands may have gathered, and they are not the business of whoever comes first.
constexpr std::size_t kCommandsAtOnce = 32;
constexpr Nanos kSweepInterval = kSecond;  // how often those are looked at

/// The wait before the next attempt: doubling, and a random part of it, so that the clients of a
/// daemon that was restarted do not come back all at once.
class Backoff {
 public:
  explicit Backoff(Random& random) : random_(random) {}
  void Reset() { next_ = kBackoffFirst; }
  Nanos Next() {
    const Nanos wait = next_;
    next_ = std::min(2 * next_, kBackoffMax);
    return wait / 2 + static_cast<Nanos>(random_.Below(static_cast<std::uint64_t>(wait / 2 + 1)));
  }

 private:
  Random& random_;
  Nanos next_ = kBackoffFirst;
};

/// A ticket of another Client, one that is gone for instance, is none of this one: each has 2^40
/// numbers of its own.
Ticket FirstTicket() {
  static std::atomic<Ticket> clients{0};
  return (clients.fetch_add(1) << 40) + 1;
}

bool WorthAnotherAttempt(StatusCode code) {
  return code == StatusCode::kPeerDead || code == StatusCode::kRetry ||
         code == StatusCode::kTimeout;
}

}  // namespace

ClientCore::ClientCore(const ClientOptions& options, std::unique_ptr<CompletionQueue> completions)
    : connect_timeout_(std::chrono::nanoseconds(options.connect_timeout).count()),
      spin_(std::chrono::nanoseconds(options.spin).count()),
      completions_(std::move(completions)),
      first_ticket_(FirstTicket()) {
  const Result<Address> address = ParseAddress(options.address);
  channel_options_.host = address.value().host;
  channel_options_.port = address.value().port;
  channel_options_.tenant = options.tenant;
  channel_options_.name = options.name;
  channel_options_.incarnation = random_.Next();
  channel_options_.tcp_only = options.link == LinkChoice::kTcp;
  channel_options_.verify_same_host = options.verify_same_host;
  channel_options_.mapper = lent_gpus_;
}

ClientCore::~ClientCore() = default;

Result<std::shared_ptr<ClientCore>> ClientCore::Start(const ClientOptions& options) {
  Result<std::unique_ptr<CompletionQueue>> completions = CompletionQueue::Create();
  if (!completions.ok()) return completions.status();
  std::shared_ptr<ClientCore> core(new ClientCore(options, std::move(completions.value())));
  {
    const SignalsBlocked blocked;
    // The thread keeps the core: one that does not end in time may outlive the Client.
    core->thread_ = std::thread([core] { core->ThreadMain(); });
  }
  const bool ended =
      core->started_.WaitUntil(core->clock_.Now() + core->connect_timeout_ + kStartSlack);
  const Status status =
      ended ? core->first_status_
            : Status(StatusCode::kPeerDead, "nobody answered at " + options.address);
  if (!status.ok()) {
    core->Stop();
    return status;
  }
  return core;
}

void ClientCore::Stop() {
  {
    const std::lock_guard lock(inbox_mutex_);
    // A thread that has not come to its loop yet sees `stop_asked_` before it does.
    inbox_closed_ = true;
    stop_asked_ = true;
    if (loop_runs_) reactor_->Post([this] { BeginStop(); });
  }
  registrar_.BeginStop();
  const Nanos limit = clock_.Now() + kStopMax;
  if (thread_ended_.WaitUntil(limit)) {
    thread_.join();
  } else {
    thread_.detach();  // it holds the core, and ends by itself
  }
  registrar_.Stop(limit);
}

SessionView ClientCore::View() const {
  const std::lock_guard lock(view_mutex_);
  return view_;
}

LinkKind ClientCore::Link() const {
  const std::lock_guard lock(view_mutex_);
  return link_;
}

Status ClientCore::Submit(const RequestRef& request, WhoRuns who_runs) {
  request->slot = limit_.Take();
  if (!request->slot) {
    return {StatusCode::kRetry, std::to_string(kCallsMax) + " calls are in flight"};
  }
  Command command;
  command.request = request;
  if (!Push(std::move(command), who_runs)) {
    return {StatusCode::kCancelled, "the client is being destroyed"};
  }
  return {};
}

Result<Ticket> ClientCore::SubmitRegion(std::span<std::byte> memory, std::uint64_t length) {
  Registrar::Job job{
      .ticket = NextTicket(), .slot = limit_.Take(), .memory = memory, .length = length};
  const Ticket ticket = job.ticket;
  if (!job.slot) {
    return Status(StatusCode::kRetry, std::to_string(kCallsMax) + " calls are in flight");
  }
  const std::shared_ptr<ClientCore> self = shared_from_this();
  const Registrar::Shared shared{
      .registered =
          [self](const Registrar::Job& done, RegionMemory made) {
            Result<RegionTable::Region> region =
                done.memory.empty() ? self->regions_.Add(std::move(made))
                                    : self->regions_.Add(done.memory.data(), done.memory.size());
            if (region.ok()) self->AddRegion(*region);
            return region;
          },
      .done =
          [self](Completion completion, CallSlot slot) {
            const auto ended = std::make_shared<std::pair<Completion, CallSlot>>(
                std::move(completion), std::move(slot));
            Command command;
            command.kind = Command::Kind::kDone;
            command.done = ended;
            if (self->Push(std::move(command))) return;
            // After Stop no thread runs a loop that would have to be woken.
            self->completions_->Push(std::move(ended->first), std::move(ended->second));
          }};
  if (Status status = registrar_.Submit(std::move(job), shared); !status.ok()) return status;
  return ticket;
}

void ClientCore::AddRegion(const RegionTable::Region& region) {
  Command command;
  command.kind = Command::Kind::kAddRegion;
  command.region = region;
  // After Stop there is nobody to tell.
  [[maybe_unused]] const bool pushed = Push(std::move(command));
}

void ClientCore::PostLeaseReleases(const LeaseBook::Entry& lease) {
  Command command;
  command.kind = Command::Kind::kReleaseLease;
  command.lease = lease;
  // After Stop they end with the connection.
  [[maybe_unused]] const bool pushed = Push(std::move(command));
}

bool ClientCore::RemoveRegion(std::uint32_t region) {
  Command command;
  command.kind = Command::Kind::kRemoveRegion;
  command.region.id = region;
  command.finished = std::make_shared<Signal>();
  const std::shared_ptr<Signal> finished = command.finished;
  if (!Push(std::move(command))) return true;  // stopped: no transport is left
  return Await(*finished, clock_.Now() + kSecond);
}

bool ClientCore::Push(Command command, WhoRuns who_runs) {
  bool post = false;
  std::list<Command> one;
  one.push_back(std::move(command));
  {
    const std::lock_guard lock(inbox_mutex_);
    if (inbox_closed_) return false;
    inbox_.splice(inbox_.end(), one);
    post = !std::exchange(inbox_posted_, true);
  }
  if (post) loop_->Enqueue([this] { DrainInbox(); });
  if (who_runs == WhoRuns::kAwait) return true;
  // By this thread, so that no other need be woken. Also when another has posted: it may be held up
  // between that and its own RunPosted.
  loop_->RunPosted();
  return true;
}

bool ClientCore::AwaitCompletion(Nanos deadline) {
  for (;;) {
    Signal filled;
    if (!completions_->Await(filled)) return true;
    const bool set = Await(filled, deadline);
    completions_->StopAwaiting(filled);
    if (!set) return false;
    // Again: another thread may have taken it already.
  }
}

Status ClientCore::AwaitCalls(CallQuery query, const std::shared_ptr<CallWatch>& watch,
                              Nanos deadline) {
  Command command;
  command.kind = Command::Kind::kWatch;
  // To wait is to run the loop: whatever it does then would be waited for.
  const bool waits = deadline > clock_.Now();
  command.query = std::move(query);
  command.query.only_looks = !waits;
  command.watch = watch;
  if (!Push(std::move(command))) return {StatusCode::kCancelled, "the client is being destroyed"};
  if (watch->reached.IsSet()) return {};
  if (waits && Await(watch->reached, deadline)) {
    if (!watch->doubted) return {};
    return {StatusCode::kCancelled, "the client was closed before the daemon had let go"};
  }
  watch->abandoned.store(true, std::memory_order_relaxed);
  return {StatusCode::kTimeout, "calls are still under way, or the daemon has not let go"};
}

void ClientCore::DrainInbox() {
  if (RunCommands()) loop_->Enqueue([this] { DrainInbox(); });
}

bool ClientCore::RunCommands() {
  bool more = false;
  {
    const std::lock_guard lock(inbox_mutex_);
    taken_.splice(taken_.end(), inbox_);
    more = inbox_posted_ = taken_.size() > kCommandsAtOnce;
  }
  for (std::size_t i = 0; i < kCommandsAtOnce && !taken_.empty(); ++i) {
    std::list<Command> one;  // a command may post others
    one.splice(one.end(), taken_, taken_.begin());
    Execute(one.front());
  }
  return more;
}

void ClientCore::Execute(Command& command) {
  switch (command.kind) {
    case Command::Kind::kStart:
      if (stopping_) {
        flow_->Refuse(command.request,
                      Status(StatusCode::kCancelled, "the client is being destroyed"));
      } else if (!serving_ || session_->epoch() != command.request->epoch) {
        flow_->Refuse(command.request,
                      Status(StatusCode::kPeerDead, "the connection was lost meanwhile"));
      } else {
        session_->Start(command.request);
      }
      return;
    case Command::Kind::kAddRegion:
      if (session_ != nullptr) session_->AddRegion(command.region.id, command.region.memory);
      return;
    case Command::Kind::kRemoveRegion:
      if (session_ != nullptr) session_->RemoveRegion(command.region.id);
      command.finished->Set();
      return;
    case Command::Kind::kWatch: return flow_->Watch(std::move(command.query), command.watch);
    case Command::Kind::kDone:
      return completions_->Push(std::move(command.done->first), std::move(command.done->second));
    case Command::Kind::kReleaseLease:
      for (const LeaseBook::Part& part : command.lease.parts) {
        const LeaseOrder order{
            .shard = part.shard, .lease = part.lease, .release = true, .keep = {}};
        Post(command.lease.epoch, part.shard, EncodeLeaseOrder(flow_->NextHead(), order));
      }
      return;
  }
}

void ClientCore::Post(std::uint64_t epoch, std::uint32_t shard, std::vector<std::byte> message) {
  if (serving_ && session_->epoch() == epoch) session_->Post(shard, std::move(message));
}

// ---- the library thread ----

void ClientCore::ThreadMain() {
  const Status status = RunLoop();
  if (!status.ok()) ReportStart(status);
  // In this order: whoever uses something goes before what it uses.
  session_.reset();
  retired_.clear();
  scope_.reset();
  stop_event_.reset();
  flow_.reset();
  factory_.reset();
  thread_ended_.Set();
}

Status ClientCore::RunLoop() {
  Result<std::unique_ptr<Reactor>> reactor =
      Reactor::Create({.name = "terrace-client", .shared = true}, clock_);
  if (!reactor.ok()) return reactor.status();
  reactor_ = std::move(reactor.value());
  Result<std::unique_ptr<SharedLoop>> loop = SharedLoop::Create(*reactor_, spin_);
  if (!loop.ok()) return loop.status();
  loop_ = std::move(loop.value());
  Result<std::unique_ptr<ChannelFactory>> factory = ChannelFactory::Create(*reactor_);
  if (!factory.ok()) return factory.status();
  factory_ = std::move(factory.value());
  const auto post = [this](std::uint64_t epoch, std::uint32_t shard,
                           std::vector<std::byte> message) {
    Post(epoch, shard, std::move(message));
  };
  flow_ = std::make_unique<RequestFlow>(
      RequestFlow::Shared{reactor_->scheduler(), *completions_, namespaces_, request_ids_,
                          channel_options_.incarnation, leases_, post});
  scope_ = std::make_unique<TaskScope>();
  stop_event_ = std::make_unique<Event>();
  {
    const std::lock_guard lock(inbox_mutex_);
    if (stop_asked_) return {StatusCode::kCancelled, "stopped before it began"};
    loop_runs_ = true;
  }
  reactor_->Post([this] { scope_->Spawn(KeepSession()); });
  loop_->Run();
  return {};
}

void ClientCore::ReportStart(const Status& status) {
  if (std::exchange(start_reported_, true)) return;
  first_status_ = status;
  if (status.ok()) {
    const std::lock_guard lock(inbox_mutex_);
    inbox_closed_ = stop_asked_;
  }
  started_.Set();
}

void ClientCore::Publish() {
  serving_ = true;
  {
    const std::lock_guard lock(view_mutex_);
    view_ = session_->View();
    link_ = session_->link();
  }
  ReportStart(Status());
}

void ClientCore::Unpublish() {
  serving_ = false;
  const std::lock_guard lock(view_mutex_);
  view_ = {};
  link_ = LinkKind::kNone;
}

void ClientCore::RetireSession(const Status& reason) {
  for (auto& connection : session_->End(reason)) retired_.push_back(std::move(connection));
  session_.reset();
  while (retired_.size() > kRetiredMax) {
    retired_.front()->Close(reason);
    retired_.erase(retired_.begin());
  }
  SweepRetired();
}

void ClientCore::SweepRetired() {
  if (sweep_timer_) {
    reactor_->scheduler().CancelTimer(*std::exchange(sweep_timer_, std::nullopt));
  }
  std::erase_if(retired_,
                [](const auto& connection) { return connection->idle() || connection->ended(); });
  if (retired_.empty() || stopping_) return;
  sweep_timer_ = reactor_->scheduler().AddTimer(clock_.Now() + kSweepInterval, [this] {
    sweep_timer_.reset();
    SweepRetired();
  });
}

void ClientCore::BeginStop() {
  stopping_ = true;
  stop_event_->Set();
  if (session_ != nullptr) {
    session_->Interrupt(Status(StatusCode::kCancelled, "the client is being destroyed"));
  }
}

Task<void> ClientCore::KeepSession() {
  const Nanos first_deadline = clock_.Now() + connect_timeout_;
  Backoff backoff(random_);
  bool connected_before = false;
  while (!stopping_) {
    const Nanos now = clock_.Now();
    const Nanos deadline = connected_before ? now + kAttemptMax : first_deadline;
    session_ = std::make_unique<Session>(
        Session::Shared{*factory_, reactor_->scheduler(), *flow_, regions_, namespaces_,
                        request_ids_, channel_options_},
        ++epoch_);
    const Status status = co_await session_->Open(deadline);
    if (status.ok() && !stopping_) {
      if (connected_before) reconnects_.fetch_add(1);
      connected_before = true;
      backoff.Reset();
      Publish();
      [[maybe_unused]] const bool lost = co_await session_->ended.Wait();
      Unpublish();
    }
    RetireSession(stopping_ ? Status(StatusCode::kCancelled, "the client is being destroyed")
                            : Status(StatusCode::kPeerDead, session_->EndReason().message()));
    if (stopping_) break;
    Nanos next = clock_.Now() + backoff.Next();
    // Connect waits for it, and must not give up long before its time.
    if (!connected_before) next = std::min(next, clock_.Now() + kFirstPauseMax);
    if (!connected_before && (!WorthAnotherAttempt(status.code()) || next >= first_deadline)) {
      ReportStart(status);
      break;  // Start stops the thread
    }
    [[maybe_unused]] const bool stopped = co_await stop_event_->WaitUntil(next);
  }
  [[maybe_unused]] const bool stopped = co_await stop_event_->Wait();
  co_await EndEverything();
  // In the turn after this coroutine has ended, which its scope must see.
  reactor_->Post([this] { reactor_->Stop(); });
}

Task<void> ClientCore::EndEverything() {
  SweepRetired();
  const Nanos limit = clock_.Now() + kStopGrace;
  while (flow_->active() > 0 && clock_.Now() < limit) {
    co_await SleepUntil{clock_.Now() + kStopStep};
  }
  // A daemon that is stopped in the middle of a copy goes on with it when it wakes, whatever became
  // of the connection.
  flow_->DoubtTheRest();
  for (const auto& connection : retired_) {
    connection->Close(Status(StatusCode::kCancelled, "the client is being destroyed"));
  }
  retired_.clear();
  while (RunCommands()) {  // what came after BeginStop is refused
  }
  flow_->FinishWatching();
}

}  // namespace terrace
