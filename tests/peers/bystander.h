// Bystander: a client that has done nothing wrong, and must notice nothing of what befalls others.
//
// Model. A thread that calls the daemon at random, all the time but while it is paused; each call
// must be answered, and each byte be right.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "tests/peers/peer_load.h"

namespace terrace::peers {

class Bystander {
 public:
  Bystander(std::unique_ptr<PeerLoad> load, std::uint64_t seed)
      : load_(std::move(load)), seed_(seed), thread_([this] { Run(); }) {}
  ~Bystander() {
    stop_ = true;
    thread_.join();
  }
  Bystander(const Bystander&) = delete;
  Bystander& operator=(const Bystander&) = delete;

  /// Returns when no call is under way.
  void Pause();
  void Resume() { pause_ = false; }
  /// REQUIRES: paused.
  [[nodiscard]] const PeerLoad::Counts& counts() const { return load_->counts(); }
  /// Times that it had to connect anew.
  [[nodiscard]] std::uint64_t reconnects() const { return load_->client().Reconnects(); }

 private:
  void Run();

  const std::unique_ptr<PeerLoad> load_;
  const std::uint64_t seed_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> pause_{false};
  std::atomic<bool> paused_{false};
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace terrace::peers
