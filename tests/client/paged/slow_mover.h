// SlowMover: a mover whose moves end when the test says so, in any order, with any status; until
// then it has touched nothing. Thread: any.
#pragma once

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "client/paged/cpu_mover.h"
#include "tiers/hbm/device_memory.h"

namespace terrace::paged {

class SlowMover final : public PageMover {
 public:
  explicit SlowMover(std::shared_ptr<CpuMover> mover)
      : mover_(std::move(mover)), fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~SlowMover() override { ::close(fd_); }
  SlowMover(const SlowMover&) = delete;
  SlowMover& operator=(const SlowMover&) = delete;

  /// Moves begun from now on wait for Release; or end by themselves.
  void Hold(bool hold) {
    const std::lock_guard lock(mutex_);
    hold_ = hold;
  }
  /// Ends what is held, the latest first; not ok: nothing was moved.
  void Release(const Status& status = {}) {
    const std::lock_guard lock(mutex_);
    for (auto held = held_.rbegin(); held != held_.rend(); ++held) {
      ended_[held->first] = status.ok() ? Move(held->second) : status;
    }
    held_.clear();
    Tell();
  }
  [[nodiscard]] std::size_t Held() {
    const std::lock_guard lock(mutex_);
    return held_.size();
  }
  [[nodiscard]] std::size_t PointsOut() {
    const std::lock_guard lock(mutex_);
    return points_;
  }

  Status RegisterFrames(std::span<std::byte> memory, bool) override {
    return refuse_shared_ && registered_++ == 0 ? Status(StatusCode::kUnsupported)
                                                : (frames_ = memory, Status());
  }
  void RefuseSharedFrames() { refuse_shared_ = true; }
  void DeregisterFrames(std::span<std::byte>) override {}
  /// A double, whose memory the frames may lie in.
  void FramesOn(DeviceMemory& gpu) { frames_gpu_ = &gpu; }
  Result<std::span<std::byte>> AllocateDeviceFrames(std::uint64_t bytes) override {
    if (frames_gpu_ == nullptr) return mover_->AllocateDeviceFrames(bytes);
    const Result<std::byte*> memory = frames_gpu_->Allocate(bytes);
    if (!memory.ok()) return memory.status();
    return std::span(*memory, bytes);
  }
  void FreeDeviceFrames(std::span<std::byte> memory) override {
    EXPECT_TRUE(frames_gpu_->Free(memory.data()).ok());
  }
  Result<StreamPoint> Mark(void* stream) override {
    const std::lock_guard lock(mutex_);
    if (stream == nullptr) return StreamPoint{};
    ++points_;
    return StreamPoint{++last_};
  }
  void Forget(StreamPoint) override {
    const std::lock_guard lock(mutex_);
    --points_;
  }
  Result<MoveId> Start(const MoveRequest& request) override {
    const std::lock_guard lock(mutex_);
    if (held_.size() >= kMovesMax) return Status(StatusCode::kRetry, "full");
    if (request.after.value != 0) --points_;
    Kept kept{.request = request, .pages = {}, .blocks = {}};
    kept.blocks.assign(request.blocks.begin(), request.blocks.end());
    for (BlockMove& block : kept.blocks) {
      kept.pages.push_back({block.pages, block.pages + block_pages_});
    }
    const MoveId move{++last_};
    if (hold_) {
      held_.emplace(move.value, std::move(kept));
    } else {
      ended_[move.value] = Move(kept);
      Tell();
    }
    return move;
  }
  Status Done(MoveId move) override {
    const std::lock_guard lock(mutex_);
    if (held_.contains(move.value)) return Status(StatusCode::kRetry);
    const auto ended = ended_.find(move.value);
    if (ended == ended_.end()) return Status::Invalid("no such move");
    const Status status = ended->second;
    ended_.erase(ended);
    return status;
  }
  [[nodiscard]] int EventFd() const noexcept override { return fd_; }
  [[nodiscard]] const std::string& gpu() const noexcept override { return gpu_; }
  /// As if it were of that GPU, whose memory must be a double's. Before it is used.
  void BeOf(std::string gpu) { gpu_ = std::move(gpu); }
  void SetBlockPages(std::size_t pages) { block_pages_ = pages; }

 private:
  static constexpr std::size_t kMovesMax = 3;
  struct Kept {
    MoveRequest request;
    std::vector<std::vector<std::uint32_t>> pages;  // the request's are gone when it is done
    std::vector<BlockMove> blocks;
  };
  Status Move(Kept& kept) {
    for (std::size_t i = 0; i < kept.blocks.size(); ++i) {
      kept.blocks[i].pages = kept.pages[i].data();
    }
    kept.request.blocks = kept.blocks;
    kept.request.after = {};
    const Result<MoveId> move = mover_->Start(kept.request);
    return move.ok() ? mover_->Done(move.value()) : move.status();
  }
  void Tell() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
  }

  const std::shared_ptr<CpuMover> mover_;
  const int fd_;
  std::size_t block_pages_ = 1;
  DeviceMemory* frames_gpu_ = nullptr;
  bool refuse_shared_ = false;
  int registered_ = 0;
  std::span<std::byte> frames_;
  std::string gpu_;
  std::mutex mutex_;
  // All guarded by mutex_.
  bool hold_ = false;
  std::uint64_t last_ = 0;
  std::size_t points_ = 0;
  std::map<std::uint64_t, Kept> held_;
  std::map<std::uint64_t, Status> ended_;
};

}  // namespace terrace::paged
