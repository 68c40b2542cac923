// Least often used since it came, least recently used first among equals: a list for each count.
#include <array>
#include <bit>
#include <vector>

#include "cache/policy/block_links.h"
#include "cache/policy/policies.h"

namespace terrace {
namespace {

/// Higher counts are not told apart, so that a block's count is a byte.
constexpr std::size_t kUsesMax = 255;

class LfuPolicy final : public EvictionPolicy {
 public:
  explicit LfuPolicy(std::size_t capacity_blocks)
      : links_(capacity_blocks), uses_(capacity_blocks) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "lfu"; }

  void Insert(const NewBlock& block) override {
    uses_.at(block.block) = 1;
    Link(block.block);
  }
  void Touch(std::span<const BlockId> chain, const RequestFacts& /*request*/) override {
    for (const BlockId block : chain) {
      Remove(block);
      if (uses_[block] < kUsesMax) ++uses_[block];
      Link(block);
    }
  }
  void Remove(BlockId block) override {
    const std::size_t uses = uses_.at(block);
    links_.Unlink(lists_[uses], block);
    if (lists_[uses].size == 0) filled_[uses / kWordBits] &= ~Bit(uses);
  }

  [[nodiscard]] BlockId First() override { return FirstFrom(0); }
  [[nodiscard]] BlockId After(BlockId block) const noexcept override {
    const BlockId next = links_.Next(block);
    return next != kNoBlock ? next : FirstFrom(std::size_t{uses_[block]} + 1);
  }

  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override {
    return BlockLinks::kBytesPerBlock + 1;
  }

 private:
  static constexpr std::size_t kWordBits = 64;
  static constexpr std::uint64_t Bit(std::size_t uses) noexcept {
    return std::uint64_t{1} << (uses % kWordBits);
  }

  void Link(BlockId block) {
    const std::size_t uses = uses_[block];
    links_.PushBack(lists_[uses], block);
    filled_[uses / kWordBits] |= Bit(uses);
  }

  /// The front of the first list at or above `uses` that has blocks.
  [[nodiscard]] BlockId FirstFrom(std::size_t uses) const noexcept {
    for (std::size_t word = uses / kWordBits; word < filled_.size(); ++word) {
      std::uint64_t bits = filled_[word];
      if (word == uses / kWordBits) bits &= ~std::uint64_t{0} << (uses % kWordBits);
      if (bits != 0) {
        return lists_[word * kWordBits + static_cast<std::size_t>(std::countr_zero(bits))].front;
      }
    }
    return kNoBlock;
  }

  BlockLinks links_;
  std::vector<std::uint8_t> uses_;
  std::array<BlockLinks::List, kUsesMax + 1> lists_{};  // by uses, least recently used first
  std::array<std::uint64_t, (kUsesMax + 1) / kWordBits> filled_{};  // a bit for each list
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeLfuPolicy(std::size_t capacity_blocks) {
  return std::make_unique<LfuPolicy>(capacity_blocks);
}

}  // namespace terrace
