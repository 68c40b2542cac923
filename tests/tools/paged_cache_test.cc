// Paged caches against real reactors: what is put from pages comes back into other pages, by every
// way that it can take; and nothing touches pages that were fenced.
#include "client/paged.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "client/paged/quantise.h"
#include "tests/tools/paged_rank.h"
#include "tests/tools/shards_host.h"

namespace terrace::paged {
namespace {

using namespace std::chrono_literals;
using terrace::testing::ShardsHost;
using ::testing::HasSubstr;

struct Way {
  const char* name;
  LinkChoice link;
  PageOrder order;
  StoredOrder stored;
  std::uint32_t direct_bytes;
  std::uint64_t staging_bytes;
};

class EveryWay : public ::testing::TestWithParam<Way> {};

TEST_P(EveryWay, WhatWasPutFromPagesComesBackIntoOthers) {
  const Way& way = GetParam();
  const ShardsHost host(2);
  StoredLayout stored = kStored;
  stored.order = way.stored;
  PagedCacheOptions options;
  options.direct_bytes = way.direct_bytes;
  options.staging_bytes = way.staging_bytes;
  Rank rank(host.address(), PartsFirst(kShape, way.order), stored, way.link, options);
  SeededRandom random(5);
  rank.paper.Fill(random);
  const auto pages = RandomPages(64, 64, random);
  const std::vector<std::uint32_t> from(pages.begin(), pages.begin() + 24);
  const std::vector<std::uint32_t> to(pages.begin() + 24, pages.begin() + 48);
  rank.ExpectAll(rank.cache->Put(rank.space, rank.chain, rank.On(from), {}, Soon()),
                 StatusCode::kOk);
  rank.ExpectAll(rank.cache->Put(rank.space, rank.chain, rank.On(from), {}, Soon()),
                 StatusCode::kExists);
  const std::vector<std::uint32_t> others(pages.begin() + 48, pages.end());
  const auto untouched = rank.Bytes(others);
  const auto wanted = rank.Bytes(from);
  rank.ExpectAll(rank.cache->Get(rank.space, rank.chain, rank.On(to), {}, Soon()), StatusCode::kOk);
  EXPECT_EQ(rank.Bytes(to), wanted);
  EXPECT_EQ(rank.Bytes(from), wanted);
  EXPECT_TRUE(rank.cache->Fence(pages, Soon()).ok());
  EXPECT_EQ(rank.Bytes(others), untouched);
  rank.ExpectOneLayerAlone(to, wanted, random);
}

constexpr std::uint64_t kFewFrames = 100'000;  // two of them
constexpr std::uint64_t kMany = 64 << 20;
INSTANTIATE_TEST_SUITE_P(
    PagedCache, EveryWay,
    ::testing::Values(Way{"LentToSmallPieces", LinkChoice::kAuto, PageOrder::kNhd,
                          StoredOrder::kHeadsFirst, 4096, kMany},
                      Way{"LentToLargePieces", LinkChoice::kAuto, PageOrder::kNhd,
                          StoredOrder::kTokensFirst, 4096, kMany},
                      Way{"DirectOverTcp", LinkChoice::kTcp, PageOrder::kHnd,
                          StoredOrder::kHeadsFirst, 1, kMany},
                      Way{"InFramesOverTcp", LinkChoice::kTcp, PageOrder::kNhd,
                          StoredOrder::kHeadsFirst, 4096, kMany},
                      Way{"InFewFramesOverTcp", LinkChoice::kTcp, PageOrder::kHnd,
                          StoredOrder::kTokensFirst, 0, kFewFrames}),
    [](const auto& info) { return info.param.name; });

TEST(PagedCache, BlocksThatAreNotStoredAreMissesAmongOthers) {
  const ShardsHost host(1);
  Rank rank(host.address(), PartsFirst(kShape, PageOrder::kNhd), kStored);
  SeededRandom random(6);
  const auto pages = RandomPages(64, 24, random);
  auto blocks = rank.On(pages);
  rank.ExpectAll(rank.cache->Put(rank.space, rank.chain, std::span(blocks).first(5), {}, Soon()),
                 StatusCode::kOk);
  const auto got = rank.cache->Get(rank.space, rank.chain, blocks, {}, Soon());
  ASSERT_TRUE(got.ok());
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    EXPECT_EQ(got->at(i).status, i < 5 ? StatusCode::kOk : StatusCode::kMiss) << i;
  }
}

/// Between elements of bf16, after quantisation with 16 tokens a group.
void ExpectClose(const std::vector<std::byte>& have, const std::vector<std::byte>& want,
                 double relative) {
  ASSERT_EQ(have.size(), want.size());
  for (std::size_t i = 0; i < have.size(); i += 2) {
    std::uint16_t bits[2];
    std::memcpy(&bits[0], &have[i], 2);
    std::memcpy(&bits[1], &want[i], 2);
    const double error = std::abs(static_cast<double>(FromBf16(bits[0])) - FromBf16(bits[1]));
    ASSERT_LE(error, relative) << "element " << i / 2;
  }
}

void FillWithUnits(PaperCache& cache, SeededRandom& random) {
  for (std::size_t i = 0; i + 1 < cache.bytes().size(); i += 2) {
    const std::uint16_t bits = ToBf16(static_cast<float>(random.Unit() * 2 - 1));
    std::memcpy(&cache.bytes()[i], &bits, 2);
  }
}

TEST(PagedCache, AQuantisedBlockOfOneRankIsReadByTwo) {
  const ShardsHost host(2);
  StoredLayout stored = kStored;
  stored.type = StoredType::kInt8;
  Rank one(host.address(), PartsFirst(kShape, PageOrder::kNhd), stored);
  SeededRandom random(8);
  FillWithUnits(one.paper, random);
  const auto pages = RandomPages(64, 24, random);
  const auto wanted = one.Bytes(pages);
  one.ExpectAll(one.cache->Put(one.space, one.chain, one.On(pages), {}, Soon()), StatusCode::kOk);
  const auto to = RandomPages(64, 24, random);
  one.ExpectAll(one.cache->Get(one.space, one.chain, one.On(to), {}, Soon()), StatusCode::kOk);
  const auto whole = one.Bytes(to);
  CacheShape half = kShape;
  half.heads = 2;
  for (const std::uint32_t first : {0U, 2U}) {
    StoredLayout part = stored;
    part.heads_total = 4;
    part.first_head = first;
    Rank rank(host.address(), PartsFirst(half, PageOrder::kHnd), part);
    rank.ExpectAll(rank.cache->Get(rank.space, rank.chain, rank.On(to), {}, Soon()),
                   StatusCode::kOk);
    const auto have = rank.Bytes(to);
    const std::size_t row = 64 * 2;
    for (std::size_t i = 0; i < have.size() / row; ++i) {
      const std::size_t in_whole = (i / 2 * 4 + first + i % 2) * row;
      ASSERT_EQ(std::memcmp(&have[i * row], &whole[in_whole], row), 0) << "row " << i;
    }
  }
  ExpectClose(one.Bytes(to), whole, 0);
}

TEST(PagedCache, QuantisedElementsAreAsCloseAsPromised) {
  const ShardsHost host(1);
  for (const StoredType type : {StoredType::kInt8, StoredType::kFp8E4m3}) {
    StoredLayout stored = kStored;
    stored.type = type;
    Rank rank(host.address(), PagesFirst(kShape, PageOrder::kHnd), stored);
    auto space =
        rank.cache->OpenNamespace(SpaceNamed(type == StoredType::kInt8 ? "i" : "f"), 0, Soon());
    ASSERT_TRUE(space.ok());
    SeededRandom random(9);
    FillWithUnits(rank.paper, random);
    const auto pages = RandomPages(64, 48, random);
    const std::vector<std::uint32_t> from(pages.begin(), pages.begin() + 24);
    const std::vector<std::uint32_t> to(pages.begin() + 24, pages.end());
    rank.ExpectAll(rank.cache->Put(*space, rank.chain, rank.On(from), {}, Soon()), StatusCode::kOk);
    rank.ExpectAll(rank.cache->Get(*space, rank.chain, rank.On(to), {}, Soon()), StatusCode::kOk);
    ExpectClose(rank.Bytes(to), rank.Bytes(from),
                type == StoredType::kInt8 ? 1 / 254.0 + 0x1p-8 : 1 / 16.0 + 0x1p-8);
  }
}

TEST(PagedCache, OneBlockWrittenByTwoRanksIsReadByOne) {
  const ShardsHost host(2);
  for (const StoredType type : {StoredType::kLossless, StoredType::kFp8E4m3}) {
    StoredLayout stored = kStored;
    stored.type = type;
    CacheShape half = kShape;
    half.heads = 2;
    Rank one(host.address(), PartsFirst(kShape, PageOrder::kNhd), stored);
    const std::string name = type == StoredType::kLossless ? "l" : "q";
    Chain chain;
    ASSERT_TRUE(chain.Append(name).ok());
    auto space = one.cache->OpenNamespace(SpaceNamed(name.c_str()), 0, Soon());
    ASSERT_TRUE(space.ok());
    const auto reserved = one.client->Reserve(*space, chain, 0, {}, Soon());
    ASSERT_TRUE(reserved.ok());
    ASSERT_EQ(reserved->status, StatusCode::kOk);
    SeededRandom random(10);
    const std::vector<std::uint32_t> pages = {7, 3};
    std::vector<std::byte> written[2];
    for (const std::uint32_t rank_number : {0U, 1U}) {
      StoredLayout part = stored;
      part.heads_total = 4;
      part.first_head = rank_number * 2;
      Rank rank(host.address(), PartsFirst(half, PageOrder::kHnd), part);
      FillWithUnits(rank.paper, random);
      const PagedPart its{.token = reserved->token, .pages = pages};
      EXPECT_EQ(one.client->Commit(reserved->token, Soon()).code(), StatusCode::kInvalid);
      // The layers one after the other.
      for (std::uint32_t layer = 0; layer < 3; ++layer) {
        PagedCallOptions options;
        options.layers = {layer, 1};
        rank.ExpectAll(rank.cache->WriteParts({&its, 1}, Soon(), options), StatusCode::kOk);
      }
      const PagedBlock whole{.position = 0, .pages = pages};
      EXPECT_EQ(rank.cache->Put(rank.space, rank.chain, {&whole, 1}, {}, Soon()).code(),
                StatusCode::kInvalid)
          << "a part is no block";
      written[rank_number] = rank.Bytes(pages);
    }
    const auto committed = one.client->Commit(reserved->token, Soon());
    ASSERT_TRUE(committed.ok()) << committed.status().ToString();
    const PagedBlock block{.position = 0, .pages = pages};
    one.ExpectAll(one.cache->Get(*space, chain, {&block, 1}, {}, Soon()), StatusCode::kOk);
    const auto have = one.Bytes(pages);
    std::vector<std::byte> wanted(have.size());
    const std::size_t row = 64 * 2;
    for (std::size_t i = 0; i < have.size() / row; ++i) {
      const std::vector<std::byte>& from = written[i % 4 / 2];
      std::memcpy(&wanted[i * row], &from[(i / 4 * 2 + i % 2) * row], row);
    }
    ExpectClose(have, wanted, type == StoredType::kLossless ? 0 : 1 / 16.0 + 0x1p-8);
  }
}

TEST(PagedCache, BadArgumentsAreNamedBeforeAnythingMoves) {
  const ShardsHost host(1);
  Rank rank(host.address(), PartsFirst(kShape, PageOrder::kNhd), kStored);
  const auto refused = [&](const std::vector<PagedBlock>& blocks, const char* text,
                           const PagedCallOptions& options = {}) {
    const auto got = rank.cache->Get(rank.space, rank.chain, blocks, {}, Soon(), options);
    EXPECT_EQ(got.code(), StatusCode::kInvalid);
    EXPECT_THAT(got.status().message(), HasSubstr(text));
  };
  const std::vector<std::uint32_t> good = {0, 1};
  const std::vector<std::uint32_t> far = {0, 64};
  const std::vector<std::uint32_t> twice = {1, 2};
  refused({}, "the number of blocks is 0");
  refused({{.position = 12, .pages = good}}, "blocks[0].position is 12");
  refused({{.position = 0, .pages = far}}, "blocks[0].pages[1] is 64");
  refused({{.position = 0, .pages = good}, {.position = 1, .pages = twice}}, "name page 1 twice");
  refused({{.position = 0, .pages = good}, {.position = 0, .pages = twice}}, "named before");
  refused({{.position = 0, .pages = good, .valid_tokens = 33}}, "valid_tokens is 33");
  PagedCallOptions options;
  options.layers = {2, 2};
  refused({{.position = 0, .pages = good}}, "options.layers is 2 from 2 on", options);
  options.layers = {};
  options.stream = &options;
  refused({{.position = 0, .pages = good}}, "options.stream is not null", options);
  NamespaceDescriptor descriptor = SpaceNamed("s");
  DescribeBlocks(rank.cache->cache(), rank.cache->stored(), 0, descriptor);
  const auto stranger = rank.client->OpenNamespace(descriptor, Soon());
  ASSERT_TRUE(stranger.ok());
  const PagedBlock block{.position = 0, .pages = good};
  EXPECT_THAT(rank.cache->Get(*stranger, rank.chain, {&block, 1}, {}, Soon()).status().message(),
              HasSubstr("was not opened by this PagedCache"));
  // The fingerprint: the same name with another way to store.
  StoredLayout quantised = kStored;
  quantised.type = StoredType::kInt8;
  PagedCacheOptions other{.cache = rank.paper.layout(), .stored = quantised, .layer_bases = {}};
  other.layer_bases.assign(rank.paper.bases().begin(), rank.paper.bases().end());
  auto second = PagedCache::Open(*rank.client, other);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second.value()->OpenNamespace(SpaceNamed("paged"), 0, Soon()).code(),
            StatusCode::kIncompatible);
  // Memory of nobody.
  other.layer_bases[1] = reinterpret_cast<void*>(std::uintptr_t{64});
  const auto foreign = PagedCache::Open(*rank.client, other);
  EXPECT_EQ(foreign.code(), StatusCode::kInvalid);
  EXPECT_THAT(foreign.status().message(), HasSubstr("layer_bases[1]"));
}

}  // namespace
}  // namespace terrace::paged
