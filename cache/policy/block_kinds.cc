#include "cache/policy/block_kinds.h"

#include <algorithm>
#include <bit>

namespace terrace {
namespace {

/// Octave of a length: 0 for one or two blocks, then one more for each doubling.
std::size_t LengthClass(std::uint32_t blocks, std::size_t most) {
  const auto width = static_cast<std::size_t>(std::bit_width(std::max(blocks, 1U) - 1));
  return std::min(width > 0 ? width - 1 : 0, most);
}

/// Chains of more blocks than this count as long in turns after the first.
constexpr std::uint32_t kLong = 16;

std::size_t GrowthClass(std::uint32_t fresh, bool is_long) {
  const auto growth = std::min<std::size_t>(fresh <= 1 ? 0 : std::bit_width(fresh) - 1U, 3);
  return 2 * growth + (is_long ? 1 : 0);
}

}  // namespace

BlockKinds::BlockKinds(ReuseHistory& history) : history_(history), turn_(1) {
  AddFamily();
  const std::uint16_t above = Add(ReuseHistory::kRoot, 0);
  for (std::uint16_t& kind : shared_) kind = Add(above, 0);
  partial_ = Add(ReuseHistory::kRoot, 0);
  put_off_ = Add(ReuseHistory::kRoot, 0);
}

std::uint16_t BlockKinds::Add(std::uint16_t above, std::uint32_t turn) {
  turn_.push_back(static_cast<std::uint8_t>(turn));
  return history_.AddKind(above);
}

void BlockKinds::AddFamily() {
  Family& family = families_.emplace_back();
  std::uint16_t above = family.session = Add(ReuseHistory::kRoot, 0);
  for (std::uint32_t turn = 1; turn <= kTurnMax; ++turn) {
    above = Add(above, turn);
    for (std::uint16_t& kind : family.turns[turn - 1]) kind = Add(above, turn);
  }
}

BlockKinds::Tenant BlockKinds::FamilyOfTenant(std::uint32_t tenant, std::uint32_t space) {
  if (family_of_.empty()) return family_of_[tenant] = {.family = 0, .first_space = space};
  const auto found = family_of_.find(tenant);
  if (found != family_of_.end()) return found->second;
  // One more than kFamilies is of all that come later.
  if (tenants_ > kFamilies) return {.family = last_family_, .first_space = space};
  AddFamily();
  last_family_ = families_.size() - 1;
  if (++tenants_ > kFamilies) return {.family = last_family_, .first_space = space};
  return family_of_[tenant] = {.family = last_family_, .first_space = space};
}

std::size_t BlockKinds::FamilyOf(std::uint32_t tenant, std::uint32_t space) {
  if (tenant == 0) return 0;  // not known
  const Tenant known = FamilyOfTenant(tenant, space);
  if (space == known.first_space || !family_of_.contains(tenant)) return known.family;
  const std::uint64_t key = std::uint64_t{tenant} << 32 | space;
  const auto found = of_spaces_.find(key);
  if (found != of_spaces_.end()) return found->second;
  if (of_spaces_.size() == kSpaces) return known.family;
  AddFamily();
  return of_spaces_[key] = families_.size() - 1;
}

std::uint16_t BlockKinds::OfTurn(std::uint32_t turn, std::uint32_t blocks, std::uint32_t fresh,
                                 const RequestFacts& request) {
  turn = std::clamp<std::uint32_t>(turn, 1, kTurnMax);
  const std::size_t within =
      turn == 1 ? LengthClass(blocks, kClasses - 1) : GrowthClass(fresh, blocks > kLong);
  const std::size_t number = FamilyOf(request.tenant, request.space);
  Family& family = families_[number];
  const std::uint16_t base = family.turns[turn - 1][within];
  const bool hinted = request.category != 0 || request.continuation != Continuation::kUnknown;
  if (!hinted) return base;

  // 16 bits of the category will do: categories that collide are learned together.
  const std::uint64_t key = (std::uint64_t{number} << 32) | (std::uint64_t{base} << 18) |
                            ((std::uint64_t{request.category} & 0xffff) << 2) |
                            static_cast<std::uint64_t>(request.continuation);
  const auto found = variants_.find(key);
  if (found != variants_.end()) return found->second;
  if (family.variants + 2 > kVariantsMax || turn_.size() + 2 > kKindsMax) {
    ++ignored_;
    return base;
  }
  std::uint16_t above = base;
  if (request.continuation != Continuation::kUnknown) {
    // What was said weighs more than the turn: it is learned for all turns together first.
    std::uint16_t& said = variants_[key & ~(std::uint64_t{0x3fff} << 18)];
    if (said == 0) {
      said = Add(family.session, 0);
      ++family.variants;
    }
    above = said;
  }
  ++family.variants;
  return variants_[key] = Add(above, turn);
}

std::uint16_t BlockKinds::OfShared(std::uint32_t uses) const noexcept {
  const auto octave = static_cast<std::size_t>(std::bit_width(std::max(uses, 1U)) - 1);
  return shared_[std::min(octave, kShared - 1)];
}

}  // namespace terrace
