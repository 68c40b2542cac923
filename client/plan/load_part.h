// LoadPart: what one reactor says about loading the blocks of a match, and how the answers of all
// reactors become one. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "client/types.hpp"
#include "transport/codec.h"

namespace terrace {

struct LoadPart {
  std::vector<std::uint8_t> sources;  ///< per cell of the reply: an index into `from`
  std::vector<LoadSource> from;       ///< a connection, then its devices; empty: nothing is said

  /// The source of a cell among those of all reactors, of which this one's begin at `first`.
  [[nodiscard]] std::uint16_t SourceOf(std::size_t cell, std::uint16_t first) const noexcept {
    if (first == kNoSource || cell >= sources.size() || sources[cell] >= from.size()) {
      return kNoSource;
    }
    return static_cast<std::uint16_t>(first + sources[cell]);
  }
};

/// Of a reply's fields. What an older daemon, or one that makes no sense, says is empty.
[[nodiscard]] LoadPart ReadLoadPart(const flatbuffers::Vector<std::uint8_t>* sources,
                                    const flatbuffers::Vector<const wire::LoadSource*>* from,
                                    std::size_t cells);

/// Appends the sources of one reactor, whose calls take `round_trip` beside; returns the first
/// one's number, kNoSource when there are none.
std::uint16_t AppendSources(const LoadPart& part, Nanos round_trip, std::vector<LoadSource>& all);

/// Per block the time to get it alone, us; 0 where it has no source.
[[nodiscard]] std::vector<std::uint32_t> LoadTimes(std::span<const std::uint16_t> sources,
                                                   std::span<const LoadSource> from,
                                                   std::uint64_t block_bytes);

}  // namespace terrace
