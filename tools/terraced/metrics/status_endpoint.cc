#include "tools/terraced/metrics/status_endpoint.h"

#include <httplib.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <utility>

#include "base/check.h"

namespace terrace {

namespace {

constexpr std::size_t kThreads = 2;
constexpr std::size_t kWaitingMax = 16;
constexpr std::size_t kRequestsPerConnectionMax = 100;
constexpr std::size_t kRequestBytesMax = 4096;
constexpr time_t kSilenceSeconds = 1;
constexpr std::chrono::seconds kStopWait{3};

// The library's default asks for SO_REUSEPORT, with which two daemons would share the port and
// each answer half of the scrapes.
void SetSocketOptions(socket_t socket) {
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
}

// The library's pool keeps any number of accepted connections waiting. Here the accepting thread
// waits instead, so that the kernel's backlog bounds them.
class BoundedPool final : public httplib::TaskQueue {
 public:
  BoundedPool() {
    for (std::thread& thread : threads_) thread = std::thread([this] { Work(); });
  }
  void enqueue(std::function<void()> job) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return jobs_.size() < kWaitingMax; });
    jobs_.push_back(std::move(job));
    changed_.notify_all();
  }
  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
      changed_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  void Work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      const std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      changed_.notify_all();
      lock.unlock();
      job();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_, as is `ending_`
  bool ending_ = false;
  std::array<std::thread, kThreads> threads_;
};

}  // namespace

// Kept alive by the endpoint and by its thread, whichever ends last.
struct StatusEndpoint::Impl {
  httplib::Server server;
  std::shared_mutex callbacks_mutex;
  Callbacks callbacks;  // guarded by callbacks_mutex; empty once stopped
  std::thread thread;
  std::uint16_t port = 0;

  std::mutex ended_mutex;
  std::condition_variable ended_changed;
  bool ended = false;  // guarded by ended_mutex

  void SetUp() {
    server.new_task_queue = [] { return new BoundedPool; };
    server.set_socket_options(SetSocketOptions);
    server.set_keep_alive_max_count(kRequestsPerConnectionMax);
    server.set_keep_alive_timeout(kSilenceSeconds);
    server.set_read_timeout(kSilenceSeconds);
    server.set_write_timeout(kSilenceSeconds);
    server.set_payload_max_length(kRequestBytesMax);
    server.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      const std::shared_lock lock(callbacks_mutex);
      if (!callbacks.metrics) return Stopping(response);
      response.set_content(callbacks.metrics(), "text/plain; version=0.0.4; charset=utf-8");
    });
    server.Get("/advice", [this](const httplib::Request&, httplib::Response& response) {
      const std::shared_lock lock(callbacks_mutex);
      if (!callbacks.metrics) return Stopping(response);
      if (!callbacks.advice) {
        response.status = 404;
        return;
      }
      response.set_content(callbacks.advice(), "application/json");
    });
    server.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
      const std::shared_lock lock(callbacks_mutex);
      if (!callbacks.health) return Stopping(response);
      const Status health = callbacks.health();
      response.status = health.ok() ? 200 : 503;
      response.set_content(health.ok() ? "ok\n" : health.ToString() + "\n",
                           "text/plain; charset=utf-8");
    });
  }

  static void Stopping(httplib::Response& response) {
    response.status = 503;
    response.set_content("stopping\n", "text/plain; charset=utf-8");
  }

  void Serve() {
    server.listen_after_bind();
    const std::lock_guard lock(ended_mutex);
    ended = true;
    ended_changed.notify_all();
  }

  bool WaitUntilEnded(std::chrono::milliseconds most) {
    std::unique_lock lock(ended_mutex);
    return ended_changed.wait_for(lock, most, [this] { return ended; });
  }
};

StatusEndpoint::StatusEndpoint(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

StatusEndpoint::~StatusEndpoint() { Stop(); }

Result<std::unique_ptr<StatusEndpoint>> StatusEndpoint::Start(const ListenAddress& address,
                                                              Callbacks callbacks) {
  TERRACE_CHECK(callbacks.metrics && callbacks.health);
  auto impl = std::make_shared<Impl>();
  impl->callbacks = std::move(callbacks);
  impl->SetUp();
  errno = 0;
  int port = address.port;
  if (port == 0) {
    port = impl->server.bind_to_any_port(address.host);
  } else if (!impl->server.bind_to_port(address.host, port)) {
    port = -1;
  }
  if (port <= 0) {
    const std::string cause = errno != 0 ? std::strerror(errno) : "the address cannot be used";
    return Status(StatusCode::kIo,
                  "metrics.listen: cannot listen on " + address.ToString() + ": " + cause);
  }
  impl->port = static_cast<std::uint16_t>(port);
  impl->thread = std::thread([impl] { impl->Serve(); });
  // A Stop before the thread has begun to accept would be lost.
  while (!impl->server.is_running()) {
    if (impl->WaitUntilEnded(std::chrono::milliseconds(1))) {
      impl->thread.join();
      return Status(StatusCode::kIo, "metrics.listen: " + address.ToString() +
                                         " ended as soon as it was listened on");
    }
  }
  return std::unique_ptr<StatusEndpoint>(new StatusEndpoint(std::move(impl)));
}

std::uint16_t StatusEndpoint::port() const noexcept { return impl_->port; }

void StatusEndpoint::Stop() {
  if (std::exchange(stopped_, true)) return;
  impl_->server.stop();
  {
    const std::unique_lock lock(impl_->callbacks_mutex);  // waits for callbacks in progress
    impl_->callbacks = {};
  }
  if (impl_->WaitUntilEnded(kStopWait)) {
    impl_->thread.join();
  } else {
    impl_->thread.detach();
  }
}

}  // namespace terrace
