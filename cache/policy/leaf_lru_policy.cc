// Least recently used, suffix first: one list, coldest first.
#include "base/check.h"
#include "cache/policy/block_links.h"
#include "cache/policy/policies.h"

namespace terrace {
namespace {

// The order keeps every present descendant colder than its ancestor, as long as chains are touched
// from their first block on: Insert puts a block right behind its parent, so nothing comes between
// them from the hot side, and Touch moves ancestors to the hot end, the first block hottest.
class LeafLruPolicy final : public EvictionPolicy {
 public:
  explicit LeafLruPolicy(std::size_t capacity_blocks) : links_(capacity_blocks) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "leaf-lru"; }

  void Insert(const NewBlock& block) override {
    TERRACE_CHECK(block.parent == kNoBlock || links_.Linked(block.parent));
    links_.InsertBefore(list_, block.block, block.parent);  // without a parent: hottest of all
  }

  void Touch(std::span<const BlockId> chain, const RequestFacts& /*request*/) override {
    for (std::size_t i = chain.size(); i-- > 0;) {
      if (chain[i] == list_.back) continue;
      links_.Unlink(list_, chain[i]);
      links_.PushBack(list_, chain[i]);
    }
  }

  void Remove(BlockId block) override { links_.Unlink(list_, block); }

  [[nodiscard]] BlockId First() override { return list_.front; }
  [[nodiscard]] BlockId After(BlockId block) const noexcept override { return links_.Next(block); }

  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override {
    return BlockLinks::kBytesPerBlock;
  }

 private:
  BlockLinks links_;
  BlockLinks::List list_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeLeafLruPolicy(std::size_t capacity_blocks) {
  return std::make_unique<LeafLruPolicy>(capacity_blocks);
}

}  // namespace terrace
