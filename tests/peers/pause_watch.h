// PauseWatch: how long this program did not run: a machine that was paused, or a signal that
// stopped all of it, daemon included. What took that long is nobody's fault and no measurement.
//
// Thread: any.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace terrace::peers {

class PauseWatch {
 public:
  PauseWatch() : thread_([this] { Run(); }) {}
  ~PauseWatch() {
    stop_ = true;
    thread_.join();
  }
  PauseWatch(const PauseWatch&) = delete;
  PauseWatch& operator=(const PauseWatch&) = delete;
  /// Since it was made. Read it before and after.
  [[nodiscard]] std::chrono::nanoseconds paused() const {
    return std::chrono::nanoseconds(paused_.load());
  }

 private:
  void Run() {
    constexpr std::chrono::milliseconds kTick{20};
    constexpr std::chrono::milliseconds kPause{500};  // longer than a busy machine makes one wait
    auto last = std::chrono::steady_clock::now();
    while (!stop_) {
      std::this_thread::sleep_for(kTick);
      const auto now = std::chrono::steady_clock::now();
      if (now - last > kPause) paused_ += std::chrono::nanoseconds(now - last).count();
      last = now;
    }
  }
  std::atomic<bool> stop_{false};
  std::atomic<long long> paused_{0};
  std::thread thread_;  // last: it uses the others
};

}  // namespace terrace::peers
