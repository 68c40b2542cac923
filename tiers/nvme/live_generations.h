// LiveGenerations: which generation each segment is of, and where each slice's marker is, for who
// looks from another thread.
//
// When a segment is reused, thousands of index entries become stale at once, and what was removed
// is noted in the index only until the marker has passed it. They are not deleted one by one: the
// index store drops them when it compacts, by asking here.
//
// Thread: a slice's generations and marker are raised by its reactor; Dead is called by any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "tiers/nvme/index_entry.h"

namespace terrace::nvme {

class LiveGenerations {
 public:
  /// segments: of a slice, over its devices.
  LiveGenerations(std::uint32_t slices, std::uint32_t segments)
      : segments_(segments), markers_(slices) {
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
      slices_.push_back(std::make_unique<std::atomic<std::uint32_t>[]>(segments));
    }
  }
  /// REQUIRES: slice and segment are of the store.
  void Set(std::uint32_t slice, std::uint32_t segment, std::uint32_t generation) noexcept {
    slices_[slice][segment].store(generation, std::memory_order_relaxed);
  }
  /// REQUIRES: slice is of the store; the marker is durable.
  void SetMarker(std::uint32_t slice, std::uint64_t marker) noexcept {
    markers_[slice].store(marker, std::memory_order_relaxed);
  }
  /// True for the entry of a block whose segment was reused since, and for that of a removal below
  /// the marker. False on any doubt, and for
  /// segments that nothing is known of yet (generation 0).
  [[nodiscard]] bool Dead(std::string_view key, std::string_view value) const {
    const auto slice = BlockSlice(key);
    if (!slice || *slice >= slices_.size()) return false;
    if (const auto removed = ReadRemoved(key, value)) {
      return removed->sequence < markers_[*slice].load(std::memory_order_relaxed);
    }
    const auto entry = ReadBlock(key, value);
    if (!entry || entry->place.segment() >= segments_) return false;
    return entry->place.generation <
           slices_[*slice][entry->place.segment()].load(std::memory_order_relaxed);
  }

 private:
  const std::uint32_t segments_;
  std::vector<std::atomic<std::uint64_t>> markers_;
  std::vector<std::unique_ptr<std::atomic<std::uint32_t>[]>> slices_;
};

}  // namespace terrace::nvme
