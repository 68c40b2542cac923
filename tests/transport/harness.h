// Harness: a Server on one reactor thread and a Channel on another, driven by a test's thread.
// Every wait here ends after kPatience, so that a hang is a failure.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/random.h"
#include "base/reactor.h"
#include "base/wait.h"
#include "transport/channel.h"
#include "transport/codec.h"
#include "transport/server.h"

namespace terrace::test {

inline constexpr std::chrono::seconds kPatience{30};

/// A value that one thread changes and another waits for.
template <typename T>
class Watched {
 public:
  template <typename Change>
  void Update(Change change) {
    const std::lock_guard lock(mutex_);
    change(value_);
    changed_.notify_all();
  }
  /// False when `condition` did not become true in time.
  template <typename Condition>
  bool WaitFor(Condition condition, std::chrono::milliseconds patience = kPatience) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [&] { return condition(value_); });
  }
  T Get() {
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  T value_{};
};

/// A reactor thread and the tasks that a test runs on it.
class Runner {
 public:
  explicit Runner(const char* name, bool use_io_uring = true);
  ~Runner();
  [[nodiscard]] Reactor& reactor() noexcept { return *reactor_; }
  void Start() { reactor_->Start(); }

  /// Runs `function` on the thread and waits for it.
  void Call(std::function<void()> function);
  /// Runs the task that `make` makes on the thread; the future has its result.
  template <typename T>
  std::future<T> Run(std::function<Task<T>()> make) {
    auto promise = std::make_shared<std::promise<T>>();
    std::future<T> future = promise->get_future();
    reactor_->Post(
        [this, make = std::move(make), promise] { scope_->Spawn(Fulfil<T>(make, promise)); });
    return future;
  }
  /// The same, waiting; fails the test and returns `otherwise` when it takes too long.
  template <typename T>
  T Await(std::function<Task<T>()> make, T otherwise) {
    return Take(Run<T>(std::move(make)), std::move(otherwise));
  }
  template <typename T>
  static T Take(std::future<T> future, T otherwise) {
    if (future.wait_for(kPatience) != std::future_status::ready) {
      ADD_FAILURE() << "a task hangs";
      return otherwise;
    }
    return future.get();
  }
  void Stop();

 private:
  template <typename T>
  static Task<void> Fulfil(std::function<Task<T>()> make,
                           std::shared_ptr<std::promise<T>> promise) {
    promise->set_value(co_await make());
  }
  SteadyClock clock_;
  std::unique_ptr<Reactor> reactor_;
  std::unique_ptr<TaskScope> scope_ = std::make_unique<TaskScope>();
};

/// What a RequestHandler was told.
struct ServerLog {
  std::vector<PeerRef> connected;
  std::vector<std::string> disconnected;  // reasons
  std::vector<std::uint64_t> cancelled;
  std::vector<std::pair<std::uint64_t, Nanos>> requests;  // id, time left
};

class LoggingHandler final : public RequestHandler {
 public:
  explicit LoggingHandler(Scheduler& scheduler) : scheduler_(scheduler) {}
  void OnConnect(const PeerRef& peer) override {
    log.Update([&](ServerLog& entry) { entry.connected.push_back(peer); });
  }
  void OnRequest(const PeerRef& peer, std::vector<std::byte> bytes, const wire::Message& message,
                 Nanos deadline) override;
  void OnCancel(const PeerRef& /*peer*/, std::uint64_t request_id) override {
    log.Update([&](ServerLog& entry) { entry.cancelled.push_back(request_id); });
  }
  void OnDisconnect(const PeerRef& /*peer*/, const Status& reason) override {
    log.Update([&](ServerLog& entry) { entry.disconnected.push_back(reason.ToString()); });
  }
  Watched<ServerLog> log;
  bool answer_stat = true;  ///< Stat is answered at once; other requests are only noted

 private:
  Scheduler& scheduler_;
};

/// What a ChannelHandler was told.
struct ClientLog {
  std::vector<std::pair<wire::Body, std::uint64_t>> messages;  // body, request id
  std::vector<std::string> errors;                             // texts of ErrorReply
  std::vector<std::uint64_t> quiet;
  std::vector<std::string> closed;  // reasons
};

class LoggingChannelHandler final : public ChannelHandler {
 public:
  void OnMessage(const wire::Message& message) override;
  void OnQuiet(std::uint64_t request_id) override {
    log.Update([&](ClientLog& entry) { entry.quiet.push_back(request_id); });
  }
  void OnClosed(const Status& reason) override {
    log.Update([&](ClientLog& entry) { entry.closed.push_back(reason.ToString()); });
  }
  Watched<ClientLog> log;
};

/// Counts what Holds give back.
class HoldCounter final : public Hold::Owner {
 public:
  void Release(std::uint64_t token) noexcept override {
    released.Update([&](std::vector<std::uint64_t>& tokens) { tokens.push_back(token); });
  }
  Watched<std::vector<std::uint64_t>> released;
};

/// For clients that never ping: what moves bytes for seconds, on a busy machine and under a
/// sanitizer, would be taken for dead by a server with the usual patience.
inline ServerOptions Patient() {
  ServerOptions options;
  options.peer_timeout = 60 * kSecond;
  return options;
}

/// One server with one connected client.
class Pair {
 public:
  explicit Pair(LinkKind kind, ChannelOptions channel_options = {})
      : Pair(kind, Patient(), std::move(channel_options)) {}
  /// `pools`: memory of GPUs that the server's NIC is to read; it outlives the pair.
  Pair(LinkKind kind, ServerOptions server_options, ChannelOptions channel_options,
       std::span<const DevicePool> pools = {});
  ~Pair();
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;

  [[nodiscard]] const ServerCounters& counters() const { return server->Counters(); }
  /// Tells the server of memory and waits until it knows.
  /// `file`: what the client shares as its memory, if anything.
  void Register(std::uint32_t region, std::span<std::byte> memory,
                std::shared_ptr<const UniqueFd> file = nullptr);
  /// A round trip: what was sent before, in both directions, has arrived.
  void RoundTrip();
  /// Server-side transfers of one block that is one piece of region 1.
  std::future<Status> Push(std::span<std::byte> frame, std::uint64_t request, std::uint32_t block,
                           std::vector<Piece> pieces, Nanos budget,
                           std::vector<std::uint64_t> checksums);
  std::future<Status> Push(std::span<std::byte> frame, std::uint64_t request, std::uint64_t offset,
                           Nanos budget = 20 * kSecond);
  /// A part of a block, to pieces.
  std::future<Status> PushPart(std::span<std::byte> frame, std::uint64_t request,
                               std::vector<Piece> pieces, FrameRange range,
                               std::vector<std::uint64_t> checksums);
  std::future<Status> Pull(std::span<std::byte> frame, std::uint64_t request, std::uint32_t block,
                           std::vector<Piece> pieces, std::vector<std::uint64_t>* checksums,
                           Nanos budget = 20 * kSecond);
  /// The server answers a request with `blocks` times kOk, and the client has seen it.
  void Reply(std::uint64_t request, std::size_t blocks);
  void Expect(std::uint64_t request, PieceMemory destinations);
  void Offer(std::uint64_t request, PieceMemory sources);
  StatusCode Arrived(std::uint64_t request, std::uint32_t index);
  StatusCode Withdraw(std::uint64_t request);
  /// Client -> server, e.g. BuildMessage<wire::Ping>(head()).
  void Send(std::vector<std::byte> message);
  [[nodiscard]] MessageHead head(std::uint64_t request = 0) const {
    return {request, incarnation, 10'000'000};
  }
  /// Stops the client's thread from doing anything until the result is set.
  std::shared_ptr<std::promise<void>> FreezeClient();

  SystemRandom random;
  Runner server_runner{"server"};
  Runner client_runner{"client"};
  LoggingHandler handler;
  LoggingChannelHandler channel_handler;
  HoldCounter holds;
  std::uint64_t incarnation;
  std::unique_ptr<Server> server;
  std::unique_ptr<ChannelFactory> factory;
  std::unique_ptr<Channel> channel;
  Status connect_status;
  GpuWire gpu_wire;  ///< what AttachPools said
  PeerRef peer;
};

/// Bytes that depend on `seed` and on their place.
void FillPattern(std::span<std::byte> bytes, std::uint64_t seed);
std::vector<std::uint64_t> ChecksumsOf(std::span<const std::byte> bytes);

}  // namespace terrace::test
