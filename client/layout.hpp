// How an engine's paged cache lies in memory, and how the blocks that Terrace stores are laid out.
//
// Model. A cache has *layers*, each with a base address; a layer has *parts* (K and V), each of
// *pages* of page_tokens tokens; a token has *heads* of head_dim elements, which are contiguous.
// Everything else is strides, so that one CacheLayout describes the caches of all engines
// (docs/gpu.md maps theirs). A *block* is what a key names: block_tokens tokens, a whole number of
// pages, of all layers and heads; StoredLayout says how its bytes are ordered, and which of its
// layers and heads this cache holds, if it is one rank of several.
//
//   stored block: [layer][part] sections, and in each of them
//     kHeadsFirst:  [head][token][dim]    a head range of a section is one stretch
//     kTokensFirst: [token][head][dim]
//   Quantised sections are heads-first: [head][token][dim] of 1 byte, then a float for each [head]
//   [group of tokens], then zeros up to a multiple of 16 bytes.
//
// Plain data and pure functions; any thread. Sizes, strides and offsets are bytes. What is wrong is
// kInvalid and names the field: cache.page_stride, stored.block_tokens, ...
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/status.h"
#include "client/types.hpp"

namespace terrace {

// The numbers of these three are part of the C interface: append only.
enum class ElementType : std::uint8_t {
  kBf16 = 0,
  kFp16 = 1,
  kFp8E4m3 = 2,
  kFp8E5m2 = 3,
  kInt8 = 4,
  kFp32 = 5,
};

/// What the elements of a stored block are.
enum class StoredType : std::uint8_t {
  kLossless = 0,  ///< As the cache has them, bit for bit.
  kFp8E4m3 = 1,   ///< One byte and a share of a scale per head and group of tokens (docs/gpu.md).
  kInt8 = 2,
};

enum class StoredOrder : std::uint8_t {
  kTokensFirst = 0,
  kHeadsFirst = 1,
};

/// Of one element: 1, 2 or 4. 0 for a number that is no ElementType.
TERRACE_API std::uint32_t ElementBytes(ElementType type) noexcept;

/// The order of tokens and heads inside a page.
enum class PageOrder : std::uint8_t {
  kNhd = 0,  ///< [tokens][heads][dim]
  kHnd = 1,  ///< [heads][tokens][dim]
};

/// The orders that a cache of all layers can have in one tensor, outermost first: L layers, B
/// pages, H heads, N tokens, C what a token has of a head: K and V side by side, or a latent.
enum class CrossLayerOrder : std::uint8_t {
  kLBHNC = 0,
  kLBNHC = 1,
  kLHBNC = 2,
  kBLHNC = 3,
  kBLNHC = 4,
  kBHLNC = 5,
};

/// One rank's cache. Bases of its layers go with it wherever one is used: one address per layer, of
/// part 0, page 0, token 0, head 0.
struct CacheLayout {
  std::uint32_t layers = 0;
  std::uint32_t parts = 0;  ///< 2: K and V; 1: a latent, or K and V side by side in head_dim.
  std::uint32_t pages = 0;
  std::uint32_t page_tokens = 0;
  std::uint32_t heads = 0;     ///< That this rank holds.
  std::uint32_t head_dim = 0;  ///< Elements.
  ElementType type = ElementType::kBf16;
  // From one to the next of the same everything else. Of a dimension of 1 it does not matter.
  std::int64_t part_stride = 0;
  std::int64_t page_stride = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

/// The numbers that the makers of layouts take.
struct CacheShape {
  std::uint32_t layers = 0;
  std::uint32_t pages = 0;
  std::uint32_t page_tokens = 0;
  std::uint32_t heads = 0;
  std::uint32_t head_dim = 0;  ///< Elements.
  ElementType type = ElementType::kBf16;
};

/// One tensor a layer, [2, pages, tokens, heads, dim] or [2, pages, heads, tokens, dim].
TERRACE_API CacheLayout PartsFirst(const CacheShape& shape, PageOrder order) noexcept;
/// One tensor a layer, [pages, 2, tokens, heads, dim] or [pages, 2, heads, tokens, dim].
TERRACE_API CacheLayout PagesFirst(const CacheShape& shape, PageOrder order) noexcept;
/// One tensor a layer, [pages, tokens, heads, 2 * dim] or [pages, heads, tokens, 2 * dim]: K and V
/// side by side. Stored as one part of elements 2 * dim wide.
TERRACE_API CacheLayout FusedParts(const CacheShape& shape, PageOrder order) noexcept;
/// Two tensors a layer, of K and of V, each [pages, tokens, heads, dim] (NHD) or [pages, heads,
/// tokens, dim]; `layers` of the layout is twice that of the shape, and the bases are K and V of
/// layer 0, K and V of layer 1, ... Stored byte for byte as PartsFirst stores it.
TERRACE_API CacheLayout SeparateParts(const CacheShape& shape, PageOrder order) noexcept;
/// One tensor a layer, [pages, tokens, dim]: the latents of MLA. `heads` of the shape is not used.
TERRACE_API CacheLayout Latent(const CacheShape& shape) noexcept;
/// One tensor for all layers, [pages, layers, 2, tokens, heads, dim] (NHD) or [pages, layers, 2,
/// heads, tokens, dim]: a page is one stretch. Its bases: LayerBases.
TERRACE_API CacheLayout CrossLayer(const CacheShape& shape, PageOrder order) noexcept;
/// One tensor for all layers in one of six orders, with head_dim the width of C. Its bases:
/// LayerBases.
TERRACE_API CacheLayout CrossLayer(const CacheShape& shape, CrossLayerOrder order) noexcept;

/// From one layer's base to the next in the tensors of CrossLayer.
TERRACE_API std::int64_t LayerStride(const CacheShape& shape, PageOrder order) noexcept;
TERRACE_API std::int64_t LayerStride(const CacheShape& shape, CrossLayerOrder order) noexcept;
/// `layers` bases, the first at `base` and then `stride` apart.
TERRACE_API std::vector<void*> LayerBases(void* base, std::uint32_t layers, std::int64_t stride);

/// How a block is stored, and which part of it this cache holds. All openers of a namespace must
/// agree in all of it but first_layer and first_head.
struct StoredLayout {
  std::uint32_t block_tokens = 0;  ///< A multiple of page_tokens.
  std::uint32_t layers_total = 0;  ///< Of the block; 0: the cache's.
  std::uint32_t first_layer = 0;   ///< Of the block's layers, that is the cache's first one.
  std::uint32_t heads_total = 0;   ///< Of the block; 0: the cache's.
  std::uint32_t first_head = 0;    ///< Of the block's heads, that is the cache's first one.
  StoredOrder order = StoredOrder::kHeadsFirst;
  StoredType type = StoredType::kLossless;
  std::uint32_t group_tokens = 0;  ///< Quantised: tokens with one scale; 0: page_tokens.
};

/// Some of the cache's layers, in a row.
struct LayerSpan {
  std::uint32_t first = 0;
  std::uint32_t count = 0;  ///< 0: all from `first` on.
};

/// A stretch of a block's bytes, repeated, and where it lies in the rank's dense frame.
struct StoredRun {
  BlockRange block;                ///< In the stored block.
  std::uint64_t frame = 0;         ///< Of the first stretch, from the start of the frame.
  std::uint64_t frame_stride = 0;  ///< From one stretch's start to the next's in the frame.
};

/// Counts of at least 1, strides that keep rows apart, a size that addresses can have.
TERRACE_API Status ValidateCache(const CacheLayout& cache);
/// One base per layer, none null, aligned to elements, no two layers in the same place.
TERRACE_API Status ValidateBases(const CacheLayout& cache, std::span<void* const> bases);
/// Also ValidateCache: a whole number of pages, layers and heads within the block's, groups that
/// divide a page, a block of 4 KiB to 64 MiB.
TERRACE_API Status ValidateStored(const CacheLayout& cache, const StoredLayout& stored);
/// At least one, all within the cache.
TERRACE_API Status ValidateLayers(const CacheLayout& cache, LayerSpan layers);
/// As many as a block has, each below cache.pages; `distinct`: each once.
TERRACE_API Status ValidatePages(const CacheLayout& cache, const StoredLayout& stored,
                                 std::span<const std::uint32_t> pages, bool distinct);

// REQUIRES of these: ValidateStored is ok, and `layers` lies within the cache.

/// Of a whole stored block: GroupSpec::block_bytes.
TERRACE_API std::uint64_t StoredBlockBytes(const CacheLayout& cache, const StoredLayout& stored);
/// Of the dense frame that holds this rank's heads of those layers.
TERRACE_API std::uint64_t FrameBytes(const CacheLayout& cache, const StoredLayout& stored,
                                     LayerSpan layers = {});
/// Where the dense frame of those layers lies in the stored block: one run, and two of a quantised
/// cache that holds a part of the heads (payload and scales).
TERRACE_API std::vector<StoredRun> StoredRuns(const CacheLayout& cache, const StoredLayout& stored,
                                              LayerSpan layers = {});
/// True: this cache holds all layers and heads of the block, and puts it alone.
TERRACE_API bool HoldsWholeBlock(const CacheLayout& cache, const StoredLayout& stored);
/// Adds what the namespace must say of such blocks, as of its group `group`: layout, kv_dtype,
/// block_tokens, and the group with its block_bytes. What stands in `groups` already was described
/// in the same way: layout and kv_dtype then say it of one after the other.
TERRACE_API void DescribeBlocks(const CacheLayout& cache, const StoredLayout& stored,
                                std::uint32_t group, NamespaceDescriptor& descriptor);

}  // namespace terrace
