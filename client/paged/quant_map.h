// Where the groups of a quantised block lie: as page_map.h, for elements that do not move as they
// are. A group is what has one scale: group_tokens rows of head_dim elements, of one head, layer
// and part. Plain data, passed to kernels by value.
#pragma once

#include <cstdint>

#include "client/paged/page_map.h"

namespace terrace::paged {

// These numbers are those of ElementType and StoredType in client/layout.hpp, which kernels need
// not include.
inline constexpr std::uint32_t kElementBf16 = 0;
inline constexpr std::uint32_t kElementFp16 = 1;
inline constexpr std::uint32_t kElementFp32 = 5;
inline constexpr std::uint32_t kStoredFp8E4m3 = 1;
inline constexpr std::uint32_t kStoredInt8 = 2;

/// The groups of one block's frame: [layer][part] sections, in each the payload [head][token][dim]
/// of 1 byte, the scales [head][group], floats, and zeros up to a multiple of 16 bytes.
struct QuantMap {
  std::uint32_t element = 0;   ///< kElement...: what the cache has.
  std::uint32_t stored = 0;    ///< kStored...
  std::uint32_t head_dim = 0;  ///< Elements of a row, a multiple of 16.
  std::uint32_t group_tokens = 0;
  Divisor groups;          ///< Of a block's tokens.
  Divisor groups_of_page;  ///< Of a page's tokens.
  Divisor heads;
  Divisor parts;
  std::uint32_t items = 0;  ///< Groups of the frame.
  std::uint32_t block_pages = 0;
  std::uint32_t padding = 0;  ///< Zeros at the end of each section, 0 to 12 bytes.
  std::uint64_t section_bytes = 0;
  std::uint64_t payload_bytes = 0;  ///< Of a section: where its scales begin.
  // On the paged side, bytes.
  std::int64_t part_stride = 0;
  std::int64_t page_stride = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

/// Where one group lies. On the paged side its rows are token_stride apart.
struct GroupPlace {
  std::uint64_t paged = 0;    ///< Of its first row: bytes from address 0.
  std::uint64_t payload = 0;  ///< group_tokens x head_dim bytes: from the start of the frame.
  std::uint64_t scale = 0;    ///< A float: from the start of the frame.
  /// True: the last group of its section; who gathers it writes the zeros, behind the scale.
  bool pads = false;
};

/// REQUIRES: item < map.items.
TERRACE_HOST_DEVICE GroupPlace PlaceOfGroup(const QuantMap& map, const PageTables& tables,
                                            std::uint32_t item) {
  const std::uint32_t head_row = map.groups.Quotient(item);
  const std::uint32_t group = item - head_row * map.groups.divisor;
  const std::uint32_t section = map.heads.Quotient(head_row);
  const std::uint32_t head = head_row - section * map.heads.divisor;
  const std::uint32_t layer = map.parts.Quotient(section);
  const std::uint32_t part = section - layer * map.parts.divisor;
  const std::uint32_t page = map.groups_of_page.Quotient(group);
  const std::uint32_t token = (group - page * map.groups_of_page.divisor) * map.group_tokens;
  const std::int64_t inside = static_cast<std::int64_t>(part) * map.part_stride +
                              static_cast<std::int64_t>(tables.pages[page]) * map.page_stride +
                              static_cast<std::int64_t>(token) * map.token_stride +
                              static_cast<std::int64_t>(head) * map.head_stride;
  const std::uint64_t start = section * map.section_bytes;
  const std::uint32_t row = head * map.groups.divisor + group;
  GroupPlace place;
  place.paged = tables.layer_bases[layer] + static_cast<std::uint64_t>(inside);
  place.payload = start + std::uint64_t{row} * map.group_tokens * map.head_dim;
  place.scale = start + map.payload_bytes + std::uint64_t{row} * sizeof(float);
  place.pads = row + 1 == map.heads.divisor * map.groups.divisor;
  return place;
}

}  // namespace terrace::paged
