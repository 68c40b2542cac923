// FakeDaemon: the daemon's side of the real transport, over a std::map. It can be slow, silent,
// unwilling, frozen, or gone and back on the same ports.
//
// One thread per reactor. Construction, destruction and Freeze/Thaw on the test's thread; the
// behaviour may be changed at any time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/reactor.h"
#include "base/task.h"
#include "base/tier_kind.h"
#include "tests/common/samples.h"
#include "transport/codec.h"
#include "transport/server.h"

namespace terrace {

struct FakeDaemonOptions {
  std::uint32_t reactors = 2;
  std::vector<std::uint16_t> ports;  ///< of each reactor; empty: the system picks
  std::uint32_t first_namespace_id = 1;
  bool same_host = true;
  bool refuse_names = false;  ///< FakeBehaviour::refuse_names, from the start
  Nanos heartbeat = testing::kSlowness * 100 * kMillisecond;
  Nanos heartbeat_idle = testing::kSlowness * 300 * kMillisecond;
};

/// What a daemon does with requests; any thread.
struct FakeBehaviour {
  std::atomic<bool> drop{false};                ///< requests about blocks get no answer
  std::atomic<Nanos> delay{0};                  ///< before a request about blocks is begun
  std::atomic<int> refuse{0};                   ///< a StatusCode for requests about blocks; 0: none
  std::atomic<bool> refuse_names{false};        ///< OpenNamespace answers kIncompatible
  std::atomic<int> not_durable{0};              ///< the NotDurable of puts that ask for durable
  std::atomic<TierKind> tier{TierKind::kDram};  ///< where blocks are said to lie
  std::atomic<bool> tells_times{true};          ///< a match says what loading takes
  std::atomic<std::uint64_t> matches_dropped{0};  ///< left without an answer by `drop`
  std::atomic<std::uint64_t> gets{0}, puts{0}, matches{0}, cancels{0}, connects{0};
};

class FakeReactor;

class FakeDaemon {
 public:
  explicit FakeDaemon(FakeDaemonOptions options = {});
  ~FakeDaemon();  ///< shuts down: peers see the connection end
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

  [[nodiscard]] std::vector<std::uint16_t> ports() const;
  [[nodiscard]] std::string address() const;  ///< of reactor 0
  [[nodiscard]] FakeBehaviour& behaviour() noexcept { return behaviour_; }

  /// Every reactor stops in the middle of its loop, until Thaw.
  void Freeze();
  void Thaw();
  /// Blocks stored on each reactor.
  [[nodiscard]] std::vector<std::size_t> BlocksByReactor();

 private:
  friend class FakeReactor;
  std::uint32_t OpenName(const std::string& name);
  std::map<std::string, std::uint32_t> Names();

  SteadyClock clock_;
  SystemRandom random_;
  FakeBehaviour behaviour_;
  std::vector<std::unique_ptr<FakeReactor>> reactors_;
  std::mutex mutex_;
  std::condition_variable thawed_;
  bool frozen_ = false;                         // guarded by mutex_
  std::map<std::string, std::uint32_t> names_;  // guarded by mutex_
  std::uint32_t next_namespace_;                // guarded by mutex_
};

/// A FakeDaemon in a process of its own, to be stopped and killed by signals. The test program
/// starts itself once more; its main must call RunChildDaemon first.
class ChildDaemon {
 public:
  /// `ports`: as in FakeDaemonOptions.
  explicit ChildDaemon(std::vector<std::uint16_t> ports = {});
  ~ChildDaemon();  ///< kills it
  ChildDaemon(const ChildDaemon&) = delete;
  ChildDaemon& operator=(const ChildDaemon&) = delete;

  [[nodiscard]] const std::vector<std::uint16_t>& ports() const noexcept { return ports_; }
  [[nodiscard]] std::string address() const;
  /// SIGSTOP, and waits until every thread stands still.
  void Stop() const;
  void Continue() const;
  void Kill();  ///< SIGKILL, and waits

 private:
  int process_ = -1;
  int input_ = -1;  // closed: the child ends
  std::vector<std::uint16_t> ports_;
};

/// When the program was started as a child daemon: serves until its input ends. False otherwise.
bool RunChildDaemon(int argc, char** argv);

}  // namespace terrace
