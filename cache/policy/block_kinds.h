// BlockKinds: what is told apart when reuse is learned.
//
// A kind is a row of ReuseHistory. The base kinds follow from the chain alone:
//   - of a conversation by turn, and within it: a first turn by its length, a later one by how much
//     it added and whether the chain is long. Who adds little goes on more often;
//   - blocks that several conversations share, by how often they were used;
//   - blocks that are not full: their continuation has another key, so they hardly ever return;
//   - blocks that were to leave and could not, of which nothing is learned: the average of all.
// Conversations of each tenant are a family of kinds of their own, for the first kFamilies tenants;
// the others share one. So are those of a second and later namespace of a tenant, as long as there
// are fewer than kSpaces such; the rest are of its first. Within a family a base kind has a variant
// for each category and expectation that clients named. So what one tenant's clients say, true or
// not, is learned of that tenant alone. Variants lean on their base kind until enough was seen,
// those with an expectation on what became of it in all turns, and later turns on the turn before.
// When a family has kVariantsMax, new hints of its tenants count no longer, and that is counted.
//
// Thread: the owner's.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "cache/policy/request_facts.h"
#include "cache/policy/reuse_history.h"

namespace terrace {

class BlockKinds {
 public:
  static constexpr std::uint32_t kTurnMax = 6;  ///< it and all later ones
  static constexpr std::size_t kKindsMax = 1536;
  static constexpr std::size_t kFamilies = 6;
  static constexpr std::size_t kSpaces = 3;
  static constexpr std::uint16_t kVariantsMax = 88;  ///< of one family, so that all have room

  /// Adds the base kinds to `history`, which outlives this.
  explicit BlockKinds(ReuseHistory& history);

  /// Of a request that is turn `turn` (from 1) by its chain, which has `blocks` blocks, `fresh` of
  /// them at its end never seen before. What its client says of the turn does not count: a wrong
  /// one cost more than a right one brought.
  [[nodiscard]] std::uint16_t OfTurn(std::uint32_t turn, std::uint32_t blocks, std::uint32_t fresh,
                                     const RequestFacts& request);
  /// Of a block that conversations share, used `uses` times since that is known.
  [[nodiscard]] std::uint16_t OfShared(std::uint32_t uses) const noexcept;
  [[nodiscard]] std::uint16_t OfPartial() const noexcept { return partial_; }
  /// Of blocks that could not leave when they were to.
  [[nodiscard]] std::uint16_t OfPutOff() const noexcept { return put_off_; }

  /// The turn that a kind stands for; 0: none.
  [[nodiscard]] std::uint32_t TurnOf(std::uint16_t kind) const noexcept { return turn_[kind]; }
  [[nodiscard]] std::size_t size() const noexcept { return turn_.size(); }
  /// Requests whose hints did not count because there were too many kinds.
  [[nodiscard]] std::uint64_t ignored() const noexcept { return ignored_; }

 private:
  static constexpr std::size_t kClasses = 8;  // of a turn
  static constexpr std::size_t kShared = 4;

  struct Family {
    std::uint16_t session = 0;
    std::uint16_t variants = 0;
    std::array<std::array<std::uint16_t, kClasses>, kTurnMax> turns{};
  };

  std::uint16_t Add(std::uint16_t above, std::uint32_t turn);
  void AddFamily();
  /// Of a tenant, and of its namespaces that have one of their own.
  struct Tenant {
    std::size_t family = 0;
    std::uint32_t first_space = 0;
  };
  [[nodiscard]] Tenant FamilyOfTenant(std::uint32_t tenant, std::uint32_t space);
  [[nodiscard]] std::size_t FamilyOf(std::uint32_t tenant, std::uint32_t space);

  ReuseHistory& history_;
  std::vector<std::uint8_t> turn_;  // by kind
  std::vector<Family> families_;
  std::unordered_map<std::uint32_t, Tenant> family_of_;       // by tenant
  std::unordered_map<std::uint64_t, std::size_t> of_spaces_;  // by tenant and namespace
  std::size_t tenants_ = 1;                                   // families that are of tenants
  std::size_t last_family_ = 0;                               // of them
  std::array<std::uint16_t, kShared> shared_{};
  std::uint16_t partial_ = 0;
  std::uint16_t put_off_ = 0;
  std::unordered_map<std::uint64_t, std::uint16_t> variants_;
  std::uint64_t ignored_ = 0;
};

}  // namespace terrace
