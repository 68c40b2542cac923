// The kernels against the CPU's copies, byte for byte, over layouts, orders and ranges.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "base/random.h"
#include "client/cuda/copy_pages.h"
#include "client/cuda/quantise_pages.h"
#include "client/layout.hpp"
#include "client/paged/cpu_pages.h"
#include "client/paged/make_map.h"
#include "tests/client/cuda/gpu.h"

namespace terrace::paged {
namespace {

constexpr std::byte kPoison{0xa5};
constexpr CopyGrid kGrid{64, 0};
std::uint32_t launched = 0;  // thread blocks; of no interest here

struct Case {
  std::string name;
  CacheLayout cache;
  StoredLayout stored;
  std::int64_t layer_bytes = 0;  // from one layer's base to the next
};

std::int64_t LayerBytes(const CacheLayout& cache) {
  // Larger than what a layer's tensor takes in any of the orders that are tried.
  const std::int64_t row = std::int64_t{cache.head_dim} * ElementBytes(cache.type);
  return row * cache.heads * cache.page_tokens * cache.pages * cache.parts;
}

// A cache on host and device, with blocks of it in a random order of pages.
class Cache {
 public:
  Cache(const Case& subject, SeededRandom& random, std::uint32_t blocks)
      : subject_(subject),
        block_pages_(subject.stored.block_tokens / subject.cache.page_tokens),
        memory_(static_cast<std::size_t>(subject.layer_bytes) * subject.cache.layers),
        pages_(subject.cache.pages) {
    std::iota(pages_.begin(), pages_.end(), 0U);
    for (std::size_t i = pages_.size(); i > 1; --i) {
      std::swap(pages_[i - 1], pages_[random.Below(i)]);
    }
    pages_.resize(std::size_t{blocks} * block_pages_);
    for (std::uint32_t layer = 0; layer < subject.cache.layers; ++layer) {
      const std::int64_t offset = layer * subject.layer_bytes;
      host_bases_.push_back(memory_.host() + offset);
      device_bases_.push_back(memory_.device() + offset);
    }
  }

  void Fill(SeededRandom& random, bool elements) {
    std::size_t i = 0;
    const std::size_t wide = ElementBytes(subject_.cache.type);
    for (; i + 8 <= memory_.size(); i += 8) {
      const std::uint64_t bits = random.Next();
      std::memcpy(memory_.host() + i, &bits, 8);
    }
    if (elements) {  // numbers of one size, with a few that are special
      for (std::size_t at = 0; at + wide <= memory_.size(); at += wide) {
        SetElement(at, random);
      }
    }
    memory_.Upload();
  }
  void Poison() {
    std::fill_n(memory_.host(), memory_.size(), kPoison);
    memory_.Upload();
  }

  [[nodiscard]] std::uint32_t block_pages() const { return block_pages_; }
  [[nodiscard]] const std::vector<std::uint32_t>& pages() const { return pages_; }
  Mirrored& memory() { return memory_; }
  std::span<void* const> host_bases() { return host_bases_; }
  std::span<void* const> device_bases() { return device_bases_; }

 private:
  void SetElement(std::size_t at, SeededRandom& random) {
    const std::uint64_t draw = random.Next();
    const float value = (static_cast<float>(draw & 0xffff) - 32768.0F) / 4096.0F;
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    const bool special = draw >> 52 == 0;  // one of 4,096
    if (subject_.cache.type == ElementType::kFp32) {
      bits = special ? 0x7f800000U : bits;
      std::memcpy(memory_.host() + at, &bits, 4);
    } else {
      // As a bf16 it is the number; as a half some other one, which is as good.
      const auto half = static_cast<std::uint16_t>(special ? draw & 0xffff : bits >> 16);
      std::memcpy(memory_.host() + at, &half, 2);
    }
  }

  const Case& subject_;
  std::uint32_t block_pages_;
  Mirrored memory_;
  std::vector<std::uint32_t> pages_;
  std::vector<void*> host_bases_;
  std::vector<void*> device_bases_;
};

std::uint32_t AlignmentFor(const Case& subject) {
  // What every layout below keeps: its rows.
  const std::uint64_t bits =
      (std::uint64_t{subject.cache.head_dim} * ElementBytes(subject.cache.type)) |
      static_cast<std::uint64_t>(subject.layer_bytes) | 16U;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

class Frames {
 public:
  Frames(std::uint64_t bytes, std::uint32_t blocks)
      : stride_((bytes + 255) / 256 * 256), memory_(stride_ * blocks) {
    std::fill_n(memory_.host(), memory_.size(), kPoison);
    memory_.Upload();
    for (std::uint32_t i = 0; i < blocks; ++i) {
      addresses_.push_back(reinterpret_cast<std::uint64_t>(memory_.device()) + i * stride_);
    }
  }
  std::byte* host(std::uint32_t block) { return memory_.host() + block * stride_; }
  Mirrored& memory() { return memory_; }
  [[nodiscard]] std::span<const std::uint64_t> addresses() const { return addresses_; }

 private:
  std::uint64_t stride_;
  Mirrored memory_;
  std::vector<std::uint64_t> addresses_;
};

void CheckLossless(const Case& subject, LayerSpan layers, std::uint64_t seed,
                   std::uint32_t count = 5) {
  SCOPED_TRACE(subject.name + ", layers " + std::to_string(layers.first) + "+" +
               std::to_string(layers.count) + ", seed " + std::to_string(seed));
  SeededRandom random(seed);
  Cache cache(subject, random, count);
  cache.Fill(random, false);
  const auto host_map = MakePageMap(subject.cache, subject.stored, cache.host_bases(), layers);
  const auto map = MakePageMap(subject.cache, subject.stored, cache.device_bases(), layers);
  ASSERT_TRUE(map.ok()) << map.status().ToString();
  const auto host_bases = LayerTable(cache.host_bases(), layers);
  const OnGpu<std::uint64_t> bases(LayerTable(cache.device_bases(), layers));
  Frames frames(FrameBytes(subject.cache, subject.stored, layers), count);
  const BlockList list{frames.addresses().data(), cache.pages().data(), cache.block_pages(), count};
  const CopyJob job{map.value(), bases.data(), AlignmentFor(subject)};
  ASSERT_CUDA(LaunchCopyPages(job, list, MoveWay::kGather, kGrid, nullptr, launched));
  ASSERT_CUDA(cudaDeviceSynchronize());
  const auto tables = [&](std::uint32_t block) {
    return PageTables{host_bases.data(), cache.pages().data() + block * cache.block_pages()};
  };
  for (std::uint32_t i = 0; i < count; ++i) {
    Gather(host_map.value(), tables(i), frames.host(i));
  }
  const std::vector<std::byte> gathered = frames.memory().Download();
  ASSERT_EQ(0, std::memcmp(gathered.data(), frames.memory().host(), gathered.size()));

  cache.Poison();
  ASSERT_CUDA(LaunchCopyPages(job, list, MoveWay::kScatter, kGrid, nullptr, launched));
  ASSERT_CUDA(cudaDeviceSynchronize());
  for (std::uint32_t i = 0; i < count; ++i) {
    Scatter(host_map.value(), tables(i), frames.host(i));
  }
  const std::vector<std::byte> scattered = cache.memory().Download();
  // Also of what no block names: the poison is still there.
  ASSERT_EQ(0, std::memcmp(scattered.data(), cache.memory().host(), scattered.size()));
}

Case MakeCase(std::string name, CacheLayout cache, StoredLayout stored) {
  return {std::move(name), cache, stored, LayerBytes(cache)};
}

std::vector<Case> LosslessCases() {
  std::vector<Case> cases;
  for (const PageOrder order : {PageOrder::kNhd, PageOrder::kHnd}) {
    for (const StoredOrder stored_order : {StoredOrder::kTokensFirst, StoredOrder::kHeadsFirst}) {
      const StoredLayout stored{.block_tokens = 32, .order = stored_order};
      const std::string suffix = std::string(order == PageOrder::kNhd ? " NHD" : " HND") +
                                 (stored_order == StoredOrder::kTokensFirst ? " tokens" : " heads");
      const CacheShape shape{3, 16, 16, 4, 128, ElementType::kBf16};
      cases.push_back(MakeCase("parts first" + suffix, PartsFirst(shape, order), stored));
      cases.push_back(MakeCase("pages first" + suffix, PagesFirst(shape, order), stored));
      cases.push_back(MakeCase("fused" + suffix, FusedParts(shape, order), stored));
      StoredLayout one_page = stored;
      one_page.block_tokens = 16;
      cases.push_back(MakeCase("one page" + suffix, PartsFirst(shape, order), one_page));
      StoredLayout rank = stored;
      rank.heads_total = 16;
      rank.first_head = 8;
      cases.push_back(MakeCase("rank" + suffix, PartsFirst(shape, order), rank));
      // Rows of 36, 5 x 2 and 7 bytes: vectors of 4 bytes and of 1.
      for (const auto& [dim, type] :
           {std::pair{18U, ElementType::kBf16}, std::pair{5U, ElementType::kFp16},
            std::pair{7U, ElementType::kInt8}}) {
        const CacheShape odd{3, 16, 16, 8, dim, type};
        cases.push_back(MakeCase("rows of " + std::to_string(dim * ElementBytes(type)) + suffix,
                                 PartsFirst(odd, order), stored));
      }
    }
  }
  const CacheShape latent{5, 16, 16, 1, 576, ElementType::kBf16};
  cases.push_back(MakeCase("latent", Latent(latent), {.block_tokens = 48}));
  return cases;
}

TEST(CopyKernelTest, MovesWhatTheCpuMovesAndNothingElse) {
  TERRACE_NEEDS_GPU();
  std::uint64_t seed = 1;
  for (const Case& subject : LosslessCases()) {
    CheckLossless(subject, {}, seed++);
    CheckLossless(subject, {1, 2}, seed++);
    CheckLossless(subject, {2, 1}, seed++);
    if (HasFatalFailure()) return;
  }
}

TEST(CopyKernelTest, TakesMoreBlocksThanOneLaunch) {
  TERRACE_NEEDS_GPU();
  const CacheShape shape{2, 1500, 16, 2, 64, ElementType::kBf16};
  static_assert(SmallTable::Capacity(1) < 700);
  for (const StoredOrder order : {StoredOrder::kTokensFirst, StoredOrder::kHeadsFirst}) {
    CheckLossless(
        MakeCase("many", PartsFirst(shape, PageOrder::kNhd), {.block_tokens = 32, .order = order}),
        {}, 50, 700);
  }
}

TEST(CopyKernelTest, OnePieceABlockOfAllLayers) {
  TERRACE_NEEDS_GPU();
  const CacheShape shape{6, 16, 16, 2, 64, ElementType::kBf16};
  for (const PageOrder order : {PageOrder::kNhd, PageOrder::kHnd}) {
    Case subject{
        "cross-layer",
        CrossLayer(shape, order),
        {.block_tokens = 16,
         .order = order == PageOrder::kNhd ? StoredOrder::kTokensFirst : StoredOrder::kHeadsFirst},
        LayerStride(shape, order)};
    // Bases lie close together here, inside the pages: the memory must reach to the last page.
    subject.cache.layers = shape.layers;
    SeededRandom random(7);
    const std::size_t bytes = static_cast<std::size_t>(subject.cache.page_stride) * shape.pages;
    Mirrored memory(bytes);
    for (std::size_t i = 0; i < bytes; ++i)
      memory.host()[i] = static_cast<std::byte>(random.Next());
    memory.Upload();
    const auto bases = LayerBases(memory.device(), shape.layers, subject.layer_bytes);
    const auto map = MakePageMap(subject.cache, subject.stored, bases);
    ASSERT_TRUE(map.ok()) << map.status().ToString();
    EXPECT_EQ(map.value().units, 1U);
    const std::vector<std::uint32_t> pages{3, 15, 0};
    Frames frames(FrameBytes(subject.cache, subject.stored), 3);
    const BlockList list{frames.addresses().data(), pages.data(), 1, 3};
    const OnGpu<std::uint64_t> base_table(LayerTable(bases, {}));
    const CopyJob job{map.value(), base_table.data(), 16};
    ASSERT_CUDA(LaunchCopyPages(job, list, MoveWay::kGather, kGrid, nullptr, launched));
    ASSERT_CUDA(cudaDeviceSynchronize());
    const std::vector<std::byte> gathered = frames.memory().Download();
    const auto block = static_cast<std::size_t>(subject.cache.page_stride);
    for (std::size_t i = 0; i < pages.size(); ++i) {
      EXPECT_EQ(0, std::memcmp(gathered.data() + (frames.host(static_cast<std::uint32_t>(i)) -
                                                  frames.memory().host()),
                               memory.host() + pages[i] * block, block));
    }
  }
}

void CheckQuantised(const Case& subject, LayerSpan layers, std::uint64_t seed, bool aligned) {
  SCOPED_TRACE(subject.name + ", layers " + std::to_string(layers.first) + "+" +
               std::to_string(layers.count) + ", seed " + std::to_string(seed));
  constexpr std::uint32_t kBlocks = 5;
  SeededRandom random(seed);
  Cache cache(subject, random, kBlocks);
  cache.Fill(random, true);
  const auto host_map = MakeQuantMap(subject.cache, subject.stored, cache.host_bases(), layers);
  const auto map = MakeQuantMap(subject.cache, subject.stored, cache.device_bases(), layers);
  ASSERT_TRUE(map.ok()) << map.status().ToString();
  const auto host_bases = LayerTable(cache.host_bases(), layers);
  const OnGpu<std::uint64_t> bases(LayerTable(cache.device_bases(), layers));
  Frames frames(FrameBytes(subject.cache, subject.stored, layers), kBlocks);
  const BlockList list{frames.addresses().data(), cache.pages().data(), cache.block_pages(),
                       kBlocks};
  const QuantJob job{map.value(), bases.data(), aligned ? AlignmentFor(subject) : 1};
  ASSERT_CUDA(LaunchQuantisePages(job, list, MoveWay::kGather, kGrid, nullptr, launched));
  ASSERT_CUDA(cudaDeviceSynchronize());
  const auto tables = [&](std::uint32_t block) {
    return PageTables{host_bases.data(), cache.pages().data() + block * cache.block_pages()};
  };
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    GatherQuantised(host_map.value(), tables(i), frames.host(i));
  }
  const std::vector<std::byte> gathered = frames.memory().Download();
  ASSERT_EQ(0, std::memcmp(gathered.data(), frames.memory().host(), gathered.size()));

  cache.Poison();
  ASSERT_CUDA(LaunchQuantisePages(job, list, MoveWay::kScatter, kGrid, nullptr, launched));
  ASSERT_CUDA(cudaDeviceSynchronize());
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    ScatterQuantised(host_map.value(), tables(i), frames.host(i));
  }
  const std::vector<std::byte> scattered = cache.memory().Download();
  ASSERT_EQ(0, std::memcmp(scattered.data(), cache.memory().host(), scattered.size()));
}

TEST(QuantiseKernelTest, MakesTheBitsOfTheCpu) {
  TERRACE_NEEDS_GPU();
  std::uint64_t seed = 100;
  for (const ElementType type : {ElementType::kBf16, ElementType::kFp16, ElementType::kFp32}) {
    for (const StoredType stored_type : {StoredType::kFp8E4m3, StoredType::kInt8}) {
      for (const PageOrder order : {PageOrder::kNhd, PageOrder::kHnd}) {
        const CacheShape shape{3, 16, 16, 3, 128, type};
        const std::string name = std::to_string(static_cast<int>(type)) + " to " +
                                 std::to_string(static_cast<int>(stored_type));
        for (const std::uint32_t group : {16U, 4U, 1U}) {
          const Case subject =
              MakeCase(name, PartsFirst(shape, order),
                       {.block_tokens = 32, .type = stored_type, .group_tokens = group});
          CheckQuantised(subject, {}, seed++, true);
          CheckQuantised(subject, {1, 2}, seed++, false);
          if (HasFatalFailure()) return;
        }
        // Groups that a team of a whole thread block keeps, and that it reads twice.
        for (const std::uint32_t dim : {576U, 8192U}) {
          const CacheShape wide{2, 16, 16, 1, dim, type};
          CheckQuantised(
              MakeCase(name + " latent", Latent(wide), {.block_tokens = 16, .type = stored_type}),
              {}, seed++, true);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

}  // namespace
}  // namespace terrace::paged
