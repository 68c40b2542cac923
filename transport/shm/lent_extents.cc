#include "transport/shm/lent_extents.h"

#include <utility>

namespace terrace {

void LentExtents::Offer(std::uint32_t extent, std::uint32_t edition, int fd, std::uint64_t bytes) {
  auto memory = ExtentMapping::Map(fd, bytes);
  if (memory.ok()) extents_[extent] = {edition, std::move(memory.value())};
}

void LentExtents::HasDevicesOf(std::shared_ptr<const DaemonProcess> daemon) {
  session_ = std::make_shared<DeviceSession>();
  session_->daemon = std::move(daemon);
}

void LentExtents::OfferDevice(std::uint32_t extent, std::uint32_t edition, UniqueFd held,
                              const DeviceExport& exported, DeviceMapper& mapper) {
  extents_.erase(extent);
  auto mapping = mapper.Map(exported);
  if (!mapping.ok()) {
    // A daemon that lives has not freed what this client has an end of the pipe of.
    if (session_->Lives()) mapper.Refuse(exported.gpu, mapping.status());
    return;
  }
  extents_[extent] = {edition,
                      ExtentMapping::OfDevice(std::move(*mapping), std::move(held), session_)};
}

void LentExtents::End() {
  if (session_ != nullptr) session_->over = true;
  extents_.clear();
}

void LentExtents::Recall(std::uint32_t extent, std::uint32_t edition) {
  const auto found = extents_.find(extent);
  if (found != extents_.end() && found->second.edition == edition) extents_.erase(found);
}

bool LentExtents::Knows(const LentPlace& place) const {
  const auto found = extents_.find(place.extent);
  return found != extents_.end() && found->second.edition == place.edition;
}

std::unique_ptr<LentMemory> LentExtents::Take(const Loan& loan,
                                              const std::shared_ptr<SharedPage>& page) const {
  if (!Knows(loan.place)) {
    // It could not be mapped. The daemon need not keep the frame for it.
    LentMemory::GiveBack(page->layout(), loan.slot, loan.generation);
    return nullptr;
  }
  auto lent = LentMemory::Make(loan, page, extents_.at(loan.place.extent).memory);
  return lent.ok() ? std::move(lent.value()) : nullptr;
}

}  // namespace terrace
