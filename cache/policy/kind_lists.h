// KindLists: the blocks of the policy `terrace`, by kind.
//
// Model. Each block is in the list of its kind, in the order of uses, within a request the deepest
// block first, so that suffixes go before prefixes. Blocks next to each other of one use (the same
// tick) are a *group*: one request, or several of one tick. What may leave first is at an end: the
// oldest block, or the deepest one of the last group. The group that is *under way* (of the tick
// `open`) is passed over: its blocks would make room for each other.
//
// Constant time for each block; a group is walked once to find its deepest block, which is then
// remembered. Thread: the owner's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/policy/block_links.h"

namespace terrace {

/// What `terrace` keeps of a block.
struct [[gnu::packed, gnu::aligned(2)]] UseState {
  std::uint32_t tag = 0;   ///< of its identity
  std::uint32_t when = 0;  ///< last use, in ticks
  std::uint16_t kind : 10 = 0;
  std::uint16_t turn : 3 = 0;  ///< of the last request; of a shared block: uses, up to 7
  std::uint16_t end : 2 = 0;   ///< where the last request ended (terrace_policy.cc)
  std::uint16_t shared : 1 = 0;
};
static_assert(sizeof(UseState) == 10, "see the 96 bytes of block_index.h");

class KindLists {
 public:
  explicit KindLists(std::size_t capacity_blocks)
      : links_(capacity_blocks), state_(capacity_blocks) {}

  /// There is a list for each kind below `kinds`.
  void Resize(std::size_t kinds) {
    lists_.resize(kinds);
    changed_.resize(kinds, true);
  }
  [[nodiscard]] std::size_t size() const noexcept { return lists_.size(); }

  /// Of a linked block neither kind nor time may change.
  [[nodiscard]] UseState& operator[](BlockId block) { return state_[block]; }
  [[nodiscard]] const UseState& operator[](BlockId block) const { return state_[block]; }
  [[nodiscard]] bool Linked(BlockId block) const noexcept { return links_.Linked(block); }
  [[nodiscard]] BlockId Next(BlockId block) const noexcept { return links_.Next(block); }

  /// Linked ones.
  [[nodiscard]] std::size_t Blocks() const noexcept { return blocks_; }

  /// Into the list of its kind: at the back, or right before one of the same kind and tick.
  void Append(BlockId block);
  void InsertBefore(BlockId block, BlockId other);
  void Unlink(BlockId block);

  /// kNoBlock: the list is empty.
  [[nodiscard]] BlockId Oldest(std::size_t kind) const noexcept {
    return lists_[kind].blocks.front;
  }
  [[nodiscard]] BlockId Newest(std::size_t kind) const noexcept { return lists_[kind].blocks.back; }
  /// The deepest block of the last group that is not under way; kNoBlock: none.
  [[nodiscard]] BlockId Youngest(std::size_t kind, std::uint32_t open);
  /// The one after `block` in the order of who leaves first from the young end: groups from the
  /// youngest to the oldest, each from its deepest block on; last the one that is under way.
  /// kNoBlock: it is the last.
  [[nodiscard]] BlockId FromYoung(BlockId block, std::uint32_t open) const noexcept;
  /// By kind: 1 from when the list changes until its reader puts a 0 there.
  [[nodiscard]] std::span<std::uint8_t> changed() noexcept { return changed_; }

  static constexpr std::size_t kBytesPerBlock = BlockLinks::kBytesPerBlock + sizeof(UseState);
  [[nodiscard]] std::size_t FixedBytes() const noexcept {
    return lists_.size() * (sizeof(List) + 1);
  }

 private:
  struct List {
    BlockLinks::List blocks;            ///< least recently used first
    BlockId deepest = kNoBlock;         ///< of its last group; kNoBlock: not known
    BlockId closed_head = kNoBlock;     ///< of the group before that: its last block,
    BlockId closed_deepest = kNoBlock;  ///< and its first; kNoBlock: not known
  };
  void Change(std::size_t kind) noexcept { changed_[kind] = 1; }
  /// The first of those before `head` that are of its group.
  [[nodiscard]] BlockId DeepestOf(BlockId head) const noexcept;

  BlockLinks links_;
  std::vector<UseState> state_;
  std::vector<List> lists_;            // by kind
  std::vector<std::uint8_t> changed_;  // likewise
  std::size_t blocks_ = 0;
};

}  // namespace terrace
