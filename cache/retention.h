// Retention: the labels that clients keep blocks by, of one reactor.
//
// Model. A label holds blocks, and has an end on the Clock. A block is *kept* while some label
// holds it: eviction then takes it after all others (retaining_policy.h), and what holds it on NVMe
// is written again when its segment is reused. All kept blocks together are at most
// blocks_max and have at most bytes_max; for more, the label that was retained longest ago gives
// blocks back, the last first.
//
//   R1. A block is kept exactly while a label holds it; a label exists exactly while it holds one.
//   R2. bytes() is the sum over kept blocks, each counted once, and at most bytes_max; blocks() is
//       their number, and at most blocks_max.
//   R3. There are at most kLabelsMax labels, which hold blocks at most kHoldsPerBlock * blocks_max
//       times, all together: what clients name takes no more memory than that.
//   R4. Labels are only wishes: any kept block may be forgotten at any time, and then leaves them.
//
// No timer: labels whose time is over go when Expire is called, a bounded number of blocks at once.
// Memory: about 250 bytes for a kept block, 70 more for each further label that holds it, and 300
// to 600 for a label.
// Thread: the owning reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/status.h"
#include "cache/block_index.h"
#include "cache/policy/retaining_policy.h"

namespace terrace {

class Retention {
 public:
  static constexpr std::size_t kLabelsMax = 65'536;
  static constexpr std::uint64_t kHoldsPerBlock = 4;

  /// `index` and `policy` outlive it.
  Retention(const BlockIndex& index, RetainingPolicy& policy, std::uint64_t bytes_max,
            std::uint64_t blocks_max)
      : index_(index),
        policy_(policy),
        bytes_max_(bytes_max),
        blocks_max_(blocks_max),
        holds_max_(kHoldsPerBlock * blocks_max) {}
  Retention(const Retention&) = delete;
  Retention& operator=(const Retention&) = delete;

  /// The name of a tenant's label.
  static std::string NameOf(std::string_view tenant, std::string_view label);
  /// A label that exists lives until `end` at least, and is the newest. Before its Adds.
  void Renew(const std::string& name, Nanos end);
  /// The label holds the block as well; it is made when there is none. False: it would take more
  /// than there may be, though older labels gave way. REQUIRES: published.
  bool Add(const std::string& name, Nanos end, BlockId block);
  /// Takes at most `most` blocks from a label; how many it took. 0: there is no such label.
  std::size_t Release(const std::string& name, std::size_t most);
  /// The same for all labels that ended before `now`.
  std::size_t Expire(Nanos now, std::size_t most);
  /// The block is about to go, and is in the policy no more. REQUIRES: policy.Keeps(block).
  void OnForget(BlockId block);

  [[nodiscard]] std::uint64_t blocks() const noexcept { return held_.size(); }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::uint64_t bytes_max() const noexcept { return bytes_max_; }
  [[nodiscard]] std::size_t labels() const noexcept { return labels_.size(); }
  /// Blocks that gave way to newer labels, ever.
  [[nodiscard]] std::uint64_t displaced() const noexcept { return displaced_; }
  /// R1 to R3; walks everything.
  [[nodiscard]] Status Validate() const;

 private:
  struct Label;
  using Labels = std::list<Label>;
  using Ends = std::multimap<Nanos, Labels::iterator>;
  struct Label {
    std::string name;
    std::list<BlockId> blocks;  // as they were added
    Ends::iterator end;
  };
  /// Where in its list each of them has the block.
  using Holders = std::unordered_map<Label*, std::list<BlockId>::iterator>;

  Labels::iterator Make(const std::string& name, Nanos end);
  bool MakeRoom(std::uint64_t bytes, bool for_a_label, const std::string& for_whom);
  /// The label lets go of its last block; it is gone when that was its only one.
  void TakeLast(Labels::iterator label);
  void Drop(Labels::iterator label);
  [[nodiscard]] NewBlock AsNew(BlockId block) const;

  const BlockIndex& index_;
  RetainingPolicy& policy_;
  const std::uint64_t bytes_max_;
  const std::uint64_t blocks_max_;
  const std::uint64_t holds_max_;
  std::uint64_t bytes_ = 0;
  std::uint64_t holds_ = 0;  // blocks, once for each label that holds them
  std::uint64_t displaced_ = 0;
  Labels labels_;  // retained longest ago first
  std::unordered_map<std::string, Labels::iterator> by_name_;
  Ends ends_;
  std::unordered_map<BlockId, Holders> held_;
};

}  // namespace terrace
