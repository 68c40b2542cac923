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
  return copy.lendable && copy.tier->device().uuid() == gpu && !side.IsSlow(*copy.tier);
}

Task<Status> HbmBlock::Check(const GetRequest& request, Nanos deadline) {
  auto check = std::make_shared<HbmSide::Check>();
  check->tier = copy_->tier;
  check->request = &request;
  side_.checks.push_back(check);
  side_.background.Spawn(RunCheck(shared_from_this(), check));
  if (co_await check->ended.WaitUntil(deadline)) co_return check->status;
  check->late = true;
  co_return Status(StatusCode::kTimeout, "the GPU did not check the block in time");
}

Task<void> HbmBlock::RunCheck(std::shared_ptr<HbmBlock> block,
                              std::shared_ptr<HbmSide::Check> check) {
  const HbmSide::Copy& copy = *block->copy_;
  const Status status = co_await copy.tier->Check(copy.frame, block->bytes(), copy.checksums);
  std::erase(block->side_.checks, check);
  if (status.code() == StatusCode::kCorrupt || status.code() == StatusCode::kIo) {
    block->GiveUp(status.code());
  }
  if (check->ended.IsSet()) co_return;
  check->status = status;
  check->ended.Set();
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
  if (why == StatusCode::kCorrupt) side_.EndLoans(*copy_);
  // What arrived was wrong, or failed to; of the last copy a read to DRAM tells whether it is good.
  if (copy_->dropped || side_.IsLast(copy_->id)) return;
  side_.GiveUp(copy_->id, why == StatusCode::kCorrupt ? EventCause::kCorrupt : EventCause::kLost);
}

}  // namespace terrace
