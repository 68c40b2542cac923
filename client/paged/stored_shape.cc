#include "client/paged/stored_shape.h"

#include <string>

namespace terrace {
namespace paged {
namespace {

std::uint64_t SectionBytes(const StoredShape& shape, std::uint64_t block_tokens,
                           std::uint64_t heads) {
  const std::uint64_t bytes =
      heads * block_tokens * shape.row_bytes + ScaleBytes(heads, shape.groups);
  if (shape.groups == 0) return bytes;
  return (bytes + kSectionAlignment - 1) / kSectionAlignment * kSectionAlignment;
}

const char* TypeName(ElementType type) {
  switch (type) {
    case ElementType::kBf16: return "bf16";
    case ElementType::kFp16: return "fp16";
    case ElementType::kFp8E4m3: return "fp8_e4m3";
    case ElementType::kFp8E5m2: return "fp8_e5m2";
    case ElementType::kInt8: return "int8";
    case ElementType::kFp32: return "fp32";
  }
  return "unknown";
}

}  // namespace

StoredShape ShapeOf(const CacheLayout& cache, const StoredLayout& stored) {
  StoredShape shape;
  shape.layers_total = stored.layers_total == 0 ? cache.layers : stored.layers_total;
  shape.heads_total = stored.heads_total == 0 ? cache.heads : stored.heads_total;
  shape.block_pages = stored.block_tokens / cache.page_tokens;
  shape.row_bytes = std::uint64_t{cache.head_dim} * ElementBytes(cache.type);
  if (IsQuantised(stored)) {
    shape.group_tokens = stored.group_tokens == 0 ? cache.page_tokens : stored.group_tokens;
    shape.groups = stored.block_tokens / shape.group_tokens;
    shape.row_bytes = cache.head_dim;
  }
  shape.section_bytes = SectionBytes(shape, stored.block_tokens, shape.heads_total);
  shape.frame_section_bytes = SectionBytes(shape, stored.block_tokens, cache.heads);
  shape.block_bytes = shape.section_bytes * cache.parts * shape.layers_total;
  return shape;
}

}  // namespace paged

std::uint64_t StoredBlockBytes(const CacheLayout& cache, const StoredLayout& stored) {
  return paged::ShapeOf(cache, stored).block_bytes;
}

std::uint64_t FrameBytes(const CacheLayout& cache, const StoredLayout& stored, LayerSpan layers) {
  return paged::ShapeOf(cache, stored).frame_section_bytes * cache.parts *
         paged::Filled(cache, layers).count;
}

std::vector<StoredRun> StoredRuns(const CacheLayout& cache, const StoredLayout& stored,
                                  LayerSpan layers) {
  const paged::StoredShape shape = paged::ShapeOf(cache, stored);
  layers = paged::Filled(cache, layers);
  const std::uint64_t start =
      std::uint64_t{stored.first_layer + layers.first} * cache.parts * shape.section_bytes;
  const std::uint32_t sections = layers.count * cache.parts;
  if (cache.heads == shape.heads_total) {
    return {{.block = {.offset = start, .bytes = sections * shape.section_bytes}}};
  }
  const std::uint64_t head_bytes = stored.block_tokens * shape.row_bytes;
  const auto per_section = [&](std::uint64_t offset, std::uint64_t bytes, std::uint64_t frame) {
    return StoredRun{.block = {.offset = start + offset,
                               .bytes = bytes,
                               .count = sections,
                               .stride = shape.section_bytes},
                     .frame = frame,
                     .frame_stride = shape.frame_section_bytes};
  };
  if (!paged::IsQuantised(stored) && stored.order == StoredOrder::kTokensFirst) {
    const std::uint64_t bytes = cache.heads * shape.row_bytes;
    return {{.block = {.offset = start + stored.first_head * shape.row_bytes,
                       .bytes = bytes,
                       .count = sections * stored.block_tokens,
                       .stride = shape.heads_total * shape.row_bytes},
             .frame = 0,
             .frame_stride = bytes}};
  }
  std::vector<StoredRun> runs;
  runs.push_back(per_section(stored.first_head * head_bytes, cache.heads * head_bytes, 0));
  if (paged::IsQuantised(stored)) {
    runs.push_back(per_section(
        shape.heads_total * head_bytes + paged::ScaleBytes(stored.first_head, shape.groups),
        paged::ScaleBytes(cache.heads, shape.groups), cache.heads * head_bytes));
  }
  return runs;
}

bool HoldsWholeBlock(const CacheLayout& cache, const StoredLayout& stored) {
  const paged::StoredShape shape = paged::ShapeOf(cache, stored);
  return cache.layers == shape.layers_total && cache.heads == shape.heads_total;
}

void DescribeBlocks(const CacheLayout& cache, const StoredLayout& stored, std::uint32_t group,
                    NamespaceDescriptor& descriptor) {
  const paged::StoredShape shape = paged::ShapeOf(cache, stored);
  const bool quantised = paged::IsQuantised(stored);
  const bool heads_first = quantised || stored.order == StoredOrder::kHeadsFirst;
  const std::string heads = " heads=" + std::to_string(shape.heads_total);
  const std::string tokens = " tokens=" + std::to_string(stored.block_tokens);
  // Separate tensors of K and V and one tensor of both store the same bytes: the text counts their
  // sections, not their layers.
  const std::string layout = "sections=" + std::to_string(shape.layers_total * cache.parts) +
                             (heads_first ? heads + tokens : tokens + heads) +
                             " dim=" + std::to_string(cache.head_dim);
  std::string dtype = paged::TypeName(cache.type);
  if (quantised) {
    dtype += std::string(" as ") + (stored.type == StoredType::kInt8 ? "int8" : "fp8_e4m3") +
             " scaled per head and " + std::to_string(shape.group_tokens) + " tokens";
  }
  const bool first = descriptor.groups.empty();
  descriptor.layout = first ? layout : descriptor.layout + "; " + layout;
  descriptor.kv_dtype = first ? dtype : descriptor.kv_dtype + "; " + dtype;
  descriptor.block_tokens = stored.block_tokens;
  descriptor.groups.push_back({.id = group, .block_bytes = shape.block_bytes});
}

}  // namespace terrace
