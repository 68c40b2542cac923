#include "cache/block_index.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"
#include "cache/policy/policies.h"
#include "cache/policy/retaining_policy.h"

namespace terrace {
namespace {

std::unique_ptr<BlockIndex> MakeIndex(std::uint64_t capacity) {
  auto index = BlockIndex::Create(capacity);
  EXPECT_TRUE(index.ok()) << index.status().ToString();
  return std::move(index).value();
}

TEST(BlockIndexTest, CapacityOfZeroOrTooManyIsRefused) {
  EXPECT_EQ(BlockIndex::Create(0).code(), StatusCode::kInvalid);
  EXPECT_EQ(BlockIndex::Create(BlockIndex::kCapacityMax + 1).code(), StatusCode::kInvalid);
}

TEST(BlockIndexTest, AMillionBlocksTakeAtMost96BytesEachWithThePolicy) {
  constexpr std::uint64_t kBlocks = 1 << 20;
  constexpr std::uint64_t kNamespaceBytes = 64;  // the list of the one that there is
  const auto index = MakeIndex(kBlocks);
  SeededRandom random(1);
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    index->Reserve({.namespace_id = 1, .hash = {.low = random.Next(), .high = i}}, 0, 0, 4096);
  }
  EXPECT_TRUE(index->Full());
  for (const PolicyKind& kind : Policies()) {
    const std::uint64_t policy_bytes = RetainingPolicy(kind.make(1), 1).BytesPerBlock();
    const std::uint64_t bytes = index->Bytes() + kBlocks * policy_bytes;
    // docs/operations.md tells of the exception.
    const std::uint64_t each = kind.name == "s3fifo" ? 127 : 96;
    EXPECT_LE(bytes, each * kBlocks + kNamespaceBytes) << kind.name;
    RecordProperty(std::string(kind.name) + "_bytes_per_block", std::to_string(bytes / kBlocks));
  }
}

TEST(BlockIndexTest, StatesDecideWhatIsFoundAndCounted) {
  const auto index = MakeIndex(4);
  const Locator locator{.namespace_id = 3, .hash = {.low = 5, .high = 6}};
  const BlockId id = index->Reserve(locator, 9, 2, 5000);
  EXPECT_EQ(index->Find(locator), id);
  EXPECT_EQ(index->UsageOf(3).blocks, 0u) << "a block that is being put is not stored";
  index->Publish(id, 16);
  EXPECT_EQ(index->UsageOf(3).blocks, 1u);
  EXPECT_EQ(index->UsageOf(3).bytes, 5000u);
  EXPECT_EQ(index->FirstOf(3), id);
  EXPECT_EQ(index->FirstOf(4), kNoBlock);
  index->Doom(id);
  EXPECT_EQ(index->Find(locator), kNoBlock);
  EXPECT_EQ(index->UsageOf(3).blocks, 0u);
  EXPECT_EQ(index->FirstOf(3), kNoBlock);
  EXPECT_NE(index->Reserve(locator, 10, 2, 5000), id) << "a doomed block keeps its number";
  EXPECT_TRUE(index->Validate().ok());
  index->Release(id);
  EXPECT_EQ(index->used(), 1u);
  EXPECT_TRUE(index->Validate().ok());
}

TEST(BlockIndexTest, NamespaceIdsAreExactSoEqualHashesOfTwoNamespacesDoNotMeet) {
  const auto index = MakeIndex(4);
  const Hash128 hash{.low = 1, .high = 2};
  const BlockId first = index->Reserve({.namespace_id = 1, .hash = hash}, 0, 0, 4096);
  EXPECT_EQ(index->Find({.namespace_id = 2, .hash = hash}), kNoBlock);
  const BlockId second = index->Reserve({.namespace_id = 2, .hash = hash}, 1, 0, 4096);
  EXPECT_EQ(index->Find({.namespace_id = 1, .hash = hash}), first);
  EXPECT_EQ(index->Find({.namespace_id = 2, .hash = hash}), second);
}

/// Hashes with few different tags, so that probe sequences are long, wrap around and overlap.
Locator Crowded(Random& random) {
  const std::uint64_t tag = random.Chance(0.5) ? 0xffffffff - random.Below(3) : random.Below(5);
  return {.namespace_id = static_cast<std::uint32_t>(random.Below(3) + 1),
          .hash = {.low = tag << 32, .high = random.Below(4)}};
}

TEST(BlockIndexTest, ErasingInsideCrowdedProbeSequencesLosesNobody) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRandom random(seed);
    const auto index = MakeIndex(random.Between(1, 40));
    std::map<std::tuple<std::uint32_t, std::uint64_t, std::uint64_t>, BlockId> model;
    const auto key = [](const Locator& locator) {
      return std::tuple(locator.namespace_id, locator.hash.low, locator.hash.high);
    };
    for (int step = 0; step < 2000; ++step) {
      const Locator locator =
          random.Chance(0.7)
              ? Crowded(random)
              : Locator{.namespace_id = 1, .hash = {.low = random.Next(), .high = 0}};
      const auto known = model.find(key(locator));
      const BlockId found = index->Find(locator);
      ASSERT_EQ(found, known == model.end() ? kNoBlock : known->second);
      if (found != kNoBlock) {
        if (random.Chance(0.5)) index->Publish(found, 16);
        index->Doom(found);
        index->Release(found);
        model.erase(known);
      } else if (!index->Full()) {
        model[key(locator)] = index->Reserve(locator, 0, 0, 4096);
      } else if (!model.empty()) {
        const auto victim = model.begin();
        index->Doom(victim->second);
        index->Release(victim->second);
        model.erase(victim);
      }
      if (step % 100 == 0) {
        const Status valid = index->Validate();
        ASSERT_TRUE(valid.ok()) << valid.ToString();
      }
    }
    for (const auto& [where, id] : model) {
      EXPECT_EQ(index->Find({.namespace_id = std::get<0>(where),
                             .hash = {.low = std::get<1>(where), .high = std::get<2>(where)}}),
                id);
    }
  }
}

}  // namespace
}  // namespace terrace
