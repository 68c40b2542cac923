// Where the records of a log lie on its medium, read without the code that is under test but for
// the structures of tiers/nvme/format.h. Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace terrace::faults {

struct RecordAt {
  std::uint64_t offset = 0;         ///< of its header on the device
  std::uint64_t payload_bytes = 0;  ///< behind the header's page
  std::uint32_t segment = 0;
};

/// The blocks' records of slice 0, in the order of their places.
std::vector<RecordAt> RecordsOn(std::span<const std::byte> medium);
/// Where that segment of slice 0 begins.
std::uint64_t SegmentOffset(std::span<const std::byte> medium, std::uint32_t segment);
void FlipBit(std::span<std::byte> bytes, std::uint64_t bit);

}  // namespace terrace::faults
