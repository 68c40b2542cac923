// CallLimit: at most so many calls of a client in flight. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace terrace {

/// Calls in flight at once, of all threads; a ticket counts until Poll has taken it.
inline constexpr std::uint32_t kCallsMax = 4096;

/// One place among the calls in flight; given back when it is destroyed. Move-only.
class CallSlot {
 public:
  CallSlot() noexcept = default;
  explicit CallSlot(std::shared_ptr<std::atomic<std::uint32_t>> calls) noexcept
      : calls_(std::move(calls)) {}
  CallSlot(CallSlot&&) noexcept = default;
  CallSlot& operator=(CallSlot&& other) noexcept {
    Release();
    calls_ = std::move(other.calls_);
    return *this;
  }
  ~CallSlot() { Release(); }

  [[nodiscard]] explicit operator bool() const noexcept { return calls_ != nullptr; }
  void Release() noexcept {
    if (calls_ != nullptr) calls_->fetch_sub(1, std::memory_order_relaxed);
    calls_.reset();
  }

 private:
  std::shared_ptr<std::atomic<std::uint32_t>> calls_;
};

class CallLimit {
 public:
  /// An empty slot when kCallsMax calls are in flight.
  [[nodiscard]] CallSlot Take() {
    if (calls_->fetch_add(1, std::memory_order_relaxed) >= kCallsMax) {
      calls_->fetch_sub(1, std::memory_order_relaxed);
      return {};
    }
    return CallSlot(calls_);
  }

 private:
  std::shared_ptr<std::atomic<std::uint32_t>> calls_ =
      std::make_shared<std::atomic<std::uint32_t>>(0);
};

}  // namespace terrace
