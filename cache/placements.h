// Placements: the placement keys of blocks in DRAM, for records that are written long after the put
// that named the key.
//
// Model. A block's placement is the first key of its run (RunSlice). Blocks of one run share one
// copy, which the block before in the chain leads to; the last block that lets go frees it.
// Memory: 4 bytes for a block of capacity, and about 80 for a run with blocks in DRAM.
// Thread: the owning reactor's.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/limits.h"
#include "cache/policy/eviction_policy.h"

namespace terrace {

class Placements {
 public:
  explicit Placements(std::size_t capacity_blocks) : of_block_(capacity_blocks, kNone) {}

  /// Replaces what the block had. `before`: the block before it in its chain, or kNoBlock.
  /// REQUIRES: at most kKeyBytesMax bytes.
  void Keep(BlockId block, BlockId before, std::span<const std::byte> key) {
    Drop(block);
    std::uint32_t place = before == kNoBlock ? kNone : of_block_[before];
    if (place == kNone || !std::ranges::equal(KeyOf(place), key)) place = Add(key);
    ++entries_[place].blocks;
    of_block_[block] = place;
  }
  void Drop(BlockId block) {
    const std::uint32_t place = of_block_[block];
    if (place == kNone) return;
    of_block_[block] = kNone;
    if (--entries_[place].blocks == 0) free_.push_back(place);
  }
  [[nodiscard]] bool Has(BlockId block) const { return of_block_[block] != kNone; }
  /// Valid until the next Keep. REQUIRES: Has.
  [[nodiscard]] std::span<const std::byte> Of(BlockId block) const {
    TERRACE_CHECK(Has(block));
    return KeyOf(of_block_[block]);
  }
  /// Memory, as far as it is fixed: without the copies.
  [[nodiscard]] std::size_t Bytes() const noexcept {
    return of_block_.size() * sizeof(of_block_[0]);
  }
  /// Copies that are held now.
  [[nodiscard]] std::size_t copies() const noexcept { return entries_.size() - free_.size(); }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  struct Entry {
    std::array<std::byte, kKeyBytesMax> key{};
    std::uint32_t blocks = 0;
    std::uint8_t key_bytes = 0;
  };

  [[nodiscard]] std::span<const std::byte> KeyOf(std::uint32_t place) const {
    return std::span(entries_[place].key).first(entries_[place].key_bytes);
  }
  std::uint32_t Add(std::span<const std::byte> key) {
    TERRACE_CHECK(key.size() <= kKeyBytesMax);
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(entries_.size()));
      entries_.emplace_back();
    }
    const std::uint32_t place = free_.back();
    free_.pop_back();
    Entry& entry = entries_[place];
    std::ranges::copy(key, entry.key.begin());
    entry.key_bytes = static_cast<std::uint8_t>(key.size());
    return place;
  }

  std::vector<std::uint32_t> of_block_;  // place in entries_, or kNone
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
};

}  // namespace terrace
