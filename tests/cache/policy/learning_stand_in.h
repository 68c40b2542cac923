// A policy that evicts as leaf-lru does and learns when blocks of each kind are used again: for
// tests of what goes by EvictionPolicy::ReuseWithin.
//
// A kind is how often the block was used so far, and whether its request went on a chain that was
// there. Ages count blocks that came; of each kind and octave of age it learns which share is used
// in it, on all blocks, those that were evicted too. Memory grows with distinct blocks.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cache/policy/policies.h"

namespace terrace {

class LearningStandIn final : public EvictionPolicy {
 public:
  explicit LearningStandIn(std::size_t capacity_blocks)
      : order_(MakeLeafLruPolicy(capacity_blocks)), identity_(capacity_blocks) {}

  [[nodiscard]] std::string_view name() const noexcept override { return "stand-in"; }
  [[nodiscard]] RequestFacts Extend(const Extension& extension) override {
    RequestFacts facts = extension.request;
    if (facts.turn == 0) facts.turn = extension.parent == kNoBlock ? 1 : 2;
    return facts;
  }
  void Insert(const NewBlock& block) override {
    order_->Insert(block);
    identity_[block.block] = block.identity;
    ++now_;
    const bool known = seen_.contains(block.identity);
    Seen& seen = seen_[block.identity];
    if (!known) seen.continued = block.request.turn > 1;
    Use(block.identity, seen, !known);
  }
  void Touch(std::span<const BlockId> chain, const RequestFacts& request) override {
    order_->Touch(chain, request);
    for (const BlockId block : chain) Use(identity_[block], seen_[identity_[block]], false);
  }
  void Remove(BlockId block) override { order_->Remove(block); }
  [[nodiscard]] double ReuseWithin(BlockId block, std::uint64_t blocks) const noexcept override {
    const Seen& seen = seen_.at(identity_[block]);
    const std::uint64_t age = now_ - seen.used_at;
    double none = 1;
    for (std::size_t octave = OctaveOf(age); octave < kOctaves; ++octave) {
      const auto begin = static_cast<double>(octave == 0 ? 0 : std::uint64_t{1} << (octave - 1));
      const auto end = static_cast<double>(std::uint64_t{1} << octave);
      const double from = std::max(begin, static_cast<double>(age));
      const double to = std::min(end, static_cast<double>(age) + static_cast<double>(blocks));
      if (to <= from) break;
      const Count& count = counts_[KindOf(seen)][octave];
      none *= 1 - (count.used + 1) / (count.reached + 2) * (to - from) / (end - begin);
    }
    return std::min(1 - none, 0.999);
  }
  [[nodiscard]] BlockId First() override { return order_->First(); }
  [[nodiscard]] BlockId After(BlockId block) const noexcept override {
    return order_->After(block);
  }
  [[nodiscard]] std::size_t BytesPerBlock() const noexcept override { return 0; }

 private:
  static constexpr std::size_t kOctaves = 24;
  static constexpr std::size_t kUsesMax = 8;
  struct Seen {
    std::uint64_t used_at = 0;
    std::uint8_t uses = 0;
    bool continued = false;
  };
  struct Count {
    double used = 0;
    double reached = 0;
  };
  struct Waiting {
    std::uint64_t identity;
    std::uint64_t used_at;
  };
  static std::size_t OctaveOf(std::uint64_t age) {
    return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(age)), kOctaves - 1);
  }
  static std::size_t KindOf(const Seen& seen) {
    return std::size_t{seen.uses} * 2 + (seen.continued ? 1 : 0);
  }
  void Use(std::uint64_t identity, Seen& seen, bool first) {
    if (!first) {
      Count& count = counts_[KindOf(seen)][OctaveOf(now_ - seen.used_at)];
      count.used += 1;
      count.reached += 1;
      if (seen.uses + 1U < kUsesMax) ++seen.uses;
    }
    seen.used_at = now_;
    waiting_[0].push_back({identity, now_});
    for (std::size_t octave = 0; octave + 1 < kOctaves; ++octave) {
      while (!waiting_[octave].empty()) {
        const Waiting next = waiting_[octave].front();
        const Seen& of = seen_[next.identity];
        if (of.used_at == next.used_at) {
          if (OctaveOf(now_ - next.used_at) <= octave) break;
          counts_[KindOf(of)][octave].reached += 1;
          waiting_[octave + 1].push_back(next);
        }
        waiting_[octave].pop_front();
      }
    }
  }

  std::unique_ptr<EvictionPolicy> order_;
  std::vector<std::uint64_t> identity_;  // of each present block
  std::unordered_map<std::uint64_t, Seen> seen_;
  std::array<std::array<Count, kOctaves>, kUsesMax * 2> counts_{};
  std::array<std::deque<Waiting>, kOctaves> waiting_;
  std::uint64_t now_ = 0;
};

inline std::unique_ptr<EvictionPolicy> MakeLearningStandIn(std::size_t capacity_blocks) {
  return std::make_unique<LearningStandIn>(capacity_blocks);
}

}  // namespace terrace
