// RemoteRegions: the memory that one client registered, as its daemon knows it.
//
// Everything in it was said by the client. A piece is used only after Resolve has put it inside a
// region; what an address means is checked by the kernel (copy) or the NIC (rdma) alone.
// Thread: the reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/device_region.h"
#include "base/link.h"
#include "base/result.h"
#include "transport/shm/shared_region.h"

namespace terrace {

class RemoteRegions {
 public:
  struct Region {
    std::uint64_t base = 0;    ///< address in the client
    std::uint64_t length = 0;  ///< bytes
    std::vector<std::byte> packed_key;
    std::shared_ptr<SharedRegion> shared;  ///< its memory here, if the client shares it
    std::shared_ptr<DeviceRegion>
        device{};                  ///< it is memory of a GPU, mapped; `base` means nothing
    std::uint64_t generation = 0;  ///< set by Add: another one for every registration
  };
  /// A piece in the client's address space.
  struct RemotePiece {
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    std::uint32_t region = 0;
    SharedRegion* shared = nullptr;  ///< or the memory of the region
    std::uint64_t offset = 0;        ///< in the region
    /// Of `shared`, for all the pieces that Resolve gave: with the first of each run of one region,
    /// as there may be thousands.
    std::shared_ptr<SharedRegion> held{};
    /// Likewise; null: `address` is of the client's own memory.
    DeviceRegion* device = nullptr;
    std::shared_ptr<DeviceRegion> held_device{};
  };

  explicit RemoteRegions(std::uint64_t regions_max) : regions_max_(regions_max) {}

  /// Longest key of a region, bytes. UCX packs one of each memory domain: some 100 bytes.
  static constexpr std::size_t kKeyBytesMax = 4096;
  /// Also replaces. kInvalid: region 0, no bytes, base + length overflows, or too long a key;
  /// kRetry: too many.
  Status Add(std::uint32_t id, Region region);
  /// The memory of a region that is registered already, or will be: kept until then, for at most
  /// `regions_max` regions. Not used when its length is another.
  void Share(std::uint32_t id, std::shared_ptr<SharedRegion> shared);
  /// Its memory is let go of, also when it was shared and not registered.
  void Remove(std::uint32_t id);
  /// Regions of GPUs are unmapped, once nothing uses them.
  void RemoveDevices();
  [[nodiscard]] bool has_devices() const noexcept { return devices_ > 0; }
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
  std::size_t devices_ = 0;  // among regions_
  std::unordered_map<std::uint32_t, Region> regions_;
  std::unordered_map<std::uint32_t, std::shared_ptr<SharedRegion>> shared_early_;
};

}  // namespace terrace
