// KeepingLink: a link whose client keeps what it is lent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/link.h"

namespace terrace::testing {

/// Keeps what it is lent, and moves nothing.
class KeepingLink final : public Link {
 public:
  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kSim; }
  [[nodiscard]] bool Alive() const noexcept override { return true; }
  Task<Status> Push(Hold, BlockTransfer, std::span<const std::uint64_t>) override {
    co_return Status::Internal("nothing is pushed");
  }
  Task<Status> Pull(Hold, BlockTransfer, std::span<std::uint64_t>) override {
    co_return Status::Internal("nothing is pulled");
  }
  [[nodiscard]] Status CanLend(const LentPlace&, std::uint64_t) override {
    return kept.size() < most ? Status() : Status(StatusCode::kRetry, "that is enough");
  }
  Result<Loan> Lend(Hold frame, const LentPlace& place, ExtentSource&, Nanos until) override {
    if (kept.size() == most) return Status(StatusCode::kRetry, "that is enough");
    kept.push_back(std::move(frame));
    untils.push_back(until);
    return Loan{.place = place,
                .bytes = kept.back().bytes().size(),
                .slot = static_cast<std::uint32_t>(kept.size() - 1)};
  }
  void Send(std::vector<std::byte>) override {}
  void Close() override {}

  std::vector<Hold> kept;
  std::vector<Nanos> untils;
  std::size_t most = 100;
};

}  // namespace terrace::testing
