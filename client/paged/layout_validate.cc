// What is wrong with a layout, said with the field's name before anything is moved.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <string>

#include "base/limits.h"
#include "client/layout.hpp"
#include "client/paged/stored_shape.h"

namespace terrace {
namespace {

// Dividends of the index arithmetic (page_map.h) stay below 2^31, and bytes below what addresses
// can have, so that no product of the ones that follow wraps.
constexpr std::uint64_t kCountMax = (1U << 31) - 1;
constexpr std::int64_t kBytesMax = std::int64_t{1} << 56;

Status CheckCount(const char* field, std::uint64_t value, std::uint64_t most = kCountMax) {
  if (value >= 1 && value <= most) return {};
  return Status::Invalid(std::string(field) + " is " + std::to_string(value) + ", not 1 to " +
                         std::to_string(most));
}

struct Dimension {
  const char* field;  // its stride
  std::uint32_t count;
  std::int64_t stride;
};

/// Each dimension steps over all that the nearer ones fill, so that no two rows share a byte.
Status CheckStrides(const CacheLayout& cache) {
  const std::int64_t element = ElementBytes(cache.type);
  std::array dimensions = {Dimension{"cache.part_stride", cache.parts, cache.part_stride},
                           Dimension{"cache.page_stride", cache.pages, cache.page_stride},
                           Dimension{"cache.token_stride", cache.page_tokens, cache.token_stride},
                           Dimension{"cache.head_stride", cache.heads, cache.head_stride}};
  for (const Dimension& dimension : dimensions) {
    if (dimension.count == 1) continue;
    if (dimension.stride <= -kBytesMax || dimension.stride >= kBytesMax) {
      return Status::Invalid(std::string(dimension.field) + " is " +
                             std::to_string(dimension.stride) + ", beyond what memory has");
    }
    if (dimension.stride % element != 0) {
      return Status::Invalid(std::string(dimension.field) + " is " +
                             std::to_string(dimension.stride) + ", no multiple of an element's " +
                             std::to_string(element) + " bytes");
    }
  }
  std::sort(dimensions.begin(), dimensions.end(), [](const Dimension& a, const Dimension& b) {
    return std::abs(a.stride) < std::abs(b.stride);
  });
  std::int64_t filled = element * cache.head_dim;
  for (const Dimension& dimension : dimensions) {
    if (dimension.count == 1) continue;
    const std::int64_t step = std::abs(dimension.stride);
    if (step < filled) {
      return Status::Invalid(std::string(dimension.field) + " is " +
                             std::to_string(dimension.stride) + ", less than the " +
                             std::to_string(filled) + " bytes that it has to step over");
    }
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(step, std::int64_t{dimension.count} - 1, &reach) ||
        reach >= kBytesMax - filled) {
      return Status::Invalid(
          std::string(dimension.field) + " is " + std::to_string(dimension.stride) + ", " +
          std::to_string(dimension.count) + " times: the cache is larger than what memory has");
    }
    filled += reach;
  }
  return {};
}

/// `have` of them from `first` on lie within `total` (0: have).
Status CheckPart(const char* first_field, const char* total_field, std::uint32_t first,
                 std::uint32_t total, const char* have_field, std::uint32_t have) {
  const std::uint64_t most = total == 0 ? have : total;
  if (std::uint64_t{first} + have <= most) return {};
  return Status::Invalid(std::string(first_field) + " is " + std::to_string(first) + ": with " +
                         have_field + " " + std::to_string(have) + " that is more than " +
                         total_field + ", " + std::to_string(most));
}

Status CheckQuantisation(const CacheLayout& cache, const StoredLayout& stored) {
  if (stored.type != StoredType::kFp8E4m3 && stored.type != StoredType::kInt8) {
    return Status::Invalid("stored.type is " + std::to_string(static_cast<int>(stored.type)) +
                           ", no StoredType");
  }
  if (ElementBytes(cache.type) < 2) {
    return Status::Invalid(
        "stored.type is quantised, and cache.type has 1 byte already: store it lossless");
  }
  if (stored.order != StoredOrder::kHeadsFirst) {
    return Status::Invalid("stored.order is tokens-first, and quantised blocks are heads-first");
  }
  if (cache.head_dim % paged::kSectionAlignment != 0) {
    return Status::Invalid("cache.head_dim is " + std::to_string(cache.head_dim) +
                           ", and quantised blocks need a multiple of 16");
  }
  if (stored.group_tokens != 0 && cache.page_tokens % stored.group_tokens != 0) {
    return Status::Invalid("stored.group_tokens is " + std::to_string(stored.group_tokens) +
                           ", and does not divide cache.page_tokens, " +
                           std::to_string(cache.page_tokens));
  }
  const paged::StoredShape shape = paged::ShapeOf(cache, stored);
  if (cache.heads != shape.heads_total &&
      paged::ScaleBytes(shape.heads_total, shape.groups) % paged::kSectionAlignment != 0) {
    return Status::Invalid("stored.heads_total is " + std::to_string(shape.heads_total) + " with " +
                           std::to_string(shape.groups) +
                           " groups of tokens: ranks that each write a part of the heads need a "
                           "product that is a multiple of 4");
  }
  return {};
}

}  // namespace

Status ValidateCache(const CacheLayout& cache) {
  if (ElementBytes(cache.type) == 0) {
    return Status::Invalid("cache.type is " + std::to_string(static_cast<int>(cache.type)) +
                           ", no ElementType");
  }
  for (const Status& status :
       {CheckCount("cache.layers", cache.layers, 65536), CheckCount("cache.parts", cache.parts, 2),
        CheckCount("cache.pages", cache.pages), CheckCount("cache.page_tokens", cache.page_tokens),
        CheckCount("cache.heads", cache.heads, 65536),
        CheckCount("cache.head_dim", cache.head_dim, 1 << 24)}) {
    if (!status.ok()) return status;
  }
  return CheckStrides(cache);
}

Status ValidateBases(const CacheLayout& cache, std::span<void* const> bases) {
  if (bases.size() != cache.layers) {
    return Status::Invalid("layer_bases has " + std::to_string(bases.size()) +
                           " addresses, and cache.layers is " + std::to_string(cache.layers));
  }
  const std::uint64_t row = std::uint64_t{ElementBytes(cache.type)} * cache.head_dim;
  std::vector<std::uint32_t> order(bases.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(),
            [&](std::uint32_t a, std::uint32_t b) { return bases[a] < bases[b]; });
  const auto name = [](std::uint32_t layer) {
    return "layer_bases[" + std::to_string(layer) + "]";
  };
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto address = reinterpret_cast<std::uintptr_t>(bases[order[i]]);
    if (address == 0) return Status::Invalid(name(order[i]) + " is null");
    if (address % ElementBytes(cache.type) != 0) {
      return Status::Invalid(name(order[i]) + " is not aligned to elements of " +
                             std::to_string(ElementBytes(cache.type)) + " bytes");
    }
    if (i > 0 && address - reinterpret_cast<std::uintptr_t>(bases[order[i - 1]]) < row) {
      return Status::Invalid(name(order[i]) + " lies in the first row of " + name(order[i - 1]));
    }
  }
  return {};
}

Status ValidateStored(const CacheLayout& cache, const StoredLayout& stored) {
  if (Status status = ValidateCache(cache); !status.ok()) return status;
  if (stored.block_tokens == 0 || stored.block_tokens % cache.page_tokens != 0) {
    return Status::Invalid("stored.block_tokens is " + std::to_string(stored.block_tokens) +
                           ", no multiple of cache.page_tokens, " +
                           std::to_string(cache.page_tokens));
  }
  if (stored.layers_total > 65536)
    return CheckCount("stored.layers_total", stored.layers_total, 65536);
  if (stored.heads_total > 65536)
    return CheckCount("stored.heads_total", stored.heads_total, 65536);
  if (Status status = CheckPart("stored.first_layer", "stored.layers_total", stored.first_layer,
                                stored.layers_total, "cache.layers", cache.layers);
      !status.ok()) {
    return status;
  }
  if (Status status = CheckPart("stored.first_head", "stored.heads_total", stored.first_head,
                                stored.heads_total, "cache.heads", cache.heads);
      !status.ok()) {
    return status;
  }
  if (stored.order != StoredOrder::kTokensFirst && stored.order != StoredOrder::kHeadsFirst) {
    return Status::Invalid("stored.order is " + std::to_string(static_cast<int>(stored.order)) +
                           ", no StoredOrder");
  }
  // Before any product of five numbers: a block's tokens of one head alone fit a block.
  const std::uint64_t heads = std::max(stored.heads_total, cache.heads);
  const std::uint64_t layers = std::max(stored.layers_total, cache.layers);
  const double bytes = static_cast<double>(stored.block_tokens) * cache.head_dim *
                       static_cast<double>(heads) * static_cast<double>(layers) * cache.parts;
  if (bytes > static_cast<double>(kBlockBytesMax)) {
    return Status::Invalid("stored.block_tokens is " + std::to_string(stored.block_tokens) +
                           ": a block has more than " + std::to_string(kBlockBytesMax) +
                           " elements");
  }
  if (paged::IsQuantised(stored)) {
    if (Status status = CheckQuantisation(cache, stored); !status.ok()) return status;
  } else if (stored.group_tokens != 0) {
    return Status::Invalid("stored.group_tokens is " + std::to_string(stored.group_tokens) +
                           ", and stored.type is lossless");
  }
  const std::uint64_t block_bytes = paged::ShapeOf(cache, stored).block_bytes;
  if (block_bytes < kBlockBytesMin || block_bytes > kBlockBytesMax) {
    return Status::Invalid("stored.block_tokens is " + std::to_string(stored.block_tokens) +
                           ": a block of " + std::to_string(block_bytes) + " bytes, not " +
                           std::to_string(kBlockBytesMin) + " to " +
                           std::to_string(kBlockBytesMax));
  }
  return {};
}

Status ValidateLayers(const CacheLayout& cache, LayerSpan layers) {
  if (layers.first < cache.layers && layers.count <= cache.layers - layers.first) return {};
  return Status::Invalid("layers is " + std::to_string(layers.count) + " from " +
                         std::to_string(layers.first) + " on, and cache.layers is " +
                         std::to_string(cache.layers));
}

Status ValidatePages(const CacheLayout& cache, const StoredLayout& stored,
                     std::span<const std::uint32_t> pages, bool distinct) {
  const std::uint32_t wanted = stored.block_tokens / cache.page_tokens;
  if (pages.size() != wanted) {
    return Status::Invalid("pages has " + std::to_string(pages.size()) +
                           " numbers, and a block has " + std::to_string(wanted) + " pages");
  }
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (pages[i] >= cache.pages) {
      return Status::Invalid("pages[" + std::to_string(i) + "] is " + std::to_string(pages[i]) +
                             ", and cache.pages is " + std::to_string(cache.pages));
    }
  }
  if (!distinct) return {};
  std::vector<std::uint32_t> sorted(pages.begin(), pages.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice == sorted.end()) return {};
  return Status::Invalid("pages names " + std::to_string(*twice) + " twice");
}

}  // namespace terrace
