// An entry of the index that is cut off, or of another kind, must be refused and never half read.
#include "tiers/nvme/index_entry.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace terrace::nvme {
namespace {

IndexedBlock Block() {
  IndexedBlock block;
  block.namespace_id = 0x01020304;
  block.hash = {.low = 0x1112131415161718, .high = 0x2122232425262728};
  block.place = {.segment_plus_one = 9, .page = 300, .generation = 70'000};
  block.sequence = 1ULL << 40;
  block.block_bytes = 64 << 20;
  block.position = 12;
  block.valid_tokens = 16;
  block.parent = {.low = 5, .high = 6};
  return block;
}

/// Calls `read` with every proper prefix of `bytes`, and with one byte more.
template <typename Read>
void ExpectOnlyTheWhole(std::string_view bytes, Read read) {
  EXPECT_TRUE(read(bytes));
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(read(bytes.substr(0, length))) << length << " of " << bytes.size();
  }
  EXPECT_FALSE(read(std::string(bytes) + '\0'));
}

TEST(IndexEntryTest, ABlockComesBackAsItWas) {
  const IndexedBlock block = Block();
  const std::string key = BlockKey(0x0506, block.namespace_id, block.hash);
  EXPECT_EQ(key, std::string("b\x05\x06\x01\x02\x03\x04\x21\x22\x23\x24\x25\x26\x27\x28\x11\x12"
                             "\x13\x14\x15\x16\x17\x18",
                             23));
  const std::string value = BlockValue(block);
  EXPECT_EQ(value.size(), 48U);
  EXPECT_EQ(value.substr(0, 12), std::string("\x09\0\0\0\x2c\x01\0\0\x70\x11\x01\0", 12));
  const auto read = ReadBlock(key, value);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->namespace_id, block.namespace_id);
  EXPECT_EQ(read->hash, block.hash);
  EXPECT_EQ(read->place, block.place);
  EXPECT_EQ(read->sequence, block.sequence);
  EXPECT_EQ(read->block_bytes, block.block_bytes);
  EXPECT_EQ(read->position, block.position);
  EXPECT_EQ(read->valid_tokens, block.valid_tokens);
  EXPECT_EQ(read->parent, block.parent);
}

TEST(IndexEntryTest, EveryTruncationIsRefused) {
  const IndexedBlock block = Block();
  const std::string key = BlockKey(1, block.namespace_id, block.hash);
  const std::string value = BlockValue(block);
  ExpectOnlyTheWhole(key, [&](auto part) { return ReadBlock(part, value).has_value(); });
  ExpectOnlyTheWhole(value, [&](auto part) { return ReadBlock(key, part).has_value(); });
  const std::string removed = RemovedValue(76);
  ExpectOnlyTheWhole(key, [&](auto part) { return ReadRemoved(part, removed).has_value(); });
  ExpectOnlyTheWhole(removed, [&](auto part) { return ReadRemoved(key, part).has_value(); });
  const std::string cleared = ClearedKey(1, 2);
  const std::string sequence = ClearedValue(77);
  ExpectOnlyTheWhole(cleared, [&](auto part) { return ReadCleared(part, sequence).has_value(); });
  ExpectOnlyTheWhole(sequence, [&](auto part) { return ReadCleared(cleared, part).has_value(); });
  const std::string space = NamespaceKey(3);
  const std::string described =
      NamespaceValue({.id = 3, .tenant = "t", .name = "n", .fingerprint = {.low = 1, .high = 2}});
  ExpectOnlyTheWhole(space, [&](auto part) { return ReadNamespace(part, described).has_value(); });
  ExpectOnlyTheWhole(described, [&](auto part) { return ReadNamespace(space, part).has_value(); });
  ExpectOnlyTheWhole(MarkerValue({.sequence = 9, .final = true}),
                     [&](auto part) { return ReadMarker(part).has_value(); });
  ExpectOnlyTheWhole(StoreValue({.store_id = {.low = 1, .high = 2}, .version = 1, .slices = 4}),
                     [&](auto part) { return ReadStore(part).has_value(); });
}

TEST(IndexEntryTest, OtherEntriesComeBackAsTheyWere) {
  const IndexedBlock block = Block();
  const auto removed =
      ReadRemoved(BlockKey(0x0506, block.namespace_id, block.hash), RemovedValue(~0ULL - 2));
  ASSERT_TRUE(removed.has_value());
  EXPECT_EQ(removed->slice, 0x0506U);
  EXPECT_EQ(removed->namespace_id, block.namespace_id);
  EXPECT_EQ(removed->hash, block.hash);
  EXPECT_EQ(removed->sequence, ~0ULL - 2);
  const auto cleared = ReadCleared(ClearedKey(5, 0xfffffffe), ClearedValue(~0ULL - 1));
  ASSERT_TRUE(cleared.has_value());
  EXPECT_EQ(cleared->namespace_id, 0xfffffffe);
  EXPECT_EQ(cleared->sequence, ~0ULL - 1);
  const std::string longest(128, 'x');
  const auto space = ReadNamespace(
      NamespaceKey(9), NamespaceValue({.tenant = longest, .name = "", .fingerprint = {3, 4}}));
  ASSERT_TRUE(space.has_value());
  EXPECT_EQ(space->id, 9U);
  EXPECT_EQ(space->tenant, longest);
  EXPECT_EQ(space->name, "");
  EXPECT_EQ(space->fingerprint, (Hash128{3, 4}));
  EXPECT_EQ(MarkerKey(0x0506), "w\x05\x06");
  for (const bool final : {false, true}) {
    const auto marker = ReadMarker(MarkerValue({.sequence = 1ULL << 50, .final = final}));
    ASSERT_TRUE(marker.has_value());
    EXPECT_EQ(marker->sequence, 1ULL << 50);
    EXPECT_EQ(marker->final, final);
  }
  const auto store = ReadStore(StoreValue({.store_id = {7, 8}, .version = 1, .slices = 64}));
  ASSERT_TRUE(store.has_value());
  EXPECT_EQ(store->store_id, (Hash128{7, 8}));
  EXPECT_EQ(store->version, 1U);
  EXPECT_EQ(store->slices, 64U);
}

TEST(IndexEntryTest, AnEntryOfAnotherKindIsRefused) {
  const IndexedBlock block = Block();
  EXPECT_FALSE(ReadBlock(ClearedKey(1, 2), BlockValue(block)).has_value());
  EXPECT_FALSE(ReadBlock(BlockKey(1, 1, block.hash), RemovedValue(2)).has_value());
  EXPECT_FALSE(ReadRemoved(ClearedKey(1, 2), RemovedValue(2)).has_value());
  EXPECT_FALSE(ReadCleared(NamespaceKey(1), ClearedValue(2)).has_value());
  EXPECT_FALSE(ReadNamespace(NamespaceKey(0), NamespaceValue({})).has_value());
  EXPECT_FALSE(ReadMarker(std::string(8, '\0') + '\2').has_value());
  IndexedBlock nowhere = block;
  nowhere.place.segment_plus_one = 0;
  EXPECT_FALSE(ReadBlock(BlockKey(1, 1, block.hash), BlockValue(nowhere)).has_value());
}

TEST(IndexEntryTest, EntriesOfASliceSortTogether) {
  EXPECT_LT(BlockKey(1, ~0U, {~0ULL, ~0ULL}), BlockKey(2, 0, {}));
  EXPECT_LT(BlockKey(255, 1, {}), BlockKey(256, 1, {}));
  EXPECT_LT(BlockKey(1, 1, {.low = ~0ULL, .high = 1}), BlockKey(1, 1, {.low = 0, .high = 2}));
  EXPECT_TRUE(BlockKey(3, 1, {}).starts_with(BlockPrefix(3)));
  EXPECT_TRUE(ClearedKey(3, 1).starts_with(ClearedPrefix(3)));
}

}  // namespace
}  // namespace terrace::nvme
