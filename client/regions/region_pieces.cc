// RegionTable::UsePieces: as Use, for lists of pieces.
#include <string>
#include <utility>

#include "client/regions/region_table.h"

namespace terrace {

Result<RegionUse> RegionTable::UsePieces(const char* list,
                                         std::span<const std::span<const MemoryPiece>> lists,
                                         std::vector<std::span<std::byte>>& memory) {
  std::vector<std::uint32_t> used;
  std::size_t total = memory.size();
  for (const std::span<const MemoryPiece> of_one : lists) total += of_one.size();
  memory.reserve(total);
  const std::lock_guard lock(mutex_);
  const std::uint64_t call = ++calls_;
  std::uint32_t last = 0;
  Entry* entry = nullptr;
  for (std::size_t i = 0; i < lists.size(); ++i) {
    for (std::size_t j = 0; j < lists[i].size(); ++j) {
      const MemoryPiece& piece = lists[i][j];
      const auto named = [list, i, j] {
        return std::string(list) + "[" + std::to_string(i) + "].pieces[" + std::to_string(j) + "]";
      };
      if (entry == nullptr || piece.region.value != last) {
        const auto found = regions_.find(piece.region.value);
        if (found == regions_.end()) {
          return Status::Invalid(named() + ".region: region " + std::to_string(piece.region.value) +
                                 " is not registered");
        }
        last = piece.region.value;
        entry = &found->second;
        if (!MayUse(*entry)) return RefuseUse(*entry, last, named());
        if (entry->last_call != call) {
          entry->last_call = call;
          used.push_back(last);
        }
      }
      // No overflow: the offset is compared before it is added.
      if (piece.offset > entry->memory.size() ||
          entry->memory.size() - piece.offset < piece.length) {
        return Status::Invalid(named() + ": offset " + std::to_string(piece.offset) +
                               " and length " + std::to_string(piece.length) +
                               " reach past region " + std::to_string(last) + " of " +
                               std::to_string(entry->memory.size()) + " bytes");
      }
      memory.push_back(entry->memory.subspan(piece.offset, piece.length));
    }
  }
  // Counted only now: a refused call leaves no trace.
  for (const std::uint32_t region : used) ++regions_.at(region).uses;
  return RegionUse(this, std::move(used));
}

}  // namespace terrace
