// Least recently used, suffix first: a doubly linked list in two arrays of numbers, coldest first.
#include <vector>

#include "base/check.h"
#include "cache/policy/eviction_policy.h"

namespace terrace {

namespace {

/// In colder_: the block is not in the list. (kNoBlock ends the list.)
constexpr BlockId kAbsent = kNoBlock - 1;

// The order keeps every present descendant colder than its ancestor, as long as chains are touched
// from their first block on: Insert puts a block right behind its parent, so nothing comes between
// them from the hot side, and Touch moves ancestors to the hot end, the first block hottest.
class LruPolicy final : public EvictionPolicy {
 public:
  explicit LruPolicy(std::size_t capacity_blocks)
      : colder_(capacity_blocks, kAbsent), hotter_(capacity_blocks, kNoBlock) {
    TERRACE_CHECK(capacity_blocks <= kAbsent);
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "lru"; }

  void Insert(BlockId block, BlockId parent) override {
    TERRACE_CHECK(block < colder_.size() && colder_[block] == kAbsent);
    TERRACE_CHECK(parent == kNoBlock || Present(parent));
    LinkBelow(block, parent);  // without a parent: hottest of all
  }

  void Touch(std::span<const BlockId> chain) override {
    for (std::size_t i = chain.size(); i-- > 0;) {
      TERRACE_CHECK(Present(chain[i]));
      if (chain[i] == hottest_) continue;
      Unlink(chain[i]);
      LinkBelow(chain[i], kNoBlock);
    }
  }

  void Remove(BlockId block) override {
    TERRACE_CHECK(Present(block));
    Unlink(block);
    colder_[block] = kAbsent;
  }

  [[nodiscard]] BlockId First() const noexcept override { return coldest_; }
  [[nodiscard]] BlockId After(BlockId block) const noexcept override {
    TERRACE_CHECK(Present(block));
    return hotter_[block];
  }

  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override { return 2 * sizeof(BlockId); }

 private:
  [[nodiscard]] bool Present(BlockId block) const noexcept {
    return block < colder_.size() && colder_[block] != kAbsent;
  }

  /// Puts `block` just colder than `above`; hottest of all when `above` is kNoBlock.
  void LinkBelow(BlockId block, BlockId above) {
    BlockId& above_colder = above == kNoBlock ? hottest_ : colder_[above];
    const BlockId below = above_colder;
    colder_[block] = below;
    hotter_[block] = above;
    above_colder = block;
    (below == kNoBlock ? coldest_ : hotter_[below]) = block;
  }

  void Unlink(BlockId block) {
    const BlockId below = colder_[block];
    const BlockId above = hotter_[block];
    (below == kNoBlock ? coldest_ : hotter_[below]) = above;
    (above == kNoBlock ? hottest_ : colder_[above]) = below;
  }

  std::vector<BlockId> colder_;
  std::vector<BlockId> hotter_;
  BlockId coldest_ = kNoBlock;
  BlockId hottest_ = kNoBlock;
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeLruPolicy(std::size_t capacity_blocks) {
  return std::make_unique<LruPolicy>(capacity_blocks);
}

}  // namespace terrace
