// PagePool: aligned buffers for headers on their way to and from a device.
//
// Thread: the owning reactor's. A buffer goes back to the pool when its owner drops it; the pool
// outlives its buffers.
#pragma once

#include <cstddef>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "tiers/nvme/page_buffer.h"

namespace terrace::nvme {

class PagePool {
 public:
  /// A page; move-only.
  class Page {
   public:
    explicit Page(PagePool& pool) : pool_(&pool) {
      if (pool.free_.empty()) pool.free_.push_back(AllocatePages(kPageBytes));
      bytes_ = std::move(pool.free_.back());
      pool.free_.pop_back();
    }
    Page(Page&&) noexcept = default;
    Page& operator=(Page&&) = delete;
    Page(const Page&) = delete;
    Page& operator=(const Page&) = delete;
    ~Page() {
      if (bytes_ != nullptr && pool_->free_.size() < kKeptMax) {
        pool_->free_.push_back(std::move(bytes_));
      }
    }
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {bytes_.get(), kPageBytes}; }
    /// The page as a header. REQUIRES: nothing else is made of it meanwhile.
    template <typename Header>
    [[nodiscard]] Header& as() const noexcept {
      static_assert(sizeof(Header) == kPageBytes && std::is_trivially_copyable_v<Header>);
      return *reinterpret_cast<Header*>(bytes_.get());
    }
    /// The page with a fresh header in it.
    template <typename Header>
    Header& Make() const noexcept {
      return *new (bytes_.get()) Header();
    }

   private:
    PagePool* pool_;
    Pages bytes_;
  };

  [[nodiscard]] Page Take() { return Page(*this); }

 private:
  static constexpr std::size_t kKeptMax = 64;  ///< as many as transfers run at once, by default
  std::vector<Pages> free_;
};

}  // namespace terrace::nvme
