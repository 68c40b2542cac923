// KindLists: the blocks of the policy `terrace`, by kind and by class of cost.
//
// Model. There is a list for each kind, of blocks that cost as much a byte as is usual (class 0 of
// CostClasses), and one for each other class that blocks of the kind were seen in. Up to the first
// block of another class a list has the number of its kind. Each block is in one list, in the order
// of uses, within a request the deepest
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
#include <unordered_map>
#include <vector>

#include "cache/policy/block_links.h"

namespace terrace {

/// What `terrace` keeps of a block.
struct [[gnu::packed]] UseState {
  std::uint32_t tag = 0;   ///< of its identity
  std::uint32_t when = 0;  ///< last use, in ticks
  std::uint16_t list = 0;
  std::uint8_t turn : 3 = 0;  ///< of the last request; of a shared block: uses, up to 7
  std::uint8_t end : 2 = 0;   ///< where the last request ended (terrace_policy.cc)
  std::uint8_t shared : 1 = 0;
};
static_assert(sizeof(UseState) == 11, "see the 96 bytes of block_index.h");

class KindLists {
 public:
  explicit KindLists(std::size_t capacity_blocks)
      : links_(capacity_blocks), state_(capacity_blocks) {}

  static constexpr std::size_t kKindsMax = 1536;
  /// Most lists of other classes than 0; the blocks of further ones are in those of class 0.
  static constexpr std::size_t kOthersMax = 3072;

  /// There is a list of class 0 for each kind below `kinds`.
  void Resize(std::size_t kinds);
  [[nodiscard]] std::size_t kinds() const noexcept { return usual_.size(); }
  /// Of all lists: numbers are below it.
  [[nodiscard]] std::size_t size() const noexcept { return lists_.size(); }
  /// The list of a kind and class; it may be new. REQUIRES: kind < kinds().
  [[nodiscard]] std::uint16_t ListOf(std::uint16_t kind, std::int8_t cost_class) {
    return cost_class == 0 ? usual_[kind] : OtherListOf(kind, cost_class);
  }
  [[nodiscard]] std::uint16_t KindOf(std::size_t list) const noexcept { return lists_[list].kind; }
  [[nodiscard]] std::int8_t ClassOf(std::size_t list) const noexcept {
    return lists_[list].cost_class;
  }
  /// CostClasses::FactorOf its class.
  [[nodiscard]] float FactorOf(std::size_t list) const noexcept { return lists_[list].factor; }

  /// Of a linked block neither list nor time may change.
  [[nodiscard]] UseState& operator[](BlockId block) { return state_[block]; }
  [[nodiscard]] const UseState& operator[](BlockId block) const { return state_[block]; }
  [[nodiscard]] bool Linked(BlockId block) const noexcept { return links_.Linked(block); }
  [[nodiscard]] BlockId Next(BlockId block) const noexcept { return links_.Next(block); }

  /// Linked ones.
  [[nodiscard]] std::size_t Blocks() const noexcept { return blocks_; }

  /// Into its list: at the back, or right before one of the same list and tick.
  void Append(BlockId block);
  void InsertBefore(BlockId block, BlockId other);
  void Unlink(BlockId block);

  /// kNoBlock: the list is empty.
  [[nodiscard]] BlockId Oldest(std::size_t list) const noexcept {
    return lists_[list].blocks.front;
  }
  [[nodiscard]] BlockId Newest(std::size_t list) const noexcept { return lists_[list].blocks.back; }
  /// The deepest block of the last group that is not under way; kNoBlock: none.
  [[nodiscard]] BlockId Youngest(std::size_t number, std::uint32_t open);
  /// The one after `block` in the order of who leaves first from the young end: groups from the
  /// youngest to the oldest, each from its deepest block on; last the one that is under way.
  /// kNoBlock: it is the last.
  [[nodiscard]] BlockId FromYoung(BlockId block, std::uint32_t open) const noexcept;
  /// By list: 1 from when the list changes until its reader puts a 0 there.
  [[nodiscard]] std::span<std::uint8_t> changed() noexcept { return changed_; }

  static constexpr std::size_t kBytesPerBlock = BlockLinks::kBytesPerBlock + sizeof(UseState);
  [[nodiscard]] std::size_t FixedBytes() const noexcept {
    return lists_.size() * (sizeof(List) + 1) + usual_.size() * sizeof(usual_[0]) +
           others_.size() * 4 * sizeof(void*);
  }

 private:
  struct List {
    std::uint16_t kind = 0;
    std::int8_t cost_class = 0;
    float factor = 1;
    BlockLinks::List blocks{};          ///< least recently used first
    BlockId deepest = kNoBlock;         ///< of its last group; kNoBlock: not known
    BlockId closed_head = kNoBlock;     ///< of the group before that: its last block,
    BlockId closed_deepest = kNoBlock;  ///< and its first; kNoBlock: not known
  };
  void Change(std::size_t list) noexcept { changed_[list] = 1; }
  [[nodiscard]] std::uint16_t OtherListOf(std::uint16_t kind, std::int8_t cost_class);
  std::uint16_t AddList(std::uint16_t kind, std::int8_t cost_class);
  /// The first of those before `head` that are of its group.
  [[nodiscard]] BlockId DeepestOf(BlockId head) const noexcept;

  BlockLinks links_;
  std::vector<UseState> state_;
  std::vector<List> lists_;
  std::vector<std::uint8_t> changed_;                        // by list
  std::vector<std::uint16_t> usual_;                         // by kind: the list of class 0
  std::unordered_map<std::uint32_t, std::uint16_t> others_;  // by kind and class
  std::size_t blocks_ = 0;
};

}  // namespace terrace
