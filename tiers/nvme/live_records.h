// LiveRecords: which records of a slice count, by rule N4 of tiers/nvme/format.h.
//
// Takes the records in any order and keeps, in memory, one small entry a block (about 100 bytes).
// NamespaceTable: who the namespace ids of a store belong to, as its blocks say. Removals and
// clears go by the id alone: they end only what has a lower sequence, so an old one never does
// harm.
//
// Thread: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <unordered_map>

#include "tiers/nvme/format.h"
#include "tiers/nvme/index_entry.h"

namespace terrace::nvme {

class NamespaceTable {
 public:
  /// REQUIRES: a block. False when its namespace id already belongs to another tenant, name or
  /// fingerprint. That is a bug of whoever wrote it, or one id given out twice: such a record is
  /// nobody's.
  bool Add(const RecordHeader& header);
  [[nodiscard]] const std::map<std::uint32_t, IndexedNamespace>& all() const noexcept {
    return spaces_;
  }

 private:
  std::map<std::uint32_t, IndexedNamespace> spaces_;
};

class LiveRecords {
 public:
  /// Of this slice.
  void Add(const RecordHeader& header, const RecordPlace& place);

  /// True when nothing that was added ends or replaces this record of a block.
  [[nodiscard]] bool IsLive(std::uint32_t namespace_id, const Hash128& hash,
                            std::uint64_t sequence) const;
  /// The blocks that count, in no order.
  void Visit(const std::function<void(const IndexedBlock& block)>& visit) const;
  /// How many those are.
  [[nodiscard]] std::uint64_t CountLive() const;
  /// The sequence of each namespace's last clear.
  [[nodiscard]] const std::map<std::uint32_t, std::uint64_t>& clears() const noexcept {
    return clears_;
  }

 private:
  struct Name {
    std::uint32_t namespace_id;
    Hash128 hash;
    friend bool operator==(const Name&, const Name&) = default;
  };
  struct NameHash {
    std::size_t operator()(const Name& name) const noexcept {
      return name.hash.low ^ (name.hash.high * 31) ^ (std::size_t{name.namespace_id} << 32);
    }
  };
  /// The record with the highest sequence; a removal exists nowhere.
  struct Last {
    std::uint64_t sequence = 0;
    RecordPlace place;
    std::uint32_t block_bytes = 0;
    std::uint32_t position = 0;
    std::uint32_t valid_tokens = 0;
    Hash128 parent;
  };
  [[nodiscard]] bool Cleared(std::uint32_t namespace_id, std::uint64_t sequence) const;

  std::unordered_map<Name, Last, NameHash> last_;
  std::map<std::uint32_t, std::uint64_t> clears_;
};

}  // namespace terrace::nvme
