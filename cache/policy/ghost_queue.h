// GhostQueue: who left lately, by identity: a queue of a fixed length, oldest forgotten first.
//
// It knows 32 bits of each identity, a tag, so one that was never there is taken for known with a
// chance of at most length / 2^32. Arrays sized once; constant time. Thread: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/policy/block_links.h"

namespace terrace {

class GhostQueue {
 public:
  /// Identities may be small numbers (the simulator's): this spreads them.
  [[nodiscard]] static std::uint32_t TagOf(std::uint64_t identity) noexcept {
    return static_cast<std::uint32_t>((identity * 0x9e3779b97f4a7c15) >> 32);
  }

  /// length >= 1.
  explicit GhostQueue(std::size_t length);

  /// Notes one that left, as the newest; with more than `keep` the oldest go. 1 <= keep <= length.
  void Push(std::uint32_t tag, std::size_t keep);
  /// True when it is there; it is then forgotten.
  bool Take(std::uint32_t tag);

  [[nodiscard]] std::size_t size() const noexcept { return queue_.size; }
  /// Bytes for one of the queue's length, at most: links, tag, and up to four places of the table.
  static constexpr std::size_t kBytesPerEntry = BlockLinks::kBytesPerBlock + 4 + 4 * 4;

 private:
  static constexpr BlockId kEmpty = kNoBlock;

  [[nodiscard]] std::size_t Home(std::uint32_t tag) const noexcept;
  /// Where the tag is in the table, or the empty place where it would be.
  [[nodiscard]] std::size_t FindSlot(std::uint32_t tag) const noexcept;
  void Drop(std::size_t slot);

  BlockLinks links_;  // of entries
  BlockLinks::List queue_;
  BlockLinks::List free_;
  std::vector<std::uint32_t> tag_;  // by entry
  std::vector<BlockId> table_;      // entries, open-addressed by tag, at most half full
};

}  // namespace terrace
