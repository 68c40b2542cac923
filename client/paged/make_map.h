// From layouts to index arithmetic: the units that a block is moved in. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "client/layout.hpp"
#include "client/paged/page_map.h"
#include "client/paged/quant_map.h"

namespace terrace::paged {

/// The units of the dense frame (StoredLayout: this rank's heads of those layers) of one block, as
/// large as what is contiguous on both sides allows. Bases that are equally spaced may merge layers
/// into units. The first entry of PageTables::layer_bases is the base of layer `layers.first`.
/// @return kInvalid of ValidateStored, of ValidateBases, or that `layers` leaves the cache;
///         kInvalid for a quantised layout, whose elements do not move as they are.
Result<PageMap> MakePageMap(const CacheLayout& cache, const StoredLayout& stored,
                            std::span<void* const> bases, LayerSpan layers = {});

/// The same for a quantised layout. @return also kInvalid for a lossless one.
Result<QuantMap> MakeQuantMap(const CacheLayout& cache, const StoredLayout& stored,
                              std::span<void* const> bases, LayerSpan layers = {});

// The same without a look at the arguments, for those who have had them looked at. Allocate
// nothing.
PageMap BuildPageMap(const CacheLayout& cache, const StoredLayout& stored,
                     std::span<void* const> bases, LayerSpan layers);
QuantMap BuildQuantMap(const CacheLayout& cache, const StoredLayout& stored, LayerSpan layers);

/// What PageTables::layer_bases points to.
std::vector<std::uint64_t> LayerTable(std::span<void* const> bases, LayerSpan layers);

}  // namespace terrace::paged
