// SIEVE: a queue in the order in which blocks came. The hand walks from the oldest to the newest,
// forgets that a block was used, and stops at the first that was not.
#include <vector>

#include "cache/policy/block_links.h"
#include "cache/policy/policies.h"

namespace terrace {
namespace {

class SievePolicy final : public EvictionPolicy {
 public:
  explicit SievePolicy(std::size_t capacity_blocks)
      : links_(capacity_blocks), used_(capacity_blocks) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "sieve"; }

  void Insert(const NewBlock& block) override {
    links_.PushBack(list_, block.block);
    used_[block.block] = 0;
  }
  void Touch(std::span<const BlockId> chain, const RequestFacts& /*request*/) override {
    for (const BlockId block : chain) used_[block] = 1;
  }
  void Remove(BlockId block) override {
    if (block == hand_) hand_ = links_.Next(block);
    links_.Unlink(list_, block);
  }

  [[nodiscard]] BlockId First() override {
    if (list_.size == 0) return kNoBlock;
    hand_ = Start();
    while (used_[hand_] != 0) {
      used_[hand_] = 0;
      hand_ = Following(hand_);
    }
    return hand_;
  }
  [[nodiscard]] BlockId After(BlockId block) const noexcept override {
    const BlockId next = Following(block);
    return next == Start() ? kNoBlock : next;
  }

  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override {
    return BlockLinks::kBytesPerBlock + 1;
  }

 private:
  /// Where the hand is, or would be next.
  [[nodiscard]] BlockId Start() const noexcept { return hand_ == kNoBlock ? list_.front : hand_; }
  /// The next newer one; after the newest the oldest.
  [[nodiscard]] BlockId Following(BlockId block) const noexcept {
    const BlockId next = links_.Next(block);
    return next == kNoBlock ? list_.front : next;
  }

  BlockLinks links_;
  BlockLinks::List list_;           // oldest first
  BlockId hand_ = kNoBlock;         // kNoBlock: past the newest
  std::vector<std::uint8_t> used_;  // 1: since the hand last passed
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeSievePolicy(std::size_t capacity_blocks) {
  return std::make_unique<SievePolicy>(capacity_blocks);
}

}  // namespace terrace
