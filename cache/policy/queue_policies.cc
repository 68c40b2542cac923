// LRU and FIFO, block by block: one queue, which a touch changes or does not.
#include "cache/policy/block_links.h"
#include "cache/policy/policies.h"

namespace terrace {
namespace {

class QueuePolicy final : public EvictionPolicy {
 public:
  QueuePolicy(std::size_t capacity_blocks, bool touches_move)
      : links_(capacity_blocks), touches_move_(touches_move) {}

  [[nodiscard]] std::string_view name() const noexcept override {
    return touches_move_ ? "lru" : "fifo";
  }
  void Insert(const NewBlock& block) override { links_.PushBack(list_, block.block); }
  void Touch(std::span<const BlockId> chain, const RequestFacts& /*request*/) override {
    if (!touches_move_) return;
    for (const BlockId block : chain) {
      links_.Unlink(list_, block);
      links_.PushBack(list_, block);
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
  const bool touches_move_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeLruPolicy(std::size_t capacity_blocks) {
  return std::make_unique<QueuePolicy>(capacity_blocks, true);
}

std::unique_ptr<EvictionPolicy> MakeFifoPolicy(std::size_t capacity_blocks) {
  return std::make_unique<QueuePolicy>(capacity_blocks, false);
}

}  // namespace terrace
