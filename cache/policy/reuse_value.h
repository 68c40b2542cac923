// What a place in the cache is worth, from the hazards of ReuseHistory.
//
// Source. A block that waits for its next use is a bandit that pays once: the Gittins index
// (Gittins, "Bandit processes and dynamic allocation indices", 1979) of a block of an age is the
// greatest ratio, over all times to keep it for, of the chance that it is used meanwhile to the
// expected time that it holds its place: I(a) = max over T of P(used in (a, a+T] | not before) /
// E[min(time to use, T)]. Pure functions.
#pragma once

#include "cache/policy/reuse_history.h"

namespace terrace {

/// Of a block of that age step, uses per tick.
[[nodiscard]] float ReuseIndex(const AgeArray& hazards, std::size_t from);

/// P(used again before `until` | not before `age`), both in ticks; 0 when until <= age.
[[nodiscard]] double ReuseBefore(const AgeArray& hazards, std::uint32_t age, std::uint32_t until);

}  // namespace terrace
