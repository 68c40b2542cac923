#include "transport/rdma/device_check.h"

#include <algorithm>
#include <utility>

#include "base/checksum.h"

namespace terrace {

Result<std::shared_ptr<DeviceCheck>> DeviceCheck::Make(std::shared_ptr<DeviceSource> source,
                                                       const FrameRange& range) {
  auto check = std::make_shared<DeviceCheck>();
  const RangeView view(source->memory(), range);
  if (const RangeView::Pieces own = view.OwnPieces(); own.count > 0) {
    const auto first = source->checksums().begin() + own.first;
    check->sums_.assign(first, first + own.count);
  } else if (Status cannot = check->PlanRange(view); !cannot.ok()) {
    return cannot;
  }
  check->source_ = std::move(source);
  check->PlanPieces(view);
  return check;
}

Status DeviceCheck::PlanRange(const RangeView& view) {
  for (std::uint64_t at = 0; at < view.size(); at += kChecksumPieceBytes) {
    const std::span<std::byte> together = view.From(at);
    const std::uint64_t bytes = std::min<std::uint64_t>(kChecksumPieceBytes, view.size() - at);
    const bool aligned =
        reinterpret_cast<std::uintptr_t>(together.data()) % DeviceCopier::Sum::kAlignment == 0;
    if (together.size() < bytes || (!aligned && bytes > DeviceCopier::Sum::kShortBytes)) {
      return {StatusCode::kUnsupported, "the GPU cannot sum such a range of a block"};
    }
    range_.push_back({.device = together.data(), .bytes = static_cast<std::uint32_t>(bytes)});
  }
  return {};
}

void DeviceCheck::PlanPieces(const RangeView& view) {
  const std::span<std::byte> block = view.frame();
  for (std::size_t at = 0, piece = 0; at < block.size(); at += kChecksumPieceBytes, ++piece) {
    const std::size_t bytes = std::min(kChecksumPieceBytes, block.size() - at);
    if (!view.Touches(at, at + bytes)) continue;
    pieces_.push_back({.device = &block[at], .bytes = static_cast<std::uint32_t>(bytes)});
    stored_.push_back(source_->checksums()[piece]);
  }
}

Task<void> DeviceCheck::Run(std::shared_ptr<DeviceCheck> check) {
  check->status_ = co_await check->Sum();
  check->source_.reset();
  check->ended_.Set();
}

Task<Status> DeviceCheck::Sum() {
  DeviceCopier& gpu = source_->copier();
  Status status = co_await SumAll(&gpu, &range_);
  // After the range: what changed in between is found by either.
  if (status.ok()) status = co_await SumAll(&gpu, &pieces_);
  if (!status.ok()) co_return status;
  for (const DeviceCopier::Sum& sum : range_) sums_.push_back(sum.checksum);
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    if (pieces_[i].checksum == stored_[i]) continue;
    co_return Status(StatusCode::kCorrupt, "the GPU has other bytes of the block than were put");
  }
  co_return Status();
}

Task<Status> DeviceCheck::SumAll(DeviceCopier* gpu, Sums* sums) {
  for (std::size_t at = 0; at < sums->size(); at += DeviceCopier::kSumsMax) {
    const std::size_t count = std::min(DeviceCopier::kSumsMax, sums->size() - at);
    Status status =
        co_await gpu->Copy(DeviceCopier::Way::kToDevice, {}, std::span(*sums).subspan(at, count));
    if (!status.ok()) co_return status;
  }
  co_return Status();
}

Task<Status> DeviceCheck::Await(Nanos deadline) {
  if (!co_await ended_.WaitUntil(deadline)) {
    co_return Status(StatusCode::kTimeout, "the GPU did not check the block before the deadline");
  }
  co_return status_;
}

}  // namespace terrace
