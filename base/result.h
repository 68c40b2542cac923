// Result<T>: a value, or the Status that says why there is none.
#pragma once

#include <cstdlib>
#include <utility>
#include <variant>

#include "base/status.h"

namespace terrace {

template <typename T>
class [[nodiscard]] Result {
 public:
  // Implicit on purpose, so that `return value;` and `return Status(...);` both read naturally.
  Result(T value) : state_(std::in_place_index<1>, std::move(value)) {}
  /// REQUIRES: !status.ok(); an ok status without a value becomes kInternal.
  Result(Status status) : state_(std::in_place_index<0>, std::move(status)) {
    if (std::get<0>(state_).ok()) {
      std::get<0>(state_) = Status::Internal("Result made from an ok Status without a value");
    }
  }

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 1; }
  /// Ok when there is a value.
  [[nodiscard]] Status status() const { return ok() ? Status() : std::get<0>(state_); }
  [[nodiscard]] StatusCode code() const noexcept {
    return ok() ? StatusCode::kOk : std::get_if<0>(&state_)->code();
  }

  /// REQUIRES: ok(). Aborts otherwise: using an absent value is a bug of the caller.
  [[nodiscard]] T& value() & {
    Require();
    return *std::get_if<1>(&state_);
  }
  [[nodiscard]] const T& value() const& {
    Require();
    return *std::get_if<1>(&state_);
  }
  [[nodiscard]] T&& value() && {
    Require();
    return std::move(*std::get_if<1>(&state_));
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

 private:
  void Require() const {
    if (!ok()) std::abort();
  }
  std::variant<Status, T> state_;
};

}  // namespace terrace
