// Where blocks lie in the log of an NVMe store, so that a bare loop can read the very same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tiers/nvme/format.h"

namespace terrace::bench {

/// The superblock of the device or file at `path`; kIo, or as nvme::Check says.
Result<nvme::Superblock> ReadSuperblock(const std::string& path);

/// Offset of a segment on the device, bytes.
[[nodiscard]] std::uint64_t SegmentOffset(const nvme::Superblock& superblock, std::uint32_t slice,
                                          std::uint32_t segment) noexcept;

/// Offsets of the payloads of blocks of `block_bytes` bytes of the namespaces named `name`, those
/// in the newest segments first, at most `most`. Reads past the page cache, so that nothing of the
/// log gets into it; the store may be in use.
Result<std::vector<std::uint64_t>> FindPayloads(const std::string& path, std::string_view name,
                                                std::uint64_t block_bytes, std::size_t most);

}  // namespace terrace::bench
