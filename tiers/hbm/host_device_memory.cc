#include "tiers/hbm/host_device_memory.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checksum.h"
#include "base/scheduler.h"

namespace terrace {

HostDeviceMemory::HostDeviceMemory(HostDeviceOptions options) : options_(std::move(options)) {
  TERRACE_CHECK(options_.bytes_per_microsecond > 0 && options_.latency >= 0);
}

Result<DeviceSpace> HostDeviceMemory::Space() {
  if (!health_.ok()) return health_;
  const std::lock_guard lock(mutex_);
  return DeviceSpace{.total_bytes = options_.total_bytes,
                     .free_bytes = options_.total_bytes - allocated_};
}

Result<std::byte*> HostDeviceMemory::Allocate(std::uint64_t bytes) {
  if (!health_.ok()) return health_;
  return AllocateZeros(bytes);
}

Result<std::byte*> HostDeviceMemory::AllocateZeros(std::uint64_t bytes) {
  TERRACE_CHECK(bytes > 0);
  const std::lock_guard lock(mutex_);
  if (bytes > options_.total_bytes - allocated_) {
    return Status(StatusCode::kRetry,
                  name() + ": out of memory: " + std::to_string(bytes) + " bytes asked, " +
                      std::to_string(options_.total_bytes - allocated_) + " free");
  }
  auto memory = HostMemory::Make(bytes);
  if (!memory.ok()) return Status(memory.code(), name() + ": " + memory.status().message());
  std::byte* const first = memory->bytes().data();
  allocations_.emplace(first, std::move(*memory));
  allocated_ += bytes;
  return first;
}

void HostDeviceMemory::Forget(std::byte* memory) {
  const std::lock_guard lock(mutex_);
  const auto found = allocations_.find(memory);
  TERRACE_CHECK(found != allocations_.end());
  allocated_ -= found->second.bytes().size();
  allocations_.erase(found);
}

Status HostDeviceMemory::Free(std::byte* memory) {
  Forget(memory);
  return health_;
}

Result<std::byte*> HostDeviceMemory::Renew(std::byte* old, std::uint64_t bytes) {
  if (old != nullptr) Forget(old);
  if (fail_renewals_ > 0) {
    --fail_renewals_;
    return Status(StatusCode::kRetry, name() + ": out of memory, as a test wants it");
  }
  return AllocateZeros(bytes);
}

Result<DeviceExport> HostDeviceMemory::Export(std::span<const std::byte> memory) {
  const std::lock_guard lock(mutex_);
  const HostMemory* holder = Holder(allocations_, memory.data(), memory.size());
  if (memory.empty() || holder == nullptr) {
    return Status::Invalid(name() + ": these " + std::to_string(memory.size()) +
                           " bytes are no part of an allocation");
  }
  return DeviceExport{.gpu = uuid(),
                      .handle = holder->Handle(),
                      .offset = static_cast<std::uint64_t>(memory.data() - holder->bytes().data()),
                      .bytes = memory.size()};
}

Result<std::span<std::byte>> HostDeviceMemory::OpenExport(const DeviceExport& exported) {
  const auto wrong = [this](StatusCode code, const std::string& why) {
    return Status(code, name() + ": " + why);
  };
  if (Status status = CheckDeviceExport(exported); !status.ok()) {
    return wrong(status.code(), status.message());
  }
  if (exported.gpu != uuid()) {
    return wrong(StatusCode::kInvalid, "gpu " + exported.gpu + " is another than " + uuid());
  }
  if (options_.map_time > 0) {  // as a driver, on the thread of who maps
    std::mutex mutex;
    std::unique_lock nobody_wakes(mutex);
    (void)std::condition_variable().wait_for(nobody_wakes,
                                             std::chrono::nanoseconds(options_.map_time));
  }
  const std::lock_guard lock(mutex_);
  auto known = handles_.find(exported.handle);
  if (known == handles_.end()) {
    auto memory = HostMemory::Open(exported.handle);
    if (!memory.ok()) return wrong(memory.code(), memory.status().message());
    const std::byte* const first = memory->bytes().data();
    opened_.emplace(first, std::move(*memory));
    known = handles_.emplace(exported.handle, Opened{.first = first}).first;
  }
  const HostMemory& memory = opened_.at(known->second.first);
  if (exported.offset + exported.bytes > memory.bytes().size()) {
    Status status = wrong(StatusCode::kInvalid, "length " + std::to_string(exported.bytes) +
                                                    " from " + std::to_string(exported.offset) +
                                                    " on, and the allocation has " +
                                                    std::to_string(memory.bytes().size()));
    if (known->second.count == 0) {
      opened_.erase(known->second.first);
      handles_.erase(known);
    }
    return status;
  }
  ++known->second.count;
  return memory.bytes().subspan(exported.offset, exported.bytes);
}

void HostDeviceMemory::CloseExport(std::span<std::byte> memory) {
  const std::lock_guard lock(mutex_);
  const HostMemory* holder = Holder(opened_, memory.data(), memory.size());
  TERRACE_CHECK(holder != nullptr);
  const std::byte* const first = holder->bytes().data();
  const auto known = std::ranges::find_if(
      handles_, [first](const auto& entry) { return entry.second.first == first; });
  if (--known->second.count > 0) return;
  opened_.erase(first);
  handles_.erase(known);
}

std::size_t HostDeviceMemory::mapped() const {
  const std::lock_guard lock(mutex_);
  return opened_.size();
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

const HostMemory* HostDeviceMemory::Holder(const Allocations& allocations, const std::byte* at,
                                           std::size_t bytes) {
  auto next = allocations.upper_bound(at);
  if (next == allocations.begin()) return nullptr;
  const auto& [first, memory] = *std::prev(next);
  const auto offset = static_cast<std::size_t>(at - first);
  const std::size_t size = memory.bytes().size();
  return offset <= size && bytes <= size - offset ? &memory : nullptr;
}

bool HostDeviceMemory::OnDevice(const std::byte* at, std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  return Holder(allocations_, at, bytes) != nullptr || Holder(opened_, at, bytes) != nullptr;
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
  if (Hangs() || (health_.ok() && Scheduler::Current().Now() < batch.due)) return std::nullopt;
  batch.used = false;
  if (!health_.ok()) return health_;
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
  const std::lock_guard lock(mutex_);
  for (const auto& [first, memory] : allocations_) {
    for (std::size_t at = 0; at < memory.bytes().size(); at += kPage) {
      memory.bytes()[at] ^= std::byte{2};
    }
  }
}

std::size_t HostDeviceMemory::in_flight() const noexcept {
  return static_cast<std::size_t>(std::ranges::count(slots_, true, &Slot::used));
}

}  // namespace terrace
