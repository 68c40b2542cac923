#include "cache/device_copies.h"

#include <utility>

#include "base/check.h"
#include "base/counter.h"

namespace terrace {

const DeviceCopier* HbmBlock::GpuWith(const HbmSide& side, BlockId id) {
  return side.Holds(id) ? side.copies.at(id)->tier : nullptr;
}

std::shared_ptr<HbmBlock> HbmBlock::Begin(HbmSide& side, BlockId id) {
  auto copy = side.BeginRead(id);
  if (copy == nullptr) return nullptr;
  return std::make_shared<HbmBlock>(side, std::move(copy));
}

bool HbmBlock::MayLend(const HbmSide& side, BlockId id, std::string_view gpu) {
  if (!side.Holds(id)) return false;
  const HbmSide::Copy& copy = *side.copies.at(id);
  return copy.lendable && copy.tier->device().uuid() == gpu;
}

Hold HbmBlock::Lend() {
  TERRACE_CHECK(lendable() && lent_ == nullptr);
  lent_ = shared_from_this();
  return {copy_->tier->Memory(copy_->frame, bytes()), this, 0};
}

void HbmBlock::Release(std::uint64_t /*token*/) noexcept {
  const std::shared_ptr<HbmBlock> last = std::move(lent_);
}

void HbmBlock::GiveUp(StatusCode why) {
  Count(side_.cache.counters.hbm_failures);
  // What arrived was wrong, or failed to; of the last copy a read to DRAM tells whether it is good.
  if (copy_->dropped || side_.IsLast(copy_->id)) return;
  side_.GiveUp(copy_->id, why == StatusCode::kCorrupt ? EventCause::kCorrupt : EventCause::kLost);
}

}  // namespace terrace
