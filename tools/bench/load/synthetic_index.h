// SyntheticIndex: an NVMe store that says that it holds many small blocks, without their bytes.
//
// What a start of the daemon reads is there (index entries, segment headers, a namespace); what it
// does not read, the records, is not. So a million blocks take a second to make, and a get of one
// of them would be a miss.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"
#include "client/terrace.hpp"

namespace terrace::bench {

inline constexpr std::uint64_t kSyntheticBlockBytes = 4096;
inline constexpr std::uint32_t kSyntheticChainBlocks = 64;

/// The namespace of the blocks, of tenant "default".
NamespaceDescriptor SyntheticNamespace();
/// Chain `number`: blocks [number * kSyntheticChainBlocks, ...) of the store.
Chain SyntheticChain(std::uint64_t number);
/// Log that holds `entries` such blocks and leaves a quarter free, bytes.
[[nodiscard]] std::uint64_t SyntheticLogBytes(std::uint64_t entries) noexcept;

/// Fills the empty store of one device and one slice in `folder`, which no daemon has open.
/// kInvalid when the store has another shape or too few segments; kIo.
Status WriteSyntheticIndex(const std::string& folder, std::uint64_t entries);

}  // namespace terrace::bench
