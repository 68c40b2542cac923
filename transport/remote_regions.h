// RemoteRegions: the memory that one client registered, as its daemon knows it.
//
// Everything in it was said by the client. A piece is used only after Resolve has put it inside a
// region; what an address means is checked by the kernel (copy) or the NIC (rdma) alone.
// Thread: the reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/link.h"
#include "base/result.h"

namespace terrace {

class RemoteRegions {
 public:
  struct Region {
    std::uint64_t base = 0;    ///< address in the client
    std::uint64_t length = 0;  ///< bytes
    std::vector<std::byte> packed_key;
    std::uint64_t generation = 0;  ///< set by Add: another one for every registration
  };
  /// A piece in the client's address space.
  struct RemotePiece {
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    std::uint32_t region = 0;
  };

  explicit RemoteRegions(std::uint64_t regions_max) : regions_max_(regions_max) {}

  /// Also replaces. kInvalid: region 0, no bytes, or base + length overflows; kRetry: too many.
  Status Add(std::uint32_t id, Region region);
  void Remove(std::uint32_t id) { regions_.erase(id); }
  /// Null when unknown.
  [[nodiscard]] const Region* Find(std::uint32_t id) const;
  [[nodiscard]] std::size_t size() const noexcept { return regions_.size(); }

  /// Addresses of `pieces`, neighbours joined. kInvalid, naming the piece, when one lies outside
  /// its region or names none, or when together they are not `block_bytes` long.
  Result<std::vector<RemotePiece>> Resolve(std::span<const Piece> pieces,
                                           std::uint64_t block_bytes) const;

 private:
  const std::uint64_t regions_max_;
  std::uint64_t next_generation_ = 1;
  std::unordered_map<std::uint32_t, Region> regions_;
};

}  // namespace terrace
