// Rank: a client of a daemon, a paged cache in plain memory, and the PagedCache over both, for
// tests.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/paged.hpp"
#include "client/paged/mover.h"
#include "tests/client/paged/paper_cache.h"

namespace terrace::paged {

using namespace std::chrono_literals;

inline constexpr CacheShape kShape{
    .layers = 3, .pages = 64, .page_tokens = 16, .heads = 4, .head_dim = 64};
inline constexpr StoredLayout kStored{.block_tokens = 32};
inline constexpr std::uint32_t kBlocks = 12;

inline Deadline Soon() { return In(30s); }

inline NamespaceDescriptor SpaceNamed(const char* name) {
  NamespaceDescriptor descriptor;
  descriptor.name = name;
  descriptor.model = "test";
  descriptor.run_blocks = 2;
  return descriptor;
}

/// One namespace for each way to store.
inline const char* NameOf(const StoredLayout& stored) {
  constexpr std::array kNames = {"paged", "paged fp8", "paged int8"};
  return kNames[static_cast<std::size_t>(stored.type)];
}

/// A client, a cache in plain memory, and a PagedCache over both.
struct Rank {
  using MakeMover = std::function<std::shared_ptr<PageMover>(const PaperCache&)>;
  Rank(const std::string& address, const CacheLayout& layout, const StoredLayout& stored,
       LinkChoice link = LinkChoice::kAuto, PagedCacheOptions options = {},
       std::int64_t layer_stride = 0, const MakeMover& make_mover = nullptr)
      : paper(layout, layer_stride) {
    if (make_mover) options.mover = make_mover(paper);
    auto connected = Client::Connect({.address = address, .link = link, .connect_timeout = 20s});
    EXPECT_TRUE(connected.ok()) << connected.status().ToString();
    client = std::move(connected.value());
    options.cache = layout;
    options.stored = stored;
    options.layer_bases.assign(paper.bases().begin(), paper.bases().end());
    auto opened = PagedCache::Open(*client, std::move(options));
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    cache = std::move(opened.value());
    auto named = cache->OpenNamespace(SpaceNamed(NameOf(stored)), 0, Soon());
    EXPECT_TRUE(named.ok()) << named.status().ToString();
    space = named.value();
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      EXPECT_TRUE(chain.Append("block/" + std::to_string(i)).ok());
    }
    block_pages = stored.block_tokens / layout.page_tokens;
  }
  /// All blocks of the chain, on these pages.
  std::vector<PagedBlock> On(const std::vector<std::uint32_t>& pages) const {
    std::vector<PagedBlock> blocks;
    for (std::uint32_t i = 0; i < pages.size() / block_pages; ++i) {
      blocks.push_back(
          {.position = i,
           .pages = std::span(pages).subspan(std::size_t{i} * block_pages, block_pages)});
    }
    return blocks;
  }
  /// The bytes of those pages, page by page.
  std::vector<std::byte> Bytes(const std::vector<std::uint32_t>& pages) {
    std::vector<std::byte> bytes;
    const CacheLayout& layout = paper.layout();
    const std::size_t row = std::size_t{layout.head_dim} * ElementBytes(layout.type);
    for (const std::uint32_t page : pages) {
      for (std::uint32_t i = 0;
           i < layout.layers * layout.parts * layout.page_tokens * layout.heads; ++i) {
        const std::byte* at = paper.Row(i / layout.heads / layout.page_tokens / layout.parts,
                                        i / layout.heads / layout.page_tokens % layout.parts, page,
                                        i / layout.heads % layout.page_tokens, i % layout.heads);
        bytes.insert(bytes.end(), at, at + row);
      }
    }
    return bytes;
  }
  /// Gets the second layer alone, of all blocks, to pages that were filled anew: it is as in
  /// `stored`, and the others stay as they are.
  void ExpectOneLayerAlone(const std::vector<std::uint32_t>& to,
                           const std::vector<std::byte>& stored, SeededRandom& random) {
    paper.Fill(random);
    const auto before = Bytes(to);
    PagedCallOptions second;
    second.layers = {1, 1};
    ExpectAll(cache->Get(space, chain, On(to), {}, Soon(), second), StatusCode::kOk);
    const auto after = Bytes(to);
    const std::size_t page = after.size() / to.size();
    for (std::size_t i = 0; i < after.size(); ++i) {
      const bool moved = i % page / (page / kShape.layers) == 1;
      ASSERT_EQ(after[i], (moved ? stored : before)[i]) << "byte " << i;
    }
  }
  void ExpectAll(const Result<std::vector<BlockResult>>& results, StatusCode code) {
    ASSERT_TRUE(results.ok()) << results.status().ToString();
    for (const BlockResult& result : results.value()) {
      ASSERT_EQ(result.status, code) << StatusCodeName(result.status);
    }
  }

  PaperCache paper;
  std::unique_ptr<Client> client;
  std::unique_ptr<PagedCache> cache;
  NamespaceId space;
  Chain chain;
  std::uint32_t block_pages = 0;
};

}  // namespace terrace::paged
