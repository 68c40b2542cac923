// The entries of the index store (RocksDB): what its keys and values hold, byte for byte.
//
//   "b" slice(2) namespace(4) hash.high(8) hash.low(8)  where a block's record is: IndexedBlock;
//                                                       or, while the marker is below it, u64: the
//                                                       sequence of the removal that ended it
//   "c" slice(2) namespace(4)                           u64: records with a lower sequence are dead
//   "w" slice(2)                                        IndexMarker: how far the index is the log's
//   "n" namespace(4)                                    IndexedNamespace
//   "m"                                                 store id(16), format version(4), slices(4)
//
// Numbers in keys are big endian, so that they sort; in values little endian. Every value is
// checked as it is read: a wrong one costs a miss, never wrong bytes, since a record is compared
// with what was asked for when it is read. docs/format.md is the same in prose.
//
// Thread: any; values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/checksum.h"

namespace terrace::nvme {

/// Names a record of a slice.
struct RecordPlace {
  std::uint32_t segment_plus_one = 0;  ///< 0: no record; else device * segments + segment + 1
  std::uint32_t page = 0;              ///< of the record header, from the segment's start
  std::uint32_t generation = 0;        ///< of the segment when the record was written

  [[nodiscard]] bool exists() const noexcept { return segment_plus_one != 0; }
  [[nodiscard]] std::uint32_t segment() const noexcept { return segment_plus_one - 1; }
  friend bool operator==(const RecordPlace&, const RecordPlace&) = default;
};

struct IndexedBlock {
  std::uint32_t namespace_id = 0;  ///< of the key
  Hash128 hash;                    ///< of the key
  RecordPlace place;
  std::uint64_t sequence = 0;
  std::uint32_t block_bytes = 0;
  std::uint32_t position = 0;
  std::uint32_t valid_tokens = 0;
  Hash128 parent;  ///< zeros: none known
};

/// What the index knows of a slice for certain. Every change that a record below `sequence` makes
/// to the index (the entry of a block, the end of one by a removal or a clear) was written before
/// this was. Of the other records the log tells. A lower sequence than could be said is right too.
struct IndexMarker {
  std::uint64_t sequence = 0;
  /// Nothing followed in that run, and no record of it has this sequence or a higher one.
  bool final = false;
};

struct IndexedNamespace {
  std::uint32_t id = 0;  ///< of the key
  std::string tenant;
  std::string name;
  Hash128 fingerprint;
};

struct IndexedStore {
  Hash128 store_id;
  std::uint32_t version = 0;
  std::uint32_t slices = 0;
};

inline constexpr std::string_view kStoreKey = "m";
inline constexpr std::string_view kNamespacePrefix = "n";
[[nodiscard]] std::string BlockPrefix(std::uint32_t slice);
[[nodiscard]] std::string ClearedPrefix(std::uint32_t slice);

[[nodiscard]] std::string BlockKey(std::uint32_t slice, std::uint32_t namespace_id,
                                   const Hash128& hash);
[[nodiscard]] std::string BlockValue(const IndexedBlock& block);
/// The slice of a block's key; nothing for other keys.
[[nodiscard]] std::optional<std::uint32_t> BlockSlice(std::string_view key);
/// Nothing when key or value are not of this format.
[[nodiscard]] std::optional<IndexedBlock> ReadBlock(std::string_view key, std::string_view value);

/// Under a block's key: it was removed.
[[nodiscard]] std::string RemovedValue(std::uint64_t sequence);
struct Removed {
  std::uint32_t slice = 0;
  std::uint32_t namespace_id = 0;
  Hash128 hash;
  std::uint64_t sequence = 0;
};
[[nodiscard]] std::optional<Removed> ReadRemoved(std::string_view key, std::string_view value);

[[nodiscard]] std::string ClearedKey(std::uint32_t slice, std::uint32_t namespace_id);
[[nodiscard]] std::string ClearedValue(std::uint64_t sequence);
struct Cleared {
  std::uint32_t namespace_id = 0;
  std::uint64_t sequence = 0;
};
[[nodiscard]] std::optional<Cleared> ReadCleared(std::string_view key, std::string_view value);

[[nodiscard]] std::string MarkerKey(std::uint32_t slice);
[[nodiscard]] std::string MarkerValue(const IndexMarker& marker);
[[nodiscard]] std::optional<IndexMarker> ReadMarker(std::string_view value);

[[nodiscard]] std::string NamespaceKey(std::uint32_t id);
[[nodiscard]] std::string NamespaceValue(const IndexedNamespace& space);
[[nodiscard]] std::optional<IndexedNamespace> ReadNamespace(std::string_view key,
                                                            std::string_view value);

[[nodiscard]] std::string StoreValue(const IndexedStore& store);
[[nodiscard]] std::optional<IndexedStore> ReadStore(std::string_view value);

}  // namespace terrace::nvme
