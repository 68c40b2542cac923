// Paged caches in the memory of a GPU against real reactors: what is put from pages comes back into
// other pages, from blocks that are lent where they lie and through frames, and after what the
// engine's stream had queued. Skipped where there is no GPU.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "client/paged.hpp"
#include "tests/client/cuda/gpu.h"
#include "tests/tools/shards_host.h"

namespace terrace::paged {
namespace {

using namespace std::chrono_literals;
using terrace::testing::ShardsHost;

constexpr CacheShape kShape{
    .layers = 8, .pages = 64, .page_tokens = 16, .heads = 4, .head_dim = 128};
constexpr std::uint32_t kBlocks = 16;
constexpr std::size_t kLayerBytes = std::size_t{2} * 64 * 16 * 4 * 128 * 2;

Deadline Soon() { return In(30s); }

class GpuRank {
 public:
  GpuRank(const std::string& address, LinkChoice link, StoredType type)
      : memory_(kLayerBytes * kShape.layers) {
    SeededRandom random(11);
    for (std::size_t i = 0; i + 2 <= memory_.size(); i += 2) {
      const auto bits = static_cast<std::uint16_t>(0x3f00 | (random.Next() & 0x80ff));
      std::memcpy(memory_.host() + i, &bits, 2);
    }
    memory_.Upload();
    auto connected = Client::Connect({.address = address, .link = link, .connect_timeout = 20s});
    EXPECT_TRUE(connected.ok()) << connected.status().ToString();
    client_ = std::move(connected.value());
    PagedCacheOptions options;
    options.cache = PartsFirst(kShape, PageOrder::kNhd);
    options.stored = {.block_tokens = 32, .type = type};
    for (std::uint32_t i = 0; i < kShape.layers; ++i) {
      options.layer_bases.push_back(memory_.device() + i * kLayerBytes);
    }
    auto opened = PagedCache::Open(*client_, std::move(options));
    EXPECT_TRUE(opened.ok()) << opened.status().ToString();
    cache = std::move(opened.value());
    NamespaceDescriptor descriptor;
    descriptor.name = "gpu" + std::to_string(static_cast<int>(type));
    descriptor.model = "test";
    auto named = cache->OpenNamespace(descriptor, 0, Soon());
    EXPECT_TRUE(named.ok()) << named.status().ToString();
    space = named.value();
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      EXPECT_TRUE(chain.Append("block/" + std::to_string(i)).ok());
    }
  }
  /// Blocks of the chain on two pages each, from that page on, downwards or upwards.
  std::vector<PagedBlock> On(const std::vector<std::uint32_t>& pages) const {
    std::vector<PagedBlock> blocks;
    for (std::uint32_t i = 0; i < pages.size() / 2; ++i) {
      blocks.push_back({.position = i, .pages = std::span(pages).subspan(std::size_t{i} * 2, 2)});
    }
    return blocks;
  }
  /// Pages `to` have on the device what pages `from` have in the host's copy.
  bool Same(const std::vector<std::uint32_t>& to, const std::vector<std::uint32_t>& from) {
    const auto now = memory_.Download();
    constexpr std::size_t kPage = std::size_t{16} * 4 * 128 * 2;
    for (std::size_t i = 0; i < to.size(); ++i) {
      for (std::size_t part = 0; part < std::size_t{kShape.layers} * 2; ++part) {
        const std::size_t base = part * 64 * kPage;
        if (std::memcmp(now.data() + base + to[i] * kPage, memory_.host() + base + from[i] * kPage,
                        kPage) != 0) {
          return false;
        }
      }
    }
    return true;
  }
  Mirrored& memory() { return memory_; }

 private:
  Mirrored memory_;
  std::unique_ptr<Client> client_;

 public:
  std::unique_ptr<PagedCache> cache;
  NamespaceId space;
  Chain chain;
};

std::vector<std::uint32_t> Pages(std::uint32_t first) {
  std::vector<std::uint32_t> pages(std::size_t{kBlocks} * 2);
  std::iota(pages.rbegin(), pages.rend(), first);
  return pages;
}

void ExpectAll(const Result<std::vector<BlockResult>>& results, StatusCode status) {
  ASSERT_TRUE(results.ok()) << results.status().ToString();
  ASSERT_EQ(results.value().size(), kBlocks);
  for (const BlockResult& result : results.value()) {
    EXPECT_EQ(StatusCodeName(result.status), StatusCodeName(status));
  }
}

TEST(PagedGpuTest, WhatWasPutFromPagesComesBackIntoOthers) {
  TERRACE_NEEDS_GPU();
  const ShardsHost host(2);
  for (const LinkChoice link : {LinkChoice::kAuto, LinkChoice::kTcp}) {
    GpuRank rank(host.address(), link, StoredType::kLossless);
    const auto from = Pages(0);
    const auto to = Pages(32);
    const auto put = rank.cache->Put(rank.space, rank.chain, rank.On(from), {}, Soon());
    ExpectAll(put, link == LinkChoice::kAuto ? StatusCode::kOk : StatusCode::kExists);
    for (int round = 0; round < 20; ++round) {
      ASSERT_CUDA(cudaMemset(rank.memory().device(), 0xee, rank.memory().size()));
      ExpectAll(rank.cache->Get(rank.space, rank.chain, rank.On(to), {}, Soon()), StatusCode::kOk);
      ASSERT_TRUE(rank.Same(to, from)) << "link " << static_cast<int>(link);
    }
  }
}

TEST(PagedGpuTest, QuantisedBlocksComeBackTheSameEveryTime) {
  TERRACE_NEEDS_GPU();
  const ShardsHost host(2);
  GpuRank rank(host.address(), LinkChoice::kAuto, StoredType::kFp8E4m3);
  const auto from = Pages(0);
  ExpectAll(rank.cache->Put(rank.space, rank.chain, rank.On(from), {}, Soon()), StatusCode::kOk);
  ExpectAll(rank.cache->Get(rank.space, rank.chain, rank.On(from), {}, Soon()), StatusCode::kOk);
  const auto once = rank.memory().Download();
  EXPECT_NE(0, std::memcmp(once.data(), rank.memory().host(), once.size()));  // it does lose bits
  ExpectAll(rank.cache->Get(rank.space, rank.chain, rank.On(from), {}, Soon()), StatusCode::kOk);
  EXPECT_EQ(once, rank.memory().Download());
}

TEST(PagedGpuTest, APutTakesWhatTheStreamWillHaveWritten) {
  TERRACE_NEEDS_GPU();
  const ShardsHost host(2);
  GpuRank rank(host.address(), LinkChoice::kAuto, StoredType::kLossless);
  cudaStream_t stream = nullptr;
  ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  ASSERT_CUDA(cudaMemset(rank.memory().device(), 0, rank.memory().size()));
  ASSERT_CUDA(
      cudaLaunchHostFunc(stream, [](void*) { std::this_thread::sleep_for(200ms); }, nullptr));
  ASSERT_CUDA(cudaMemcpyAsync(rank.memory().device(), rank.memory().host(), rank.memory().size(),
                              cudaMemcpyHostToDevice, stream));
  PagedCallOptions options;
  options.stream = stream;
  const auto from = Pages(0);
  const auto to = Pages(32);
  ExpectAll(rank.cache->Put(rank.space, rank.chain, rank.On(from), {}, Soon(), options),
            StatusCode::kOk);
  ASSERT_CUDA(cudaMemset(rank.memory().device(), 0, rank.memory().size()));
  ExpectAll(rank.cache->Get(rank.space, rank.chain, rank.On(to), {}, Soon(), options),
            StatusCode::kOk);
  EXPECT_TRUE(rank.Same(to, from));
  ASSERT_CUDA(cudaStreamDestroy(stream));
}

TEST(PagedGpuTest, NothingIsWrittenToFencedPages) {
  TERRACE_NEEDS_GPU();
  const ShardsHost host(2);
  GpuRank rank(host.address(), LinkChoice::kAuto, StoredType::kLossless);
  const auto from = Pages(0);
  const auto to = Pages(32);
  ExpectAll(rank.cache->Put(rank.space, rank.chain, rank.On(from), {}, Soon()), StatusCode::kOk);
  for (int round = 0; round < 200; ++round) {
    const auto ticket = rank.cache->SubmitGet(rank.space, rank.chain, rank.On(to), {}, Soon());
    ASSERT_TRUE(ticket.ok()) << ticket.status().ToString();
    if (round % 4 != 0) std::this_thread::sleep_for(std::chrono::microseconds(round * 7));
    ASSERT_TRUE(rank.cache->Fence(to, Soon()).ok());
    ASSERT_CUDA(cudaMemset(rank.memory().device(), 0x5a, rank.memory().size()));
    if (round % 20 == 0) std::this_thread::sleep_for(5ms);
    const auto now = rank.memory().Download();
    const std::vector<std::byte> poison(now.size(), std::byte{0x5a});
    ASSERT_EQ(0, std::memcmp(now.data(), poison.data(), now.size())) << "round " << round;
    (void)rank.cache->Poll();
  }
}

}  // namespace
}  // namespace terrace::paged
