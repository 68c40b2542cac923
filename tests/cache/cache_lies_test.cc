// What a tenant that lies about its requests can do to another: nothing beyond its own share.
#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/cache/cache_fixture.h"
#include "tests/common/samples.h"

namespace terrace {
namespace {

using testing::CacheTest;
using testing::ChainKeys;
using testing::ClientCall;
using testing::FillSources;
using testing::MakeChain;
using testing::PoisonDestinations;
using testing::StatusText;
using testing::WrongBlocks;

enum class Lie : std::uint8_t {
  kNone,         ///< nobody says anything
  kAllDone,      ///< of every request: nothing will follow
  kAllContinue,  ///< of every request: more will follow
  kRandom,
  kContradicting,  ///< one chain in many sessions, turns that go back, done and not done
  kDear,           ///< its blocks cost as much as can be told
  kCostsAtRandom,  ///< each time another cost, from the least to the most
};
constexpr Lie kLies[] = {Lie::kAllDone,       Lie::kAllContinue, Lie::kRandom,
                         Lie::kContradicting, Lie::kDear,        Lie::kCostsAtRandom};

/// How far an honest tenant may fall below what it hits when nobody says anything, points of its
/// block hit ratio. A policy that heeds no hints answers the same whatever is said: 0.
struct Bound {
  std::string_view policy;
  double points_lost = 0;
};
std::vector<Bound> Bounds() {
  std::vector<Bound> bounds;
  for (const PolicyKind& kind : Policies()) {
    // While `terrace` learns what the words are worth; after 2,000 steps it is half as much.
    bounds.push_back({.policy = kind.name, .points_lost = kind.name == "terrace" ? 5.0 : 0.0});
  }
  return bounds;
}
void PrintTo(const Bound& bound, std::ostream* out) { *out << bound.policy; }

struct Played {
  std::vector<std::string> answers;  ///< of both tenants, in their order
  std::size_t honest_wanted = 0;     ///< blocks
  std::size_t honest_hit = 0;
  [[nodiscard]] double HonestRatio() const {
    return static_cast<double>(honest_hit) / static_cast<double>(honest_wanted);
  }
};

class CacheLiesTest : public CacheTest, public ::testing::WithParamInterface<Bound> {
 protected:
  static constexpr std::uint64_t kSmall = 32 << 10;

  /// Six conversations of an honest tenant, which grow and are sometimes done; another tenant whose
  /// chains push at them.
  Played Play(Lie lie, std::uint64_t seed) {
    cache_.reset();
    registry_ = std::make_unique<NamespaceRegistry>(kBlockBytesMax);
    CacheOptions options;
    options.policy = std::string(GetParam().policy);
    MakeCache(6 << 20, options);  // 3 extents: some 180 blocks
    const Namespace* honest = Open("honest", "a", kSmall);
    const Namespace* liar = Open("liar", "b", kSmall);
    SeededRandom draws(seed);
    SeededRandom lies(seed + 1);
    Played played;
    std::vector<std::uint32_t> turns(6);
    std::vector<std::uint32_t> chats(6);
    const int steps =
        GetParam().points_lost > 0 ? 600 : 150;  // one that does not learn shows it soon
    for (int step = 0; step < steps; ++step) {
      const std::size_t session = draws.Below(turns.size());
      const bool ends = turns[session] >= 2 && draws.Chance(0.2);
      const ChainKeys chain =
          MakeChain("chat" + std::to_string(session) + "." + std::to_string(chats[session]),
                    3 + 2 * turns[session]);
      const RequestFacts truth{
          .session = static_cast<std::uint32_t>(session + 1),
          .category = 1,
          .turn = static_cast<std::uint16_t>(turns[session] + 1),
          .continuation = ends ? Continuation::kDone : Continuation::kWillContinue};
      played.honest_hit += Request(*honest, chain, truth, played);
      played.honest_wanted += chain.size();
      if (++turns[session]; ends) {
        turns[session] = 0;
        ++chats[session];
      }
      const ChainKeys push =
          MakeChain("push" + std::to_string(draws.Below(60)), draws.Between(1, 8));
      TellCost(*liar, lie, lies);
      (void)Request(*liar, push, Said(lie, lies, step), played);
    }
    ExpectValid();
    return played;
  }

 private:
  static RequestFacts Said(Lie lie, Random& random, int step) {
    const auto draw = [&random](std::uint32_t below) {
      return static_cast<std::uint32_t>(random.Below(below));
    };
    switch (lie) {
      case Lie::kNone:
      case Lie::kDear:
      case Lie::kCostsAtRandom: return {};
      case Lie::kAllDone: return {.session = 1, .continuation = Continuation::kDone};
      case Lie::kAllContinue:
        return {.session = 1, .category = 1, .continuation = Continuation::kWillContinue};
      case Lie::kRandom:
        return {.session = draw(8),
                .category = draw(3),
                .turn = static_cast<std::uint16_t>(draw(65536)),
                .continuation = static_cast<Continuation>(draw(3))};
      case Lie::kContradicting:
        return {.session = static_cast<std::uint32_t>(step + 1),
                .category = 1,
                .turn = static_cast<std::uint16_t>(65535 - step),
                .continuation = step % 2 == 0 ? Continuation::kDone : Continuation::kWillContinue};
    }
    return {};
  }
  static void TellCost(const Namespace& space, Lie lie, Random& random) {
    if (lie == Lie::kDear) space.cost.Set({.first_token_s = PrefillCost::kSecondsMax});
    if (lie != Lie::kCostsAtRandom) return;
    space.cost.Set({.first_token_s =
                        random.Chance(0.5) ? PrefillCost::kSecondsMin : PrefillCost::kSecondsMax});
  }
  /// As an engine does: match, get what is there, put the rest. @return how many leading blocks
  /// came.
  std::size_t Request(const Namespace& space, const ChainKeys& chain, const RequestFacts& facts,
                      Played& played) {
    const std::size_t matched = Matched(&space, chain);
    std::size_t hit = 0;
    if (matched > 0) {
      ClientCall call = Call(&space, chain, 0, matched);
      call.request.facts = facts;
      PoisonDestinations(call, memory_);
      const BatchAnswer answer = time_.Run(cache_->Get(link_, call.request));
      EXPECT_EQ(WrongBlocks(call, memory_, answer), 0U);
      played.answers.push_back(StatusText(answer));
      while (hit < matched && answer.blocks[hit].status == StatusCode::kOk) ++hit;
    }
    if (matched < chain.size()) {
      ClientCall call = Call(&space, chain, matched, chain.size() - matched);
      call.request.facts = facts;
      FillSources(call, memory_);
      played.answers.push_back(StatusText(time_.Run(cache_->Put(link_, call.request))));
    }
    return hit;
  }
};

TEST_P(CacheLiesTest, WhatALiarSaysCostsNobodyElseMoreThanThePolicyAllows) {
  for (std::uint64_t seed = 1; seed <= testing::SampleOf(2); ++seed) {
    const Played silent = Play(Lie::kNone, seed);
    ASSERT_GT(silent.honest_hit, silent.honest_wanted / 10) << "there is something to lose";
    ASSERT_LT(silent.honest_hit, silent.honest_wanted * 9 / 10) << "and room is scarce";
    for (const Lie lie : kLies) {
      const Played lied = Play(lie, seed);
      EXPECT_GE(lied.HonestRatio() * 100, silent.HonestRatio() * 100 - GetParam().points_lost)
          << "lie " << static_cast<int>(lie) << ", seed " << seed;
      if (GetParam().points_lost == 0) EXPECT_EQ(lied.answers, silent.answers);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryPolicy, CacheLiesTest, ::testing::ValuesIn(Bounds()),
                         [](const auto& run) {
                           std::string name(run.param.policy);
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace terrace
