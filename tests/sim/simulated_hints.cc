// The calls that say what to keep and where, and what calls say of their request: none of it may
// change a byte, hold up an end, or leave a label that keeps what is not there (Cache::Validate
// looks).
#include "base/checksum.h"
#include "tests/sim/simulation.h"

namespace terrace::testing {

RequestFacts Simulation::DrawFacts(const Target& target) {
  SeededRandom& random = streams_.told;
  if (!random.Chance(plan_.told)) return {};
  const auto draw = [&random](std::uint32_t below) {
    return static_cast<std::uint32_t>(random.Below(below));
  };
  RequestFacts facts{.session = draw(8),
                     .category = draw(4),
                     .turn = static_cast<std::uint16_t>(draw(1 << 16)),
                     .continuation = static_cast<Continuation>(draw(3))};
  if (random.Chance(0.5)) {  // a chain is a conversation, whose turn is as long as the call goes
    facts.session = static_cast<std::uint32_t>(Checksum64(AsKey(target.chain->back())));
    facts.turn = static_cast<std::uint16_t>(target.first + target.count);
  }
  return facts;
}

Task<void> Simulation::ForgetPrefix(Target target, std::uint64_t crashes) {
  // Long enough that it is never cut off: then all that was named is gone.
  const PrefixRequest request{.chain = target.Slice(target.first, target.count),
                              .deadline = time_.Now() + 3600 * kSecond};
  SimulationOracle::Before before;
  for (const NamespaceGroup& group : target.space->spec.groups) {
    for (std::uint32_t shard = 0; shard < target.space->spec.shard_count; ++shard) {
      before.merge(oracle_->RemoveBegins(
          *target.space,
          SliceOf(*target.space, *target.chain, target.first, target.count, group.id, shard)));
    }
  }
  const Result<std::uint64_t> removed = co_await cache_->RemovePrefix(request);
  if (crashes != oracle_->crashes()) co_return;
  if (!removed.ok() && removed.code() != StatusCode::kIo) {
    oracle_->Fail("a prefix was not removed: " + removed.status().ToString());
  }
  // Not told: a block that the index had forgotten already has no tombstone, and may be found again
  // by a restart. That others may not is shown by CachePrefetchTest.
  oracle_->ClearEnds(before, false, crashes);
  Note(removed.ok() ? *removed : 0);
}

Task<void> Simulation::Hint(Target target) {
  SeededRandom& random = streams_.clients;
  const std::uint64_t kind = random.Below(16);
  if (kind == 0) {
    co_await Forget(target, Forgets::kPrefix);
    co_return;
  }
  ++calls_;
  ++report_.calls;
  report_.operations += target.count;
  const std::string label = "label" + std::to_string(random.Below(3));
  if (kind < 5) {
    const RetainRequest request{.chain = target.Slice(target.first, target.count),
                                .label = label,
                                .time = static_cast<Nanos>(random.Between(1, 2000)) * kMillisecond};
    Note(co_await cache_->Retain(request));
  } else if (kind < 7) {
    Note(co_await cache_->ReleaseRetained(target.space->spec.tenant, label));
  } else if (kind < 9) {
    Note(cache_->Touch(target.Slice(target.first, target.count), DrawFacts(target)));
  } else {
    // Some are cancelled, as by a client that goes: their deadline moves to the past.
    const bool short_of_time = random.Chance(0.3);
    const Nanos patience = static_cast<Nanos>(random.Between(1, short_of_time ? 300 : 50'000));
    const PrefetchRequest request{.chain = target.Slice(target.first, target.count),
                                  .priority = static_cast<std::uint32_t>(random.Below(4)),
                                  .deadline = time_.Now() + patience * kMicrosecond,
                                  .facts = DrawFacts(target)};
    const BatchAnswer answer = co_await cache_->Prefetch(request);
    if (!answer.status.ok()) oracle_->Fail("prefetch refused: " + answer.status.ToString());
    Note(answer);
  }
  --calls_;
}

}  // namespace terrace::testing
