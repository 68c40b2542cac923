// FrameSpy: a link whose pulls show the test the frame that they wrote, to change it behind the
// cache.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/link.h"
#include "tests/cache/cache_harness.h"

namespace terrace::testing {

/// Pulls at once, and remembers into which frame.
class FrameSpy final : public Link {
 public:
  explicit FrameSpy(const SimMemory& memory) : memory_(memory) {}
  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kSim; }
  [[nodiscard]] bool Alive() const noexcept override { return true; }
  Task<Status> Push(Hold /*source*/, BlockTransfer /*transfer*/,
                    std::span<const std::uint64_t> /*checksums*/) override {
    co_return Status(StatusCode::kUnsupported);
  }
  Task<Status> Pull(Hold destination, BlockTransfer transfer,
                    std::span<std::uint64_t> checksums) override {
    last = destination.bytes();
    std::ranges::copy(memory_.Find(transfer.pieces.front()), last.begin());
    ChecksumBlock(last, checksums);
    co_return Status::Ok();
  }
  void Send(std::vector<std::byte> /*message*/) override {}
  void Close() override {}

  std::span<std::byte> last;

 private:
  const SimMemory& memory_;
};

}  // namespace terrace::testing
