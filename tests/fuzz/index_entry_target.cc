// Entries of the index store, as a damaged database might give them back.
#include <string>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tiers/nvme/live_generations.h"

namespace terrace::fuzz {
namespace {

using namespace terrace::nvme;  // NOLINT(google-build-using-namespace)

/// What was read of a key and a value is written as the same bytes again.
void CheckEntry(std::string_view key, std::string_view value) {
  const auto slice = BlockSlice(key);
  const auto block = ReadBlock(key, value);
  if (block) {
    TERRACE_CHECK(slice && block->place.exists());
    TERRACE_CHECK(BlockKey(*slice, block->namespace_id, block->hash) == key);
    TERRACE_CHECK(BlockValue(*block) == value);
    TERRACE_CHECK(key.starts_with(BlockPrefix(*slice)));
  }
  const auto removed = ReadRemoved(key, value);
  if (removed) {
    TERRACE_CHECK(slice && *slice == removed->slice && !block);
    TERRACE_CHECK(BlockKey(removed->slice, removed->namespace_id, removed->hash) == key);
    TERRACE_CHECK(RemovedValue(removed->sequence) == value);
  }
  if (const auto cleared = ReadCleared(key, value)) {
    TERRACE_CHECK(!slice && ClearedValue(cleared->sequence) == value);
    TERRACE_CHECK(key.substr(3) == ClearedKey(0, cleared->namespace_id).substr(3));
  }
  if (const auto space = ReadNamespace(key, value)) {
    TERRACE_CHECK(NamespaceKey(space->id) == key && NamespaceValue(*space) == value);
  }
  if (const auto marker = ReadMarker(value)) TERRACE_CHECK(MarkerValue(*marker) == value);
  if (const auto store = ReadStore(value)) TERRACE_CHECK(StoreValue(*store) == value);
}

void CheckDead(std::string_view key, std::string_view value) {
  static const LiveGenerations live = [] {
    LiveGenerations made(2, 4);
    for (std::uint32_t segment = 0; segment < 4; ++segment) made.Set(1, segment, segment);
    made.SetMarker(1, 100);
    return made;
  }();
  if (!live.Dead(key, value)) return;
  // Only what is surely old may be dropped.
  const auto slice = BlockSlice(key);
  TERRACE_CHECK(slice && *slice == 1);
  if (const auto removed = ReadRemoved(key, value)) {
    TERRACE_CHECK(removed->sequence < 100);
    return;
  }
  const auto block = ReadBlock(key, value);
  TERRACE_CHECK(block && block->place.segment() < 4 &&
                block->place.generation < block->place.segment());
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::string key(input.Text());
  const std::string value(input.RestText());
  CheckEntry(key, value);
  CheckDead(key, value);
}

std::vector<Bytes> Seeds() {
  const auto entry = [](std::string_view key, std::string_view value) {
    return Output().Chunk(key).Raw(value).Take();
  };
  const IndexedBlock block{.namespace_id = 1,
                           .hash = {2, 3},
                           .place = {.segment_plus_one = 4, .page = 1, .generation = 2},
                           .sequence = 5,
                           .block_bytes = 4096,
                           .position = 1,
                           .valid_tokens = 16,
                           .parent = {}};
  const std::string key = BlockKey(1, 1, {2, 3});
  return {entry(key, BlockValue(block)),
          entry(key, RemovedValue(7)),
          entry(ClearedKey(1, 2), ClearedValue(9)),
          entry(MarkerKey(1), MarkerValue({.sequence = 9, .final = true})),
          entry(NamespaceKey(1),
                NamespaceValue({.id = 1, .tenant = "t", .name = "n", .fingerprint = {1, 2}})),
          entry(kStoreKey, StoreValue({.store_id = {1, 2}, .version = 1, .slices = 1}))};
}

}  // namespace

const Target kIndexEntryTarget{.name = "index_entry", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
