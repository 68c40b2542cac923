// Blocks that leave a paged cache and come back: every byte, once, at its place.
#include "client/paged/cpu_pages.h"

#include <gtest/gtest.h>

#include <cstring>

#include "client/paged/make_map.h"
#include "tests/client/paged/paper_cache.h"

namespace terrace::paged {
namespace {

struct Case {
  CacheLayout cache;
  StoredLayout stored;
  LayerSpan layers;
};

/// Small caches whose blocks are large enough to be stored.
Case RandomCase(SeededRandom& random) {
  Case made;
  CacheLayout& cache = made.cache;
  constexpr std::array kTypes = {ElementType::kBf16,    ElementType::kFp16, ElementType::kFp8E4m3,
                                 ElementType::kFp8E5m2, ElementType::kInt8, ElementType::kFp32};
  cache.type = kTypes[random.Below(kTypes.size())];
  cache.layers = static_cast<std::uint32_t>(random.Between(1, 5));
  cache.parts = static_cast<std::uint32_t>(random.Between(1, 2));
  cache.page_tokens = static_cast<std::uint32_t>(random.Between(1, 16));
  cache.heads = static_cast<std::uint32_t>(random.Between(1, 5));
  cache.head_dim = static_cast<std::uint32_t>(random.Between(1, 70));
  const std::uint64_t page = std::uint64_t{cache.layers} * cache.parts * cache.page_tokens *
                             cache.heads * cache.head_dim * ElementBytes(cache.type);
  const auto block_pages = static_cast<std::uint32_t>((4095 + page) / page + random.Below(3));
  cache.pages = block_pages + static_cast<std::uint32_t>(random.Below(4));
  made.stored.block_tokens = block_pages * cache.page_tokens;
  made.stored.order = random.Chance(0.5) ? StoredOrder::kHeadsFirst : StoredOrder::kTokensFirst;
  made.layers.first = static_cast<std::uint32_t>(random.Below(cache.layers));
  made.layers.count =
      static_cast<std::uint32_t>(random.Between(1, cache.layers - made.layers.first));
  return made;
}

PageTables TablesOf(const std::vector<std::uint64_t>& bases,
                    const std::vector<std::uint32_t>& pages) {
  return {.layer_bases = bases.data(), .pages = pages.data()};
}

TEST(CpuPages, AnyLayoutGathersAndScattersWhatFivePlainLoopsDo) {
  constexpr std::uint64_t kSeed = 20261127;
  SeededRandom random(kSeed);
  for (int round = 0; round < 1500; ++round) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + " round " + std::to_string(round));
    Case made = RandomCase(random);
    PaperCache cache = PaperCache::Random(made.cache, random);
    cache.Fill(random);
    const Result<PageMap> map =
        MakePageMap(cache.layout(), made.stored, cache.bases(), made.layers);
    ASSERT_TRUE(map.ok()) << map.status().ToString();
    const auto pages = RandomPages(cache.layout().pages, map->block_pages, random);
    const auto bases = LayerTable(cache.bases(), made.layers);
    const std::uint64_t bytes = FrameBytes(cache.layout(), made.stored, made.layers);
    ASSERT_EQ(bytes, std::uint64_t{map->units} * map->unit_bytes);
    const std::uint64_t row =
        std::uint64_t{cache.layout().head_dim} * ElementBytes(cache.layout().type);

    std::vector<std::byte> wanted(bytes);
    cache.ForEachRow(made.stored, pages, made.layers, [&](std::byte* at, std::uint64_t offset) {
      std::memcpy(wanted.data() + offset, at, row);
    });
    std::vector<std::byte> frame(bytes);
    Gather(*map, TablesOf(bases, pages), frame.data());
    ASSERT_EQ(frame, wanted);

    std::vector<std::byte> bytes_before(cache.bytes());
    for (std::byte& byte : frame) byte = static_cast<std::byte>(random.Next());
    Scatter(*map, TablesOf(bases, pages), frame.data());
    const std::vector<std::byte> scattered(cache.bytes());
    cache.bytes() = bytes_before;  // the same memory: resize never moved it
    cache.ForEachRow(made.stored, pages, made.layers, [&](std::byte* at, std::uint64_t offset) {
      std::memcpy(at, frame.data() + offset, row);
    });
    ASSERT_EQ(scattered, cache.bytes()) << "also what lies between the rows must be as it was";
  }
}

TEST(CpuPages, EveryByteOfAFrameIsWrittenOnce) {
  SeededRandom random(7);
  for (int round = 0; round < 300; ++round) {
    const Case made = RandomCase(random);
    PaperCache cache = PaperCache::Random(made.cache, random);
    const PageMap map =
        MakePageMap(cache.layout(), made.stored, cache.bases(), made.layers).value();
    const auto pages = RandomPages(cache.layout().pages, map.block_pages, random);
    const auto bases = LayerTable(cache.bases(), made.layers);
    std::vector<int> written(FrameBytes(cache.layout(), made.stored, made.layers));
    std::uint64_t before = 0;
    for (std::uint32_t unit = 0; unit < map.units; ++unit) {
      const UnitPlace place = PlaceOfUnit(map, TablesOf(bases, pages), unit);
      ASSERT_TRUE(unit == 0 || place.stored > before) << "units ascend in the stored block";
      before = place.stored;
      for (std::uint32_t i = 0; i < map.unit_bytes; ++i) ++written.at(place.stored + i);
    }
    ASSERT_EQ(std::count(written.begin(), written.end(), 1),
              static_cast<std::ptrdiff_t>(written.size()));
  }
}

/// The units that a layout is moved in.
PageMap MapOf(PaperCache& cache, StoredOrder order, std::uint32_t block_tokens) {
  StoredLayout stored{.block_tokens = block_tokens, .order = order};
  return MakePageMap(cache.layout(), stored, cache.bases()).value();
}

constexpr CacheShape kShape{.layers = 4, .pages = 8, .page_tokens = 16, .heads = 8, .head_dim = 64};

TEST(CpuPages, WhatIsContiguousOnBothSidesIsOneUnit) {
  const std::uint32_t page_bytes = 16 * 8 * 64 * 2;
  PaperCache nhd(PartsFirst(kShape, PageOrder::kNhd));
  EXPECT_EQ(MapOf(nhd, StoredOrder::kTokensFirst, 32).unit_bytes, page_bytes);
  EXPECT_EQ(MapOf(nhd, StoredOrder::kHeadsFirst, 32).unit_bytes, 64u * 2);
  PaperCache hnd(PartsFirst(kShape, PageOrder::kHnd));
  EXPECT_EQ(MapOf(hnd, StoredOrder::kHeadsFirst, 32).unit_bytes, 16u * 64 * 2);
  EXPECT_EQ(MapOf(hnd, StoredOrder::kHeadsFirst, 16).unit_bytes, page_bytes);
  PaperCache blocks_first(PagesFirst(kShape, PageOrder::kNhd));
  EXPECT_EQ(MapOf(blocks_first, StoredOrder::kTokensFirst, 16).unit_bytes, 2 * page_bytes);
}

TEST(CpuPages, APageOfAllLayersInOneTensorIsOneUnit) {
  PaperCache cache(CrossLayer(kShape, PageOrder::kNhd), LayerStride(kShape, PageOrder::kNhd));
  const PageMap map = MapOf(cache, StoredOrder::kTokensFirst, 16);
  EXPECT_EQ(map.units, 1u);
  EXPECT_EQ(map.unit_bytes, 4u * 2 * 16 * 8 * 64 * 2);
  EXPECT_EQ(map.dims, 2u) << "a layer and a page, of which there is one each";
}

TEST(CpuPages, SeparateTensorsStoreTheBytesOfOneTensor) {
  SeededRandom random(3);
  PaperCache one(PartsFirst(kShape, PageOrder::kNhd));
  PaperCache two(SeparateParts(kShape, PageOrder::kNhd));
  one.Fill(random);
  for (std::uint32_t layer = 0; layer < 4; ++layer) {
    for (std::uint32_t part = 0; part < 2; ++part) {
      std::memcpy(two.Row(layer * 2 + part, 0, 0, 0, 0), one.Row(layer, part, 0, 0, 0),
                  static_cast<std::size_t>(one.layout().part_stride));
    }
  }
  const StoredLayout stored{.block_tokens = 32};
  const std::vector<std::uint32_t> pages = {5, 2};
  std::vector<std::byte> frames[2];
  PaperCache* caches[] = {&one, &two};
  for (int i = 0; i < 2; ++i) {
    frames[i].resize(FrameBytes(caches[i]->layout(), stored));
    const PageMap map = MakePageMap(caches[i]->layout(), stored, caches[i]->bases()).value();
    Gather(map, TablesOf(LayerTable(caches[i]->bases(), {}), pages), frames[i].data());
  }
  EXPECT_EQ(frames[0], frames[1]);
  NamespaceDescriptor first;
  NamespaceDescriptor second;
  DescribeBlocks(one.layout(), stored, 0, first);
  DescribeBlocks(two.layout(), stored, 0, second);
  EXPECT_EQ(first.layout, second.layout);
}

/// The caches of `ranks` ranks that share the heads, and what each stores of a block.
struct Ranks {
  Ranks(const CacheLayout& whole, const StoredLayout& block, std::uint32_t ranks) {
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      CacheShape shape{.layers = whole.layers,
                       .pages = whole.pages,
                       .page_tokens = whole.page_tokens,
                       .heads = whole.heads / ranks,
                       .head_dim = whole.head_dim,
                       .type = whole.type};
      caches.emplace_back(PartsFirst(shape, ranks % 3 == 1 ? PageOrder::kNhd : PageOrder::kHnd));
      StoredLayout part = block;
      part.heads_total = whole.heads;
      part.first_head = rank * shape.heads;
      stored.push_back(part);
    }
  }
  std::vector<PaperCache> caches;
  std::vector<StoredLayout> stored;
};

/// Between a rank's frame and the stored block.
void CopyRuns(const PaperCache& cache, const StoredLayout& stored, LayerSpan layers,
              std::byte* block, std::byte* frame, bool to_block) {
  for (const StoredRun& run : StoredRuns(cache.layout(), stored, layers)) {
    for (std::uint32_t i = 0; i < run.block.count; ++i) {
      std::byte* in_block = block + run.block.offset + i * run.block.stride;
      std::byte* in_frame = frame + run.frame + i * run.frame_stride;
      std::memcpy(to_block ? in_block : in_frame, to_block ? in_frame : in_block, run.block.bytes);
    }
  }
}

TEST(CpuPages, OneBlockOfSeveralRanksIsReadBackByAnyOtherNumberOfThem) {
  SeededRandom random(11);
  for (const StoredOrder order : {StoredOrder::kHeadsFirst, StoredOrder::kTokensFirst}) {
    const CacheLayout whole = PartsFirst(kShape, PageOrder::kNhd);
    const StoredLayout block{.block_tokens = 32, .order = order};
    std::vector<std::byte> content(StoredBlockBytes(whole, block));
    for (std::byte& byte : content) byte = static_cast<std::byte>(random.Next());
    for (const std::uint32_t readers : {1U, 2U, 4U, 8U}) {
      std::vector<std::byte> again(content.size());
      Ranks ranks(whole, block, readers);
      for (std::uint32_t rank = 0; rank < readers; ++rank) {
        PaperCache& cache = ranks.caches[rank];
        const StoredLayout& stored = ranks.stored[rank];
        ASSERT_EQ(StoredBlockBytes(cache.layout(), stored), content.size());
        const auto pages = RandomPages(8, 2, random);
        for (const LayerSpan layers : {LayerSpan{0, 1}, LayerSpan{1, 3}}) {
          const PageMap map = MakePageMap(cache.layout(), stored, cache.bases(), layers).value();
          const auto bases = LayerTable(cache.bases(), layers);
          std::vector<std::byte> frame(FrameBytes(cache.layout(), stored, layers));
          CopyRuns(cache, stored, layers, content.data(), frame.data(), false);
          Scatter(map, TablesOf(bases, pages), frame.data());
          std::fill(frame.begin(), frame.end(), std::byte{0});
          Gather(map, TablesOf(bases, pages), frame.data());
          CopyRuns(cache, stored, layers, again.data(), frame.data(), true);
        }
      }
      EXPECT_EQ(again, content) << readers << " ranks";
    }
  }
}

}  // namespace
}  // namespace terrace::paged
