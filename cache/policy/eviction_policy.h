// EvictionPolicy: the order in which blocks leave a tier.
//
// The same compiled code runs in the daemon and in the offline simulator, so it knows nothing of
// frames, keys or time beyond the order of the calls. Constant time per call, amortised over the
// touches before it.
// A policy owns its state per block, in arrays sized once (no rehash stalls); the bytes it uses
// count against the 96 bytes a block of the index.
//
// Thread: the owning reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "cache/policy/request_facts.h"

namespace terrace {

/// Dense number of a block, below the capacity given to the policy.
using BlockId = std::uint32_t;
inline constexpr BlockId kNoBlock = 0xffffffff;

/// A block that comes into a tier.
struct NewBlock {
  BlockId block = kNoBlock;
  /// The block before it in its chain; kNoBlock when it is the first or not in this tier.
  BlockId parent = kNoBlock;
  /// A hash of what the block is: the same when the same block comes back under another number.
  std::uint64_t identity = 0;
  std::uint32_t position = 0;  ///< in its chain
  std::uint32_t behind = 0;    ///< blocks that the same request brings after it
  bool partial = false;        ///< it has fewer tokens than a block holds
  bool returns = false;        ///< used again now: it comes back from a lower tier
  bool got = false;        ///< in a miniature: a get found it in the real cache, a put may follow
  RequestFacts request{};  ///< as Extend gave it, of the request that brings or uses it
};

/// What a request is about to bring.
struct Extension {
  BlockId parent = kNoBlock;                  ///< as of its first block
  std::uint32_t position = 0;                 ///< of its first block
  std::uint32_t blocks = 0;                   ///< how many they are
  std::span<const std::uint64_t> identities;  ///< in prefix order; of a sample of them, or all
  RequestFacts request{};                     ///< what its client said
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// A request is about to bring blocks. @return what is known of it and what the policy makes of
  /// that, for each NewBlock::request.
  [[nodiscard]] virtual RequestFacts Extend(const Extension& extension) {
    return extension.request;
  }
  /// REQUIRES: block not present; parent kNoBlock or present.
  virtual void Insert(const NewBlock& block) = 0;
  /// Blocks of one request were used together; `chain` is in prefix order, each present.
  virtual void Touch(std::span<const BlockId> chain, const RequestFacts& request) = 0;
  /// It is wanted gone but cannot be now: others shall be offered before it. `block` as of Insert.
  virtual void PutOff(const NewBlock& block) {
    Remove(block.block);
    NewBlock alone = block;
    alone.parent = kNoBlock;
    Insert(alone);
    Touch({&block.block, 1}, block.request);
  }
  /// It left for a reason of its own (removed, cleared, corrupt). REQUIRES: present.
  virtual void Remove(BlockId block) = 0;
  /// It made room for another. REQUIRES: present.
  virtual void Evict(BlockId block) { Remove(block); }

  /// True when a block that was read from a lower tier shall stay in this one (it is then
  /// inserted).
  [[nodiscard]] virtual bool Promotes(BlockId /*block*/) const noexcept { return true; }

  /// Probability, as far as it is known, that the block is used again before `blocks` others came
  /// into the tier. REQUIRES: present.
  [[nodiscard]] virtual double ReuseWithin(BlockId /*block*/,
                                           std::uint64_t /*blocks*/) const noexcept {
    return 1;
  }

  /// What a byte of the block costs to compute again, of the mean of its tenant. REQUIRES: present.
  [[nodiscard]] virtual double CostFactor(BlockId /*block*/) const noexcept { return 1; }

  /// What it made of the request that used the block last, for the Insert of a Follower. REQUIRES:
  /// present.
  [[nodiscard]] virtual RequestFacts FactsOf(BlockId /*block*/) const { return {}; }

  /// The block to evict first; kNoBlock when the policy holds none. Some policies age what they
  /// pass on the way to it.
  [[nodiscard]] virtual BlockId First() = 0;
  /// The block to evict if `block` cannot be (it is pinned); kNoBlock after the last. From First
  /// on, and with no change in between, each block comes once.
  [[nodiscard]] virtual BlockId After(BlockId block) const noexcept = 0;

  /// A policy for another cache that sees the same requests, which uses what this one learns and
  /// learns nothing itself; null for policies that learn nothing. Whoever shows a request to both
  /// shows it to this one last. It may outlive this one.
  [[nodiscard]] virtual std::unique_ptr<EvictionPolicy> Follower(
      std::size_t /*capacity_blocks*/) const {
    return nullptr;
  }

  /// Another policy of the kind that learns by itself, whose cache holds `held_blocks` of its
  /// `capacity_blocks` at most; null for policies that learn nothing.
  [[nodiscard]] virtual std::unique_ptr<EvictionPolicy> Learner(std::size_t /*capacity_blocks*/,
                                                                std::size_t /*held_blocks*/) const {
    return nullptr;
  }

  /// Requests whose hints did not count, because too many different ones were told apart already.
  [[nodiscard]] virtual std::uint64_t IgnoredHints() const noexcept { return 0; }

  /// Bytes of state per block of capacity, and beside them.
  [[nodiscard]] virtual std::size_t BytesPerBlock() const noexcept = 0;
  [[nodiscard]] virtual std::size_t FixedBytes() const noexcept { return 0; }
};

}  // namespace terrace
