// Gather and scatter on the CPU: the reference that kernels are compared with, and what engines on
// CPUs use.
//
// A frame is the dense memory of one block's layers and heads (StoredLayout). The map comes from
// MakePageMap or MakeQuantMap, whose validation is all there is: nothing is checked here. Gather
// writes every byte of the frame once. What they wrote, other threads see in the usual ways. Any
// thread; no allocation, no waiting, no failure.
#pragma once

#include <cstddef>
#include <cstdint>

#include "client/paged/page_map.h"
#include "client/paged/quant_map.h"

namespace terrace::paged {

/// What a place of page_map.h points to, on this side.
inline std::byte* AddressOf(std::uint64_t paged) noexcept {
  return reinterpret_cast<std::byte*>(paged);  // NOLINT(performance-no-int-to-ptr): it was one
}

/// From pages into a frame. REQUIRES: tables with an entry per layer and page of the map; memory
/// that does not overlap.
void Gather(const PageMap& map, const PageTables& tables, std::byte* frame) noexcept;
/// From a frame into pages, each of which is named once.
void Scatter(const PageMap& map, const PageTables& tables, const std::byte* frame) noexcept;

/// The same with quantisation (quantise.h). Rows of a paged cache and frames are aligned to
/// elements and to 4 bytes.
void GatherQuantised(const QuantMap& map, const PageTables& tables, std::byte* frame) noexcept;
void ScatterQuantised(const QuantMap& map, const PageTables& tables,
                      const std::byte* frame) noexcept;

/// How wide the CPU computes: what it has, or less, for tests that all widths make the same bits.
enum class CpuWidth { kBaseline, kAvx2, kAvx512 };
CpuWidth WidthOfCpu() noexcept;
/// REQUIRES: width <= WidthOfCpu().
void GatherQuantised(const QuantMap& map, const PageTables& tables, std::byte* frame,
                     CpuWidth width) noexcept;
void ScatterQuantised(const QuantMap& map, const PageTables& tables, const std::byte* frame,
                      CpuWidth width) noexcept;

}  // namespace terrace::paged
