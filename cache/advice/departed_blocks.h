// DepartedBlocks: which blocks left one reactor's cache lately, why, and when.
//
// Model. A table of fixed size, in buckets of one cache line: 8 blocks of 8 bytes each. A block
// that leaves takes the place of its own earlier entry, or an empty one, or the oldest of its
// bucket: so the table remembers about as many departures as it has places, and nothing ever grows
// or is rehashed. It knows 32 bits of each identity within a bucket, so that a block which was
// never there is taken for a departed one with a chance of 8 / 2^32.
//
// Times are kept in tenths of a second of the Clock, and wrap after 155 days.
// Thread: the owning reactor's.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/miss_reason.h"
#include "base/result.h"
#include "cache/flat_array.h"
#include "cache/locator.h"

namespace terrace {

class DepartedBlocks {
 public:
  static constexpr std::uint64_t kBytesMin = 64 << 10;
  static constexpr std::uint64_t kBytesMax = 64 << 20;

  /// Memory for an arena of `arena_bytes`: 0.05 % of it, within the limits above.
  [[nodiscard]] static std::uint64_t BytesFor(std::uint64_t arena_bytes) noexcept;
  /// `bytes`: of the table, rounded down to a power of two; at least 64. kIo when memory cannot be
  /// had.
  static Result<DepartedBlocks> Create(std::uint64_t bytes);
  /// Remembers nothing.
  DepartedBlocks() = default;

  struct Departure {
    MissReason reason = MissReason::kNeverSeen;  ///< this one: nothing is known
    Nanos age = 0;                               ///< since it left; a tenth of a second exact
  };

  /// A block left at `now`, or was refused. REQUIRES: reason is neither kNone nor kNeverSeen.
  void Note(const Locator& locator, MissReason reason, Nanos now) noexcept;
  [[nodiscard]] Departure Find(const Locator& locator, Nanos now) const noexcept;
  /// Asks the CPU for what Find will read.
  void Prefetch(const Locator& locator) const noexcept;

  [[nodiscard]] std::uint64_t Bytes() const noexcept { return buckets_.Bytes(); }
  /// Departures that it has room for.
  [[nodiscard]] std::uint64_t capacity() const noexcept { return buckets_.size() * kPlaces; }

 private:
  static constexpr std::size_t kPlaces = 8;
  struct Bucket {
    std::uint32_t tags[kPlaces];
    std::uint32_t notes[kPlaces];  // reason (5 bits) and time (27); 0: empty
  };

  [[nodiscard]] std::size_t BucketOf(const Locator& locator) const noexcept;

  FlatArray<Bucket> buckets_;
};

}  // namespace terrace
