// LentExtents: the extents of the daemon's that a client has mapped, by number and edition: memory
// of the host, and of GPUs.
//
// An extent that comes again with another edition is other memory; what was lent of the older one
// keeps its mapping for itself. Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/link.h"
#include "transport/shm/lent_memory.h"
#include "transport/shm/shared_page.h"

namespace terrace {

class LentExtents {
 public:
  /// Maps `bytes` of `fd`. One that cannot be mapped stays unknown.
  void Offer(std::uint32_t extent, std::uint32_t edition, int fd, std::uint64_t bytes);
  /// The same of memory of a GPU: maps it by `mapper`, which keeps the reason of one that cannot
  /// be. `held` is closed when nothing of it is mapped any more. REQUIRES: extent >=
  /// kDeviceExtentFirst.
  void OfferDevice(std::uint32_t extent, std::uint32_t edition, UniqueFd held,
                   const DeviceExport& exported, DeviceMapper& mapper);
  /// Whose memory of GPUs is offered from now on. Once; before OfferDevice.
  void HasDevicesOf(std::shared_ptr<const DaemonProcess> daemon);
  [[nodiscard]] bool has_devices() const noexcept { return session_ != nullptr; }
  /// The connection has ended: who still reads memory of GPUs finds out, and the rest is unmapped.
  void End();
  /// Lets go of it, unless it has another edition by now. Whoever still reads what was lent of it
  /// keeps the mapping until then.
  void Recall(std::uint32_t extent, std::uint32_t edition);
  [[nodiscard]] bool Knows(const LentPlace& place) const;
  /// The memory of a loan; null, and given back, when its extent is not known or it does not lie
  /// there. REQUIRES: loan.slot < kLeaseSlots.
  [[nodiscard]] std::unique_ptr<LentMemory> Take(const Loan& loan,
                                                 const std::shared_ptr<SharedPage>& page) const;

 private:
  struct Extent {
    std::uint32_t edition = 0;
    std::shared_ptr<const ExtentMapping> memory;
  };
  std::unordered_map<std::uint32_t, Extent> extents_;
  std::shared_ptr<DeviceSession> session_;  ///< null: no memory of a GPU was offered
};

}  // namespace terrace
