// Layouts that cannot be: refused with the field's name, before anything moves.
#include "client/layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/paged/make_map.h"
#include "tests/client/paged/paper_cache.h"

namespace terrace::paged {
namespace {

using ::testing::HasSubstr;

constexpr CacheShape kShape{.layers = 4, .pages = 8, .page_tokens = 16, .heads = 8, .head_dim = 64};

CacheLayout Good() { return PartsFirst(kShape, PageOrder::kNhd); }
StoredLayout Stored() { return {.block_tokens = 32}; }

void ExpectCacheRefused(const CacheLayout& cache, const char* field) {
  const Status status = ValidateCache(cache);
  EXPECT_EQ(status.code(), StatusCode::kInvalid);
  EXPECT_THAT(status.message(), HasSubstr(field));
}

void ExpectStoredRefused(const CacheLayout& cache, const StoredLayout& stored, const char* field) {
  const Status status = ValidateStored(cache, stored);
  EXPECT_EQ(status.code(), StatusCode::kInvalid);
  EXPECT_THAT(status.message(), HasSubstr(field));
}

template <typename Change>
CacheLayout With(const Change& change) {
  CacheLayout cache = Good();
  change(cache);
  return cache;
}

TEST(Layout, ACacheOfNothingIsRefused) {
  ExpectCacheRefused({}, "cache.layers is 0");
  ExpectCacheRefused(With([](CacheLayout& c) { c.parts = 3; }), "cache.parts is 3");
  ExpectCacheRefused(With([](CacheLayout& c) { c.pages = 0; }), "cache.pages is 0");
  ExpectCacheRefused(With([](CacheLayout& c) { c.page_tokens = 0; }), "cache.page_tokens");
  ExpectCacheRefused(With([](CacheLayout& c) { c.heads = 0; }), "cache.heads");
  ExpectCacheRefused(With([](CacheLayout& c) { c.head_dim = 0; }), "cache.head_dim");
  ExpectCacheRefused(With([](CacheLayout& c) { c.type = static_cast<ElementType>(9); }),
                     "cache.type is 9");
  ExpectCacheRefused(CrossLayer(kShape, static_cast<CrossLayerOrder>(6)), "cache.layers");
}

TEST(Layout, StridesThatShareBytesOrSplitElementsAreRefused) {
  ExpectCacheRefused(With([](CacheLayout& c) { c.head_stride = 126; }),
                     "cache.head_stride is 126, less than the 128 bytes");
  ExpectCacheRefused(With([](CacheLayout& c) { c.page_stride = 0; }), "cache.page_stride is 0");
  ExpectCacheRefused(With([](CacheLayout& c) { c.token_stride += 1; }), "cache.token_stride");
  ExpectCacheRefused(With([](CacheLayout& c) { c.part_stride = c.page_stride; }), "_stride is");
  ExpectCacheRefused(With([](CacheLayout& c) { c.part_stride = INT64_MIN; }), "cache.part_stride");
  ExpectCacheRefused(With([](CacheLayout& c) {
                       c.page_stride = std::int64_t{1} << 40;
                       c.pages = 1U << 30;
                     }),
                     "cache.page_stride");
  EXPECT_TRUE(ValidateCache(With([](CacheLayout& c) { c.page_stride = -c.page_stride; })).ok());
}

TEST(Layout, BasesThatAreMissingMisalignedOrTheSameAreRefused) {
  PaperCache cache(Good());
  std::vector<void*> bases(cache.bases().begin(), cache.bases().end());
  EXPECT_TRUE(ValidateBases(Good(), bases).ok());
  const auto refused = [&](const char* text) {
    const Status status = ValidateBases(Good(), bases);
    EXPECT_EQ(status.code(), StatusCode::kInvalid);
    EXPECT_THAT(status.message(), HasSubstr(text));
  };
  void* const third = std::exchange(bases[2], nullptr);
  refused("layer_bases[2] is null");
  bases[2] = static_cast<std::byte*>(third) + 1;
  refused("layer_bases[2] is not aligned");
  bases[2] = static_cast<std::byte*>(bases[1]) + 2;
  refused("layer_bases[2] lies in the first row of layer_bases[1]");
  bases.pop_back();
  refused("layer_bases has 3 addresses");
}

TEST(Layout, BlocksThatDoNotDivideAreRefused) {
  StoredLayout stored = Stored();
  EXPECT_TRUE(ValidateStored(Good(), stored).ok());
  stored.block_tokens = 24;
  ExpectStoredRefused(Good(), stored, "stored.block_tokens is 24, no multiple");
  stored = Stored();
  stored.block_tokens = 1 << 20;
  ExpectStoredRefused(Good(), stored, "stored.block_tokens");
  stored = Stored();
  stored.layers_total = 8;
  stored.first_layer = 5;
  ExpectStoredRefused(Good(), stored, "stored.first_layer is 5");
  stored = Stored();
  stored.heads_total = 12;
  stored.first_head = 8;
  ExpectStoredRefused(Good(), stored, "stored.first_head is 8");
  stored = Stored();
  stored.heads_total = 4;
  ExpectStoredRefused(Good(), stored, "stored.heads_total, 4");
  stored = Stored();
  stored.group_tokens = 16;
  ExpectStoredRefused(Good(), stored, "stored.group_tokens is 16, and stored.type is lossless");
  const CacheShape tiny{.layers = 1, .pages = 8, .page_tokens = 1, .heads = 1, .head_dim = 8};
  ExpectStoredRefused(Latent(tiny), {.block_tokens = 1}, "a block of 16 bytes, not 4096");
}

TEST(Layout, QuantisationThatCannotBeIsRefused) {
  StoredLayout stored = Stored();
  stored.type = StoredType::kInt8;
  EXPECT_TRUE(ValidateStored(Good(), stored).ok());
  ExpectStoredRefused(With([](CacheLayout& c) { c.type = ElementType::kFp8E4m3; }), stored,
                      "cache.type has 1 byte already");
  stored.group_tokens = 5;
  ExpectStoredRefused(Good(), stored, "stored.group_tokens is 5, and does not divide");
  stored.group_tokens = 0;
  stored.order = StoredOrder::kTokensFirst;
  ExpectStoredRefused(Good(), stored, "stored.order is tokens-first");
  stored.order = StoredOrder::kHeadsFirst;
  stored.type = static_cast<StoredType>(3);
  ExpectStoredRefused(Good(), stored, "stored.type is 3");
  stored.type = StoredType::kFp8E4m3;
  ExpectStoredRefused(With([](CacheLayout& c) { c.head_dim = 63; }), stored,
                      "cache.head_dim is 63");
  stored.heads_total = 9;
  ExpectStoredRefused(Good(), stored, "stored.heads_total is 9 with 2 groups");
}

TEST(Layout, PagesThatAreWrongAreRefused) {
  const auto refused = [](std::vector<std::uint32_t> pages, const char* text) {
    const Status status = ValidatePages(Good(), Stored(), pages, true);
    EXPECT_EQ(status.code(), StatusCode::kInvalid);
    EXPECT_THAT(status.message(), HasSubstr(text));
  };
  refused({1}, "pages has 1 numbers, and a block has 2");
  refused({1, 8}, "pages[1] is 8, and cache.pages is 8");
  refused({3, 3}, "pages names 3 twice");
  EXPECT_TRUE(ValidatePages(Good(), Stored(), std::vector<std::uint32_t>{3, 3}, false).ok());
}

TEST(Layout, LayersOutsideTheCacheAreRefused) {
  PaperCache cache(Good());
  for (const LayerSpan layers : {LayerSpan{4, 0}, LayerSpan{3, 2}, LayerSpan{1, 0xffffffff}}) {
    const Result<PageMap> map = MakePageMap(cache.layout(), Stored(), cache.bases(), layers);
    EXPECT_EQ(map.code(), StatusCode::kInvalid);
    EXPECT_THAT(map.status().message(), HasSubstr("layers is"));
  }
}

TEST(Layout, WhatChangesTheBytesIsInTheNamespacesText) {
  const auto text = [](const CacheLayout& cache, const StoredLayout& stored) {
    NamespaceDescriptor descriptor;
    DescribeBlocks(cache, stored, 7, descriptor);
    EXPECT_EQ(descriptor.groups.at(0).id, 7u);
    EXPECT_EQ(descriptor.groups.at(0).block_bytes, StoredBlockBytes(cache, stored));
    return descriptor.layout + "/" + descriptor.kv_dtype;
  };
  StoredLayout stored = Stored();
  EXPECT_EQ(text(Good(), stored), "sections=8 heads=8 tokens=32 dim=64/bf16");
  stored.order = StoredOrder::kTokensFirst;
  EXPECT_EQ(text(Good(), stored), "sections=8 tokens=32 heads=8 dim=64/bf16");
  stored.order = StoredOrder::kHeadsFirst;
  stored.type = StoredType::kFp8E4m3;
  EXPECT_EQ(text(Good(), stored),
            "sections=8 heads=8 tokens=32 dim=64/bf16 as fp8_e4m3 scaled per head and 16 tokens");
  stored.type = StoredType::kInt8;
  stored.group_tokens = 4;
  EXPECT_EQ(text(Good(), stored),
            "sections=8 heads=8 tokens=32 dim=64/bf16 as int8 scaled per head and 4 tokens");
  // A rank of several says what all of them say.
  CacheShape half = kShape;
  half.heads = 4;
  EXPECT_EQ(text(PagesFirst(half, PageOrder::kHnd),
                 {.block_tokens = 32, .heads_total = 8, .first_head = 4}),
            text(Good(), Stored()));
}

TEST(Layout, QuantisedBlocksHaveHalfTheBytesAndTheScales) {
  StoredLayout stored = Stored();
  const std::uint64_t lossless = StoredBlockBytes(Good(), stored);
  stored.type = StoredType::kFp8E4m3;
  EXPECT_EQ(StoredBlockBytes(Good(), stored), lossless / 2 + 8u * 8 * 2 * 4);
}

TEST(Layout, TheSixOrdersOfOneTensorFillItWithoutAGap) {
  for (int order = 0; order < 6; ++order) {
    const auto which = static_cast<CrossLayerOrder>(order);
    const CacheLayout cache = CrossLayer(kShape, which);
    EXPECT_TRUE(ValidateCache(cache).ok());
    const std::int64_t layer = LayerStride(kShape, which);
    const std::uint64_t bytes = 4ULL * 8 * 16 * 8 * 64 * 2;
    const std::uint64_t last =
        static_cast<std::uint64_t>(3 * layer + 7 * cache.page_stride + 15 * cache.token_stride +
                                   7 * cache.head_stride) +
        64 * 2;
    EXPECT_EQ(last, bytes) << "order " << order;
  }
}

TEST(Layout, DivisorsAreExact) {
  SeededRandom random(1);
  for (int i = 0; i < 200'000; ++i) {
    const auto divisor =
        static_cast<std::uint32_t>(random.Between(1, (1ULL << random.Between(1, 31)) - 1));
    const auto number = static_cast<std::uint32_t>(random.Below(1ULL << 31));
    ASSERT_EQ(MakeDivisor(divisor).Quotient(number), number / divisor) << number << "/" << divisor;
    const std::uint32_t multiple = number / divisor * divisor;
    ASSERT_EQ(MakeDivisor(divisor).Quotient(multiple), number / divisor);
    if (multiple > 0) {
      ASSERT_EQ(MakeDivisor(divisor).Quotient(multiple - 1), (multiple - 1) / divisor);
    }
  }
}

}  // namespace
}  // namespace terrace::paged
