// FrameSpoiler: flips a bit of a block in a reactor's DRAM, as a faulty memory would.
#pragma once

#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "base/link.h"
#include "base/task.h"
#include "cache/cache.h"
#include "tools/terraced/shard.h"

namespace terrace::testing {

/// Takes a get's frame instead of sending it, to flip a bit of it.
class FrameSpoiler final : public Link {
 public:
  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kSim; }
  [[nodiscard]] bool Alive() const noexcept override { return true; }
  Task<Status> Push(Hold source, BlockTransfer /*transfer*/,
                    std::span<const std::uint64_t> /*checksums*/) override {
    source.bytes()[100'000] ^= std::byte{8};
    ++spoilt;
    co_return Status::Ok();
  }
  Task<Status> Pull(Hold /*destination*/, BlockTransfer /*transfer*/,
                    std::span<std::uint64_t> /*checksums*/) override {
    co_return Status(StatusCode::kUnsupported);
  }
  void Send(std::vector<std::byte> /*message*/) override {}
  void Close() override {}
  int spoilt = 0;
};

/// All of it outlives the task, which SpoilFrame waits for.
inline Task<void> SpoilBlock(Cache* cache, FrameSpoiler* spoiler, const GetRequest* request,
                             std::promise<void>* done) {
  (void)co_await cache->Get(*spoiler, *request);
  done->set_value();
}

/// What `request` would get from this shard, if it has it. Returns when that is done.
inline void SpoilFrame(Shard& shard, const GetRequest& request, FrameSpoiler& spoiler) {
  auto scope = std::make_unique<TaskScope>();
  std::promise<void> done;
  shard.reactor().Post(
      [&] { scope->Spawn(SpoilBlock(&shard.cache(), &spoiler, &request, &done)); });
  done.get_future().wait();
  std::promise<void> gone;
  shard.reactor().Post([&] {
    scope.reset();
    gone.set_value();
  });
  gone.get_future().wait();
}

}  // namespace terrace::testing
