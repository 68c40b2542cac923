// EvictionPolicy: the order in which blocks leave a tier.
//
// The same compiled code runs in the daemon and in the offline simulator, so it knows nothing of
// frames, keys or time beyond the order of the calls. Constant time per block.
// A policy owns its state per block, in arrays sized once (no rehash stalls); the bytes it uses
// count against the 96 bytes a block of the index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace terrace {

/// Dense number of a block, below the capacity given to the policy.
using BlockId = std::uint32_t;
inline constexpr BlockId kNoBlock = 0xffffffff;

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// A new block. `parent` is the block before it in its chain, kNoBlock when it is the first or
  /// not in this tier. REQUIRES: block not present; parent kNoBlock or present.
  virtual void Insert(BlockId block, BlockId parent) = 0;
  /// Blocks of one request were used together; `chain` is in prefix order, each present.
  virtual void Touch(std::span<const BlockId> chain) = 0;
  /// REQUIRES: present.
  virtual void Remove(BlockId block) = 0;

  /// True when a block that was read from a lower tier shall stay in this one (it is then
  /// inserted).
  [[nodiscard]] virtual bool Promotes(BlockId /*block*/) const noexcept { return true; }

  /// The block to evict first; kNoBlock when the policy holds none.
  [[nodiscard]] virtual BlockId First() const noexcept = 0;
  /// The block to evict if `block` cannot be (it is pinned); kNoBlock after the last.
  [[nodiscard]] virtual BlockId After(BlockId block) const noexcept = 0;

  /// Bytes of state per block of capacity.
  [[nodiscard]] virtual std::size_t BytesPerBlock() const noexcept = 0;
};

/// Least recently used, suffix first: within a chain the deeper block always goes before its
/// ancestor, because Touch makes the head the most recent, and Insert puts a block just behind
/// its parent.
std::unique_ptr<EvictionPolicy> MakeLruPolicy(std::size_t capacity_blocks);

}  // namespace terrace
