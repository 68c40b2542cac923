#include "tiers/hbm/host_device_memory.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/scheduler.h"

namespace terrace {
namespace {

constexpr std::uint64_t kAlignment = 256;  // of an allocation, as CUDA's

}  // namespace

HostDeviceMemory::HostDeviceMemory(HostDeviceOptions options) : options_(std::move(options)) {
  TERRACE_CHECK(options_.bytes_per_microsecond > 0 && options_.latency >= 0);
}

Result<DeviceSpace> HostDeviceMemory::Space() {
  if (!health_.ok()) return health_;
  return DeviceSpace{.total_bytes = options_.total_bytes,
                     .free_bytes = options_.total_bytes - allocated_};
}

Result<std::byte*> HostDeviceMemory::Allocate(std::uint64_t bytes) {
  if (!health_.ok()) return health_;
  TERRACE_CHECK(bytes > 0);
  if (bytes > options_.total_bytes - allocated_) {
    return Status(StatusCode::kRetry,
                  name() + ": out of memory: " + std::to_string(bytes) + " bytes asked, " +
                      std::to_string(options_.total_bytes - allocated_) + " free");
  }
  auto memory = std::make_unique<std::byte[]>(bytes + kAlignment);
  const auto address = reinterpret_cast<std::uintptr_t>(memory.get());
  std::byte* const aligned = memory.get() + (kAlignment - address % kAlignment) % kAlignment;
  allocations_[aligned] = {.memory = std::move(memory), .bytes = bytes};
  allocated_ += bytes;
  return aligned;
}

Status HostDeviceMemory::Free(std::byte* memory) {
  const auto found = allocations_.find(memory);
  TERRACE_CHECK(found != allocations_.end());
  allocated_ -= found->second.bytes;
  allocations_.erase(found);
  return health_;
}

Status HostDeviceMemory::PinHost(std::span<std::byte> memory) {
  if (memory.empty()) return Status::Invalid(name() + ": no memory to pin");
  if (fail_pins_ > 0) {
    --fail_pins_;
    return {StatusCode::kRetry, name() + ": no more memory can be pinned"};
  }
  const std::lock_guard lock(mutex_);
  ++pins_;
  if (!pinned_.try_emplace(memory.data(), memory.size()).second) {
    return Status::Invalid(name() + ": this memory is pinned already");
  }
  return {};
}

Status HostDeviceMemory::UnpinHost(std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  TERRACE_CHECK(pinned_.erase(memory.data()) == 1);
  return {};
}

bool HostDeviceMemory::OnDevice(const std::byte* at, std::size_t bytes) const {
  auto next = allocations_.upper_bound(at);
  if (next == allocations_.begin()) return false;
  const auto& [first, allocation] = *std::prev(next);
  const auto offset = static_cast<std::uint64_t>(at - first);
  return offset <= allocation.bytes && bytes <= allocation.bytes - offset;
}

bool HostDeviceMemory::OnPinnedHost(const std::byte* at, std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  auto next = pinned_.upper_bound(at);
  if (next == pinned_.begin()) return false;
  const auto& [first, length] = *std::prev(next);
  const auto offset = static_cast<std::size_t>(at - first);
  return offset <= length && bytes <= length - offset;
}

Status HostDeviceMemory::CheckPlaces(const CopyBatch& batch) const {
  const bool to_host = batch.direction == CopyDirection::kOut;
  const bool from_host = batch.direction == CopyDirection::kIn;
  for (std::size_t i = 0; i < batch.copies.size(); ++i) {
    const DeviceCopy& copy = batch.copies[i];
    const bool to = to_host ? OnPinnedHost(copy.to, copy.bytes) : OnDevice(copy.to, copy.bytes);
    const bool from =
        from_host ? OnPinnedHost(copy.from, copy.bytes) : OnDevice(copy.from, copy.bytes);
    if (to && from) continue;
    return Status::Invalid(name() + ": copies[" + std::to_string(i) + "]: its " +
                           (to ? "source" : "destination") +
                           " is neither pinned nor of this device");
  }
  for (std::size_t i = 0; i < batch.pieces.size(); ++i) {
    const DevicePiece& piece = batch.pieces[i];
    if (OnDevice(piece.at, piece.bytes)) continue;
    return Status::Invalid(name() + ": pieces[" + std::to_string(i) + "] is not of this device");
  }
  return {};
}

Result<std::size_t> HostDeviceMemory::Submit(const CopyBatch& batch) {
  if (!health_.ok()) return health_;
  TERRACE_CHECK(batch.copies.size() <= CopyBatch::kCopiesMax &&
                batch.pieces.size() <= CopyBatch::kPiecesMax);
  if (Status wrong = CheckPlaces(batch); !wrong.ok()) return wrong;
  const auto slot = std::ranges::find(slots_, false, &Slot::used);
  if (slot == slots_.end()) {
    return Status(StatusCode::kRetry, name() + ": too many batches in flight");
  }
  std::uint64_t bytes = 0;
  for (const DeviceCopy& copy : batch.copies) bytes += copy.bytes;
  Nanos& lane_free = lane_free_[static_cast<std::size_t>(batch.direction) * kCopyUrgencies +
                                static_cast<std::size_t>(batch.urgency)];
  const Nanos start = std::max(lane_free, Scheduler::Current().Now());
  lane_free = start + options_.latency +
              static_cast<Nanos>(bytes * kMicrosecond / options_.bytes_per_microsecond);
  *slot = {.used = true,
           .due = lane_free,
           .corrupt = !batch.copies.empty() && corrupt_ > 0,
           .fails = fail_ > 0,
           .copies = {batch.copies.begin(), batch.copies.end()},
           .pieces = {batch.pieces.begin(), batch.pieces.end()}};
  if (slot->corrupt) --corrupt_;
  if (slot->fails) --fail_;
  ++submitted_;
  return static_cast<std::size_t>(slot - slots_.begin());
}

std::optional<Status> HostDeviceMemory::Poll(std::size_t slot, std::span<std::uint64_t> checksums) {
  Slot& batch = slots_[slot];
  TERRACE_CHECK(batch.used && checksums.size() == batch.pieces.size());
  if (!health_.ok()) {
    batch.used = false;
    return health_;
  }
  if (hangs_ || Scheduler::Current().Now() < batch.due) return std::nullopt;
  batch.used = false;
  if (batch.fails) return Status(StatusCode::kIo, name() + ": the batch failed");
  for (const DeviceCopy& copy : batch.copies) std::memcpy(copy.to, copy.from, copy.bytes);
  if (batch.corrupt) batch.copies.front().to[batch.copies.front().bytes / 2] ^= std::byte{0x40};
  for (std::size_t i = 0; i < checksums.size(); ++i) {
    checksums[i] = Checksum64({batch.pieces[i].at, batch.pieces[i].bytes});
  }
  return Status();
}

void HostDeviceMemory::Lose(std::string why) {
  if (health_.ok()) health_ = {StatusCode::kIo, name() + ": " + std::move(why)};
}

void HostDeviceMemory::Rot() noexcept {
  constexpr std::uint64_t kPage = 4096;
  for (const auto& [first, allocation] : allocations_) {
    std::byte* const bytes = allocation.memory.get() + (first - allocation.memory.get());
    for (std::uint64_t at = 0; at < allocation.bytes; at += kPage) bytes[at] ^= std::byte{2};
  }
}

std::size_t HostDeviceMemory::in_flight() const noexcept {
  return static_cast<std::size_t>(std::ranges::count(slots_, true, &Slot::used));
}

}  // namespace terrace
