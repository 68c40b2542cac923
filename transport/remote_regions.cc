#include "transport/remote_regions.h"

#include <limits>
#include <string>
#include <utility>

namespace terrace {

Status RemoteRegions::Add(std::uint32_t id, Region region) {
  const std::string name = "region " + std::to_string(id);
  if (id == 0) return Status::Invalid("region 0 is no region");
  if (region.length == 0) return Status::Invalid(name + " has no bytes");
  if (region.packed_key.size() > kKeyBytesMax) {
    return Status::Invalid(name + " has a key of " + std::to_string(region.packed_key.size()) +
                           " bytes, at most " + std::to_string(kKeyBytesMax));
  }
  if (region.base > std::numeric_limits<std::uint64_t>::max() - region.length) {
    return Status::Invalid(name + " ends beyond the address space");
  }
  if (regions_.size() >= regions_max_ && !regions_.contains(id)) {
    return Status(StatusCode::kRetry,
                  name + ": at most " + std::to_string(regions_max_) + " regions");
  }
  region.generation = next_generation_++;
  const std::uint64_t length = region.length;
  if (regions_.contains(id) && regions_[id].device != nullptr) --devices_;
  if (region.device != nullptr) ++devices_;
  regions_[id] = std::move(region);
  if (auto early = shared_early_.extract(id)) {
    if (early.mapped()->size() == length) regions_[id].shared = std::move(early.mapped());
  }
  return {};
}

void RemoteRegions::Share(std::uint32_t id, std::shared_ptr<SharedRegion> shared) {
  const auto found = regions_.find(id);
  if (found == regions_.end()) {
    if (shared_early_.size() < regions_max_) shared_early_[id] = std::move(shared);
  } else if (found->second.length == shared->size()) {
    found->second.shared = std::move(shared);
  }
}

void RemoteRegions::Remove(std::uint32_t id) {
  shared_early_.erase(id);
  const auto found = regions_.find(id);
  if (found == regions_.end()) return;
  if (found->second.device != nullptr) --devices_;
  regions_.erase(found);
}

void RemoteRegions::RemoveDevices() {
  std::erase_if(regions_, [](const auto& entry) { return entry.second.device != nullptr; });
  devices_ = 0;
}

const RemoteRegions::Region* RemoteRegions::Find(std::uint32_t id) const {
  const auto found = regions_.find(id);
  return found == regions_.end() ? nullptr : &found->second;
}

Result<std::vector<RemoteRegions::RemotePiece>> RemoteRegions::Resolve(
    std::span<const Piece> pieces, std::uint64_t block_bytes) const {
  std::vector<RemotePiece> result;
  result.reserve(pieces.size());
  std::uint64_t total = 0;
  std::uint32_t known = 0;
  const Region* region = nullptr;  // `known`: pieces of one region mostly follow each other
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const bool another = region == nullptr || piece.region != known;
    if (another) {
      known = piece.region;
      region = Find(piece.region);
    }
    if (region == nullptr) {
      return Status::Invalid("pieces[" + std::to_string(i) + "]: region " +
                             std::to_string(piece.region) + " is not registered");
    }
    // In this order nothing overflows, whatever the numbers are.
    if (piece.length == 0 || piece.offset > region->length ||
        piece.length > region->length - piece.offset) {
      return Status::Invalid("pieces[" + std::to_string(i) + "]: " + std::to_string(piece.length) +
                             " bytes at " + std::to_string(piece.offset) +
                             " are not inside region " + std::to_string(piece.region) + " of " +
                             std::to_string(region->length) + " bytes");
    }
    if (piece.length > block_bytes - total) {
      return Status::Invalid("pieces[" + std::to_string(i) + "] goes over the block's " +
                             std::to_string(block_bytes) + " bytes");
    }
    total += piece.length;
    const std::uint64_t address = region->base + piece.offset;
    if (!result.empty() && result.back().region == piece.region &&
        result.back().address + result.back().length == address) {
      result.back().length += piece.length;
    } else {
      result.push_back({address, piece.length, piece.region, region->shared.get(), piece.offset});
      result.back().device = region->device.get();
      if (another) {
        result.back().held = region->shared;
        result.back().held_device = region->device;
      }
    }
  }
  if (total != block_bytes) {
    return Status::Invalid("pieces have " + std::to_string(total) + " bytes, the block " +
                           std::to_string(block_bytes));
  }
  return result;
}

}  // namespace terrace
