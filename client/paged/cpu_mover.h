// CpuMover: moves the pages of a cache that lies in the memory of this process, on the thread that
// calls. Every move has ended when Start returns.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "client/layout.hpp"
#include "client/paged/mover.h"
#include "client/paged/page_map.h"

namespace terrace::paged {

class CpuMover final : public PageMover {
 public:
  /// `bases` of a cache that outlives the mover. @return kInvalid names the field, or the layer
  /// that is not memory of this process (looked at where it begins and ends).
  static Result<std::shared_ptr<CpuMover>> Make(const CacheLayout& cache,
                                                const StoredLayout& stored,
                                                std::span<void* const> bases);

  Status RegisterFrames(std::span<std::byte> memory, bool read_only) override;
  void DeregisterFrames(std::span<std::byte> memory) override;
  Result<std::span<std::byte>> AllocateDeviceFrames(std::uint64_t bytes) override;
  Result<StreamPoint> Mark(void* stream) override;
  Result<MoveId> Start(const MoveRequest& request) override;
  Status Done(MoveId move) override;
  [[nodiscard]] int EventFd() const noexcept override { return -1; }

 private:
  CpuMover(const CacheLayout& cache, const StoredLayout& stored, std::span<void* const> bases);

  static constexpr std::size_t kMovesMax = 256;  // that Done was not asked about yet

  const CacheLayout cache_;
  const StoredLayout stored_;
  const std::vector<void*> bases_;
  const std::vector<std::uint64_t> table_;  // bases_ as PageTables have them
  std::mutex mutex_;
  std::uint64_t last_ = 0;                        // guarded by mutex_
  std::array<std::uint64_t, kMovesMax> ended_{};  // guarded by mutex_; 0: free
};

}  // namespace terrace::paged
