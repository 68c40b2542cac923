// LiveRecords: which records of a slice count, by rule N4 of tiers/nvme/format.h.
//
// Takes the records in any order and keeps, in memory, one small entry a block (about 100 bytes),
// of its newest record. Who adds records whose payloads nobody has verified keeps the older ones of
// a block too: power loss can leave the header of a record without its payload, and what it was to
// replace is then the block still.
// NamespaceTable: who the namespace ids of a store belong to, as its blocks say. Removals and
// clears go by the id alone: they end only what has a lower sequence, so an old one never does
// harm.
//
// Thread: one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
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
  enum class Older : std::uint8_t { kForget, kKeep };
  explicit LiveRecords(Older older = Older::kForget) : older_kept_(older == Older::kKeep) {}

  /// Of this slice.
  void Add(const RecordHeader& header, const RecordPlace& place);

  /// True when nothing that was added ends or replaces this record of a block.
  [[nodiscard]] bool IsLive(std::uint32_t namespace_id, const Hash128& hash,
                            std::uint64_t sequence) const;
  /// True when a removal or a clear that was added ends this record of a block.
  [[nodiscard]] bool Ends(std::uint32_t namespace_id, const Hash128& hash,
                          std::uint64_t sequence) const;
  /// A removal that something else names, of a block that was added; else it is nothing here.
  void EndNamed(std::uint32_t namespace_id, const Hash128& hash, std::uint64_t sequence);
  /// Of a block that counts here, a record that something else names: kept with the others, once.
  /// False when no block of that name counts here. REQUIRES: Older::kKeep.
  bool AddNamed(const IndexedBlock& block);

  /// The blocks that count, in no order.
  void Visit(const std::function<void(const IndexedBlock& block)>& visit) const;
  /// The same, each with all its records that nothing ends, the newest first. REQUIRES:
  /// Older::kKeep.
  void VisitAll(const std::function<void(std::span<const IndexedBlock> records)>& visit) const;
  /// How many count.
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
  struct Record {
    std::uint64_t sequence = 0;
    RecordPlace place;
    std::uint32_t block_bytes = 0;
    std::uint32_t position = 0;
    std::uint32_t valid_tokens = 0;
    Hash128 parent;
  };
  struct Known {
    std::uint64_t removed = 0;  ///< sequence of the last removal; 0: none
    Record newest;              ///< its place does not exist when only removals are known
  };
  static IndexedBlock BlockOf(const Name& name, const Record& record);
  void AddRecord(const Name& name, Known& known, const Record& record);
  [[nodiscard]] bool Cleared(std::uint32_t namespace_id, std::uint64_t sequence) const;
  /// Its newest record is not ended.
  [[nodiscard]] bool Counts(const Name& name, const Known& known) const;

  const bool older_kept_;
  std::unordered_map<Name, Known, NameHash> known_;
  std::unordered_multimap<Name, Record, NameHash> older_;
  std::map<std::uint32_t, std::uint64_t> clears_;
};

}  // namespace terrace::nvme
