// S3-FIFO: a small queue for what may never be used again, a main one, and ghosts of what left the
// small one, which come into the main one at once if they come back.
#include <algorithm>
#include <vector>

#include "base/check.h"
#include "cache/policy/block_links.h"
#include "cache/policy/ghost_queue.h"
#include "cache/policy/policies.h"

namespace terrace {
namespace {

/// The small queue's share of the blocks: one in so many.
constexpr std::size_t kSmallShare = 10;
constexpr std::uint8_t kUsesMax = 3;

class S3FifoPolicy final : public EvictionPolicy {
 public:
  explicit S3FifoPolicy(std::size_t capacity_blocks)
      : links_(capacity_blocks),
        ghosts_(std::max<std::size_t>(capacity_blocks, 1)),
        tag_(capacity_blocks),
        state_(capacity_blocks) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "s3fifo"; }

  void Insert(const NewBlock& block) override {
    tag_.at(block.block) = GhostQueue::TagOf(block.identity);
    const bool in_main = ghosts_.Take(tag_[block.block]);
    state_[block.block] = {.uses = 0, .in_main = in_main};
    links_.PushBack(in_main ? main_ : small_, block.block);
  }
  void Touch(std::span<const BlockId> chain, const RequestFacts& /*request*/) override {
    for (const BlockId block : chain) {
      state_[block].uses = std::min<std::uint8_t>(state_[block].uses + 1, kUsesMax);
    }
  }
  void Remove(BlockId block) override {
    links_.Unlink(state_.at(block).in_main ? main_ : small_, block);
  }
  void Evict(BlockId block) override {
    if (!state_.at(block).in_main) {
      // A tier that evicts is full: its size now is what it holds.
      const std::size_t ghosts = (small_.size + main_.size) * (kSmallShare - 1) / kSmallShare;
      ghosts_.Push(tag_[block], std::max<std::size_t>(ghosts, 1));
    }
    Remove(block);
  }

  [[nodiscard]] BlockId First() override {
    while (small_.size + main_.size > 0) {
      from_small_ = main_.size == 0 || small_.size * kSmallShare >= small_.size + main_.size;
      const BlockId block = from_small_ ? small_.front : main_.front;
      State& state = state_[block];
      if (from_small_ && state.uses <= 1) return block;
      if (!from_small_ && state.uses == 0) return block;
      links_.Unlink(from_small_ ? small_ : main_, block);
      links_.PushBack(main_, block);
      state.uses = from_small_ ? 0 : static_cast<std::uint8_t>(state.uses - 1);
      state.in_main = true;
    }
    return kNoBlock;
  }
  [[nodiscard]] BlockId After(BlockId block) const noexcept override {
    const BlockId next = links_.Next(block);
    const bool in_first = state_[block].in_main != from_small_;
    if (next != kNoBlock || !in_first) return next;
    return from_small_ ? main_.front : small_.front;
  }

  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override {
    return BlockLinks::kBytesPerBlock + sizeof(std::uint32_t) + sizeof(State) +
           GhostQueue::kBytesPerEntry;
  }

 private:
  struct State {
    std::uint8_t uses : 7 = 0;
    bool in_main : 1 = false;
  };

  BlockLinks links_;
  GhostQueue ghosts_;
  std::vector<std::uint32_t> tag_;
  std::vector<State> state_;
  BlockLinks::List small_;  // oldest first, as main_
  BlockLinks::List main_;
  bool from_small_ = true;  // where First found its block
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeS3FifoPolicy(std::size_t capacity_blocks) {
  return std::make_unique<S3FifoPolicy>(capacity_blocks);
}

}  // namespace terrace
