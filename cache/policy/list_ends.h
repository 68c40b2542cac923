// ListEnds: which block of each list may leave first, and what it is worth.
//
// Model. Of each list two blocks are looked at: the oldest, and the deepest of the last request
// (kind_lists.h). They and their values are remembered from one search to the next, and looked at
// again when the list changed, when one of them is of another step of age by now, or when another
// request is under way than at the last search and the list begins or ends with one of the two.
//
// Values are kept as the bits of floats that are not negative: these are in the order of the
// floats, and the least of integers is found without branches, several at a time. Thread: the
// owner's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/policy/kind_lists.h"
#include "cache/policy/learned_reuse.h"

namespace terrace {

class ListEnds {
 public:
  /// `put_off`: the list of blocks that could not leave when they were to. Both outlive this.
  ListEnds(KindLists& lists, LearnedReuse& learned, std::size_t put_off)
      : lists_(lists), learned_(learned), put_off_(put_off) {}

  /// All lists are to be looked at again, and new ones too.
  void Reset();

  /// The oldest block of a list, or the deepest of the last request in it; kNoBlock when it has
  /// only the request `open`, which is under way, or what was put off a short while ago.
  [[nodiscard]] BlockId EndOf(std::size_t list, bool old, std::uint32_t open);

  /// The least valuable of all ends.
  struct Least {
    BlockId block = kNoBlock;     ///< kNoBlock: nothing may leave
    std::size_t list = 0;         ///< that it is in,
    bool old = true;              ///< at which end
    float bound = 0;              ///< value of the next best end
    std::size_t oldest_list = 0;  ///< whose oldest block is worth least
  };
  [[nodiscard]] Least Find(std::uint32_t open);

  [[nodiscard]] std::size_t Bytes() const noexcept { return until_.size() * kBytesPerList; }

 private:
  static constexpr std::size_t kBytesPerList = 7 * sizeof(std::uint32_t);
  /// What is at an end where nothing may leave: infinity.
  static constexpr std::int32_t kNoValue = 0x7f800000;

  /// At what may have changed.
  void LookAgain(std::uint32_t open);
  void LookAt(std::size_t list, std::uint32_t open);
  /// Bits of its value; `until` becomes the time from which on it is another.
  [[nodiscard]] std::int32_t ValueAt(std::size_t list, BlockId block, std::uint32_t& until);

  KindLists& lists_;
  LearnedReuse& learned_;
  const std::size_t put_off_;
  std::uint32_t open_ = 0;  // at the last search
  // By list:
  std::vector<std::int32_t> old_values_;
  std::vector<std::int32_t> young_values_;
  std::vector<BlockId> old_;
  std::vector<BlockId> young_;
  std::vector<std::uint32_t> first_whens_;  // of the first block of the list, and of the last
  std::vector<std::uint32_t> last_whens_;
  std::vector<std::uint32_t> until_;  // from then on it is to be looked at again
};

}  // namespace terrace
