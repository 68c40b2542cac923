// The path `gather`: pages of an engine's cache to the dense frames that are stored, and back, on
// one core, against memcpy of as many bytes. Pages in random order, of caches as large as memory
// allows, so that what is read is in no cache of the processor.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/random.h"
#include "client/layout.hpp"
#include "client/paged/cpu_pages.h"
#include "client/paged/make_map.h"
#include "client/paged/quantise.h"
#include "tools/bench/load/block_workload.h"
#include "tools/bench/load/cold_memory.h"
#include "tools/bench/paths.h"

namespace terrace::bench {
namespace {

constexpr std::uint64_t kBurstBytes = 256 << 20;
constexpr std::uint32_t kPageTokens = 16;
constexpr std::uint32_t kBlockPages = 4;

struct Geometry {
  const char* name;
  std::uint32_t layers;
  std::uint32_t heads;
  std::uint32_t head_dim;
  bool latent;
  PageOrder order;
  StoredOrder stored;
};
constexpr Geometry kGeometries[] = {
    {"llama-3-8b_nhd", 32, 8, 128, false, PageOrder::kNhd, StoredOrder::kTokensFirst},
    {"llama-3-8b_hnd", 32, 8, 128, false, PageOrder::kHnd, StoredOrder::kHeadsFirst},
    {"llama-3-8b_nhd_to_heads", 32, 8, 128, false, PageOrder::kNhd, StoredOrder::kHeadsFirst},
    {"llama-3-70b_tp8", 80, 1, 128, false, PageOrder::kNhd, StoredOrder::kHeadsFirst},
    {"deepseek-v3_mla", 61, 1, 576, true, PageOrder::kNhd, StoredOrder::kHeadsFirst}};
constexpr std::uint32_t kPageCounts[] = {256, 4096};

CacheLayout LayoutOf(const Geometry& geometry, std::uint32_t pages) {
  const CacheShape shape{.layers = geometry.layers,
                         .pages = pages,
                         .page_tokens = kPageTokens,
                         .heads = geometry.heads,
                         .head_dim = geometry.head_dim,
                         .type = ElementType::kBf16};
  return geometry.latent ? Latent(shape) : PartsFirst(shape, geometry.order);
}

/// One cache, its pages in random order, walked burst by burst.
class GatherWorkload {
 public:
  GatherWorkload(const Geometry& geometry, std::uint32_t pages)
      : layout_(LayoutOf(geometry, pages)),
        layer_bytes_(static_cast<std::uint64_t>(layout_.page_stride) * pages * layout_.parts),
        page_bytes_(layer_bytes_ / pages * layout_.layers),
        cache_(layer_bytes_ * layout_.layers),
        bases_(LayerBases(cache_.bytes().data(), layout_.layers,
                          static_cast<std::int64_t>(layer_bytes_))),
        table_(paged::LayerTable(bases_, {})),
        pages_(pages) {
    std::iota(pages_.begin(), pages_.end(), 0U);
    for (std::uint32_t i = 0; i < pages; ++i) {
      std::swap(pages_[i], pages_[i + random_.Below(pages - i)]);
    }
    burst_blocks_ = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
        kBurstBytes / (page_bytes_ * kBlockPages), 1, pages / kBlockPages));
    frames_ = std::make_unique<ColdMemory>(BurstBytes());
    FillWithNumbers();
  }
  [[nodiscard]] std::uint64_t BurstBytes() const {
    return std::uint64_t{burst_blocks_} * kBlockPages * page_bytes_;
  }
  /// Bytes of pages moved a second, GB/s (1e9).
  template <typename Move>
  double Burst(std::uint64_t frame_bytes, const Move& move) {
    if (next_block_ + burst_blocks_ > pages_.size() / kBlockPages) next_block_ = 0;
    const auto started = std::chrono::steady_clock::now();
    for (std::uint32_t i = 0; i < burst_blocks_; ++i) {
      const paged::PageTables tables{
          .layer_bases = table_.data(),
          .pages = pages_.data() + std::size_t{next_block_ + i} * kBlockPages};
      move(tables, frames_->bytes().data() + i * frame_bytes);
    }
    next_block_ += burst_blocks_;
    return Rate(started);
  }
  /// The limit: the same count of bytes, one after the other, from where the walk is.
  double Copy() {
    const std::uint64_t from = copied_ + BurstBytes() > cache_.bytes().size() ? 0 : copied_;
    const auto started = std::chrono::steady_clock::now();
    std::memcpy(frames_->bytes().data(), cache_.bytes().data() + from, BurstBytes());
    copied_ = from + BurstBytes();
    return Rate(started);
  }
  [[nodiscard]] const CacheLayout& layout() const { return layout_; }
  [[nodiscard]] std::span<void* const> bases() const { return bases_; }

 private:
  double Rate(std::chrono::steady_clock::time_point started) const {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    return static_cast<double>(BurstBytes()) / took.count() / 1e9;
  }
  /// bf16 between -1 and 1: what quantisation finds in a cache.
  void FillWithNumbers() {
    std::vector<std::uint16_t> row(1 << 16);
    for (std::uint16_t& bits : row) {
      bits = paged::ToBf16(static_cast<float>(random_.Unit() * 2 - 1));
    }
    for (std::uint64_t at = 0; at < cache_.bytes().size(); at += row.size() * 2) {
      std::memcpy(cache_.bytes().data() + at, row.data(),
                  std::min<std::uint64_t>(row.size() * 2, cache_.bytes().size() - at));
    }
  }

  SeededRandom random_{1};
  const CacheLayout layout_;
  const std::uint64_t layer_bytes_;
  const std::uint64_t page_bytes_;  // of all layers and parts
  const ColdMemory cache_;
  const std::vector<void*> bases_;
  const std::vector<std::uint64_t> table_;
  std::vector<std::uint32_t> pages_;
  std::uint32_t burst_blocks_ = 0;
  std::uint32_t next_block_ = 0;
  std::uint64_t copied_ = 0;
  std::unique_ptr<ColdMemory> frames_;
};

StoredLayout StoredOf(const Geometry& geometry, StoredType type) {
  return {.block_tokens = kBlockPages * kPageTokens,
          .order = type == StoredType::kLossless ? geometry.stored : StoredOrder::kHeadsFirst,
          .type = type};
}

void MeasureLossless(GatherWorkload& workload, const Geometry& geometry, const std::string& name,
                     const PairOptions& pairs, std::vector<Figure>& figures) {
  const StoredLayout stored = StoredOf(geometry, StoredType::kLossless);
  const auto map = paged::MakePageMap(workload.layout(), stored, workload.bases());
  Require(map.status(), name);
  const std::uint64_t frame = FrameBytes(workload.layout(), stored);
  const auto limit = [&] { return workload.Copy(); };
  const std::string note = "pieces of " + std::to_string(map->unit_bytes) + " bytes";
  figures.push_back(ComparePairs(
      "gather_" + name, "GB/s", "memcpy", limit,
      [&] {
        return workload.Burst(frame, [&](const paged::PageTables& tables, std::byte* to) {
          paged::Gather(*map, tables, to);
        });
      },
      pairs));
  figures.back().note = note;
  figures.push_back(ComparePairs(
      "scatter_" + name, "GB/s", "memcpy", limit,
      [&] {
        return workload.Burst(frame, [&](const paged::PageTables& tables, std::byte* from) {
          paged::Scatter(*map, tables, from);
        });
      },
      pairs));
  figures.back().note = note;
}

void MeasureQuantised(GatherWorkload& workload, const Geometry& geometry, StoredType type,
                      const std::string& name, const PairOptions& pairs,
                      std::vector<Figure>& figures) {
  const StoredLayout stored = StoredOf(geometry, type);
  const auto map = paged::MakeQuantMap(workload.layout(), stored, workload.bases());
  Require(map.status(), name);
  const std::uint64_t frame = FrameBytes(workload.layout(), stored);
  const auto limit = [&] { return workload.Copy(); };
  const auto gather = [&] {
    return workload.Burst(frame, [&](const paged::PageTables& tables, std::byte* to) {
      paged::GatherQuantised(*map, tables, to);
    });
  };
  figures.push_back(ComparePairs("quantise_" + name, "GB/s", "memcpy", limit, gather, pairs));
  figures.back().note = "GB/s of the cache's bytes";
  gather();  // frames that are quantised numbers, not what memcpy left
  figures.push_back(ComparePairs(
      "dequantise_" + name, "GB/s", "memcpy into other memory", limit,
      [&] {
        gather();
        return workload.Burst(frame, [&](const paged::PageTables& tables, std::byte* from) {
          paged::ScatterQuantised(*map, tables, from);
        });
      },
      pairs));
  figures.back().note = "GB/s of the cache's bytes";
}

/// As many pages as a third of the free memory holds, at most `pages`; whole blocks.
std::uint32_t PagesThatFit(const Geometry& geometry, std::uint32_t pages) {
  const CacheLayout layout = LayoutOf(geometry, 1);
  const std::uint64_t page =
      static_cast<std::uint64_t>(layout.page_stride) * layout.parts * layout.layers;
  const auto free = static_cast<std::uint64_t>(::sysconf(_SC_AVPHYS_PAGES)) *
                    static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t fit = std::max<std::uint64_t>(free / 3 / page, kBlockPages);
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(pages, fit) / kBlockPages *
                                    kBlockPages);
}

}  // namespace

std::vector<Figure> BenchGather(const BenchOptions& options) {
  std::vector<Figure> figures;
  const PairOptions pairs{.rounds = options.rounds, .by_state = false};
  for (const Geometry& geometry : kGeometries) {
    for (const std::uint32_t count : kPageCounts) {
      const std::uint32_t pages = PagesThatFit(geometry, count);
      GatherWorkload workload(geometry, pages);
      const std::string name = std::string(geometry.name) + "_" + std::to_string(pages);
      MeasureLossless(workload, geometry, name, pairs, figures);
      if (geometry.stored != StoredOrder::kHeadsFirst || count != kPageCounts[0]) continue;
      MeasureQuantised(workload, geometry, StoredType::kFp8E4m3, name + "_fp8", pairs, figures);
      MeasureQuantised(workload, geometry, StoredType::kInt8, name + "_int8", pairs, figures);
    }
  }
  return figures;
}

}  // namespace terrace::bench
