#include "client/session/session.h"

#include <algorithm>
#include <list>
#include <string>
#include <utility>

#include "base/crash_point.h"
#include "client/session/request_builder.h"

namespace terrace {
namespace {

constexpr std::size_t kReactorsMax = 1024;  // of one daemon
// A daemon that asks for silly intervals is not believed.
constexpr Nanos kHeartbeatMin = 10 * kMillisecond;
constexpr Nanos kHeartbeatMax = 60 * kSecond;

Nanos Sane(Nanos interval) { return std::clamp(interval, kHeartbeatMin, kHeartbeatMax); }

/// True for addresses that say where somebody listens but not where he is reached.
bool IsUnspecified(const std::string& host) {
  return host.empty() || host == "0.0.0.0" || host == "::";
}

}  // namespace

Session::~Session() {
  if (timer_) shared_.scheduler.CancelTimer(*timer_);
}

Task<Status> Session::Open(Nanos deadline) {
  connections_.push_back(std::make_unique<ShardConnection>(shared_.flow, shared_.scheduler, ended));
  Status status =
      co_await connections_.front()->Connect(shared_.factory, shared_.channel, deadline);
  if (!status.ok()) co_return status;
  status = co_await ConnectOthers(deadline);
  if (!status.ok()) co_return status;
  status = co_await RegisterRegions(deadline);
  if (!status.ok()) co_return status;
  deadline = std::max(deadline, shared_.scheduler.Now() + kOpenWithin);
  status = co_await OpenNamespaces(deadline);
  if (!status.ok()) co_return status;
  if (Lost()) co_return EndReason();
  CrashHere(CrashPoint::kClientSessionOpen);
  ScheduleHeartbeat(Sane(connections_.front()->hello().heartbeat));
  co_return Status();
}

Task<Status> Session::ConnectOthers(Nanos deadline) {
  const ChannelHello& hello = connections_.front()->hello();
  // An old daemon that lists nobody has one reactor.
  const std::size_t shards = std::max<std::size_t>(hello.shards.size(), 1);
  if (shards > kReactorsMax || hello.shard_index >= shards) {
    co_return Status::Internal("HelloReply: reactor " + std::to_string(hello.shard_index) + " of " +
                               std::to_string(shards));
  }
  const std::uint32_t reached = hello.shard_index;
  connections_.resize(shards);
  std::swap(connections_[0], connections_[reached]);
  for (std::uint32_t shard = 0; shard < shards; ++shard) {
    if (connections_[shard] != nullptr) continue;
    const ChannelHello& first = connections_[reached]->hello();
    ChannelOptions options = shared_.channel;
    options.port = first.shards[shard].port;
    if (!IsUnspecified(first.shards[shard].host)) options.host = first.shards[shard].host;
    auto connection = std::make_unique<ShardConnection>(shared_.flow, shared_.scheduler, ended);
    const Status status =
        co_await connection->Connect(shared_.factory, std::move(options), deadline);
    if (!status.ok()) co_return status;
    const ChannelHello& hello_of_shard = connection->hello();
    if (hello_of_shard.daemon_incarnation != first.daemon_incarnation ||
        hello_of_shard.shard_index != shard) {
      co_return Status(StatusCode::kRetry, "the daemon was started anew while it was connected to");
    }
    connections_[shard] = std::move(connection);
  }
  co_return Status();
}

SessionView Session::View() const noexcept {
  return {.epoch = epoch_,
          .shards = shards(),
          .daemon_incarnation = connections_.front()->hello().daemon_incarnation};
}

Task<Status> Session::RegisterRegions(Nanos deadline) {
  connected_ = true;
  std::vector<RegionTable::Region> on_devices;
  for (RegionTable::Region& region : shared_.regions.All()) {
    if (region.memory.device == nullptr) {
      AddRegion(region.id, region.memory);
    } else {
      on_devices.push_back(std::move(region));
    }
  }
  Status lost;
  for (std::size_t done = 0; lost.ok() && done < on_devices.size(); done += kDevicesAtOnce) {
    const std::size_t count = std::min(kDevicesAtOnce, on_devices.size() - done);
    const Nanos mapped_by = std::max(deadline, shared_.scheduler.Now() + kMapWithin);
    lost = co_await RegisterDevices({on_devices.data() + done, count}, mapped_by);
  }
  co_return lost;
}

Task<Status> Session::RegisterDevices(std::span<const RegionTable::Region> regions,
                                      Nanos deadline) {
  struct Asked {
    std::uint32_t region = 0;
    RequestRef request;
    Event finished;
  };
  std::list<Asked> asked;
  for (const RegionTable::Region& region : regions) {
    const RequestBuilder builder(shared_.ids, shared_.channel.incarnation, View(),
                                 shared_.scheduler.Now(), deadline);
    Asked& one = asked.emplace_back();
    one.region = region.id;
    one.request = builder.RegisterDevice(region);
    one.request->finished_event = &one.finished;
    Start(one.request);
  }
  Status lost;
  for (Asked& one : asked) {
    [[maybe_unused]] const bool set = co_await one.finished.Wait();  // by the request's deadline
    const StatusCode code = one.request->status.code();
    if (code == StatusCode::kPeerDead || code == StatusCode::kCancelled) {
      lost = Status(StatusCode::kPeerDead, "registering region " + std::to_string(one.region) +
                                               " again: " + one.request->status.ToString());
    }
    // Refused: calls that name it say so, all others go on.
    shared_.regions.SetAccess(one.region, epoch_, one.request->status);
  }
  co_return lost;
}

Task<Status> Session::OpenNamespaces(Nanos deadline) {
  for (const NamespaceTable::Entry& entry : shared_.namespaces.All()) {
    const RequestBuilder builder(shared_.ids, shared_.channel.incarnation, View(),
                                 shared_.scheduler.Now(), deadline);
    const RequestRef request = builder.OpenNamespace(*entry.descriptor);
    Event finished;
    request->finished_event = &finished;
    Start(request);
    [[maybe_unused]] const bool set = co_await finished.Wait();  // ends by the request's deadline
    const StatusCode code = request->status.code();
    if (code == StatusCode::kPeerDead || code == StatusCode::kTimeout ||
        code == StatusCode::kCancelled) {
      co_return Status(StatusCode::kPeerDead, "opening namespace \"" + entry.descriptor->name +
                                                  "\" again: " + request->status.ToString());
    }
    // Refused: calls that name it say so, all others go on.
    if (!request->status.ok()) {
      shared_.namespaces.Refused(entry.id, epoch_, request->status);
    }
  }
  co_return Status();
}

void Session::Start(const RequestRef& request) {
  if (Lost()) {
    return shared_.flow.Refuse(request, Status(StatusCode::kPeerDead, EndReason().message()));
  }
  const bool forget = request->kind == RequestKind::kForgetDevice;
  if (forget || request->kind == RequestKind::kRegisterDevice) {
    Status unseen = NoteDaemonOf(request->device.id, forget);
    if (!unseen.ok()) return shared_.flow.Refuse(request, std::move(unseen));
  }
  shared_.flow.Start(request, connections_);
  // From idle to busy: the next heartbeat must not be as far away as an idle one.
  if (!timer_) return;
  const Nanos soon = shared_.scheduler.Now() + Sane(connections_.front()->hello().heartbeat);
  if (soon < next_heartbeat_) ScheduleHeartbeat(Sane(connections_.front()->hello().heartbeat));
}

Status Session::NoteDaemonOf(std::uint32_t region, bool forget) {
  if (link() != LinkKind::kShm) {
    if (!forget) return {};  // the daemon refuses it
    return {StatusCode::kUnsupported, "it is not connected to over shm any more"};
  }
  if (daemon_ == nullptr) {
    auto daemon = connections_.front()->Daemon();
    if (!daemon.ok()) return daemon.status();
    daemon_ = std::move(*daemon);
  }
  shared_.regions.NoteDaemon(region, daemon_);
  return {};
}

void Session::Post(std::uint32_t shard, std::vector<std::byte> message) {
  if (connected_ && shard < connections_.size()) connections_[shard]->Post(std::move(message));
}

void Session::AddRegion(std::uint32_t region, ClientMemory memory) {
  if (!connected_) return;  // RegisterRegions will find it in the table
  for (const auto& connection : connections_) connection->AddRegion(region, memory);
}

void Session::RemoveRegion(std::uint32_t region) {
  if (!connected_) return;
  for (const auto& connection : connections_) connection->RemoveRegion(region);
}

bool Session::Lost() const noexcept {
  return silent_ || std::any_of(connections_.begin(), connections_.end(),
                                [](const auto& connection) { return connection->ended(); });
}

Status Session::EndReason() const {
  for (const auto& connection : connections_) {
    if (connection != nullptr && connection->ended()) return connection->end_reason();
  }
  if (silent_) {
    return {StatusCode::kPeerDead,
            "the daemon left " + std::to_string(kMissesMax) + " heartbeats unanswered"};
  }
  return {};
}

void Session::ScheduleHeartbeat(Nanos interval) {
  if (timer_) shared_.scheduler.CancelTimer(*timer_);
  next_heartbeat_ = shared_.scheduler.Now() + interval;
  timer_ = shared_.scheduler.AddTimer(next_heartbeat_, [this] {
    timer_.reset();
    Heartbeat();
  });
}

bool Session::Waits() const noexcept {
  return std::any_of(connections_.begin(), connections_.end(), [](const auto& connection) {
    return !connection->idle() || connection->awaits_pong();
  });
}

void Session::Heartbeat() {
  if (Lost()) return;
  const ChannelHello& hello = connections_.front()->hello();
  const Nanos interval = Sane(hello.heartbeat);
  const Nanos idle = Sane(hello.heartbeat_idle);
  // A ping without an answer is watched as closely as a request: only who looks at it one interval
  // later may go on to rest until the next idle ping.
  if (std::exchange(looks_back_, false) && !Waits()) return ScheduleHeartbeat(idle - interval);
  for (const auto& connection : connections_) {
    connection->Heartbeat(shared_.flow.NextHead());
    if (connection->heartbeats_missed() >= kMissesMax) silent_ = true;
  }
  CrashHere(CrashPoint::kClientPingSent);
  if (silent_) return ended.Set();
  looks_back_ = idle > interval;
  ScheduleHeartbeat(interval);
}

void Session::Interrupt(const Status& status) {
  for (const auto& connection : connections_) {
    if (connection != nullptr) shared_.flow.Abandon(*connection, status);
  }
  ended.Set();
}

std::vector<std::unique_ptr<ShardConnection>> Session::End(const Status& status) {
  if (timer_) shared_.scheduler.CancelTimer(*std::exchange(timer_, std::nullopt));
  std::vector<std::unique_ptr<ShardConnection>> unquiet;
  for (auto& connection : connections_) {
    if (connection == nullptr) continue;  // Open failed before it came to that one
    connection->Retire();
    shared_.flow.Abandon(*connection, status);
    if (!connection->idle()) unquiet.push_back(std::move(connection));
  }
  connections_.clear();
  return unquiet;
}

}  // namespace terrace
