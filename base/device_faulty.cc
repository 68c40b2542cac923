#include "base/device_faulty.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "base/wait.h"

namespace terrace {

namespace {

constexpr std::array<std::string_view, kDeviceFaultCount> kNames = {
    "read_error",        "write_error",  "sync_error",    "short_read",
    "short_write",       "flipped_read", "flipped_write", "misdirected_read",
    "misdirected_write", "lost_write",   "delay",
};

struct FreeBytes {
  void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
};

}  // namespace

std::string_view DeviceFaultName(DeviceFault fault) noexcept {
  const auto index = static_cast<std::size_t>(fault);
  return index < kNames.size() ? kNames[index] : "unknown";
}

bool FaultyDevice::Draw(DeviceFault fault, std::uint64_t offset, std::uint64_t length) {
  const auto index = static_cast<std::size_t>(fault);
  const DeviceFaultRate& rate = options_.rates[index];
  if (rate.probability <= 0) return false;
  // Drawn also while disabled or used up, so that switching faults off leaves the numbers alone.
  const bool drawn = random_.Chance(rate.probability);
  if (!drawn || !enabled_ || counts_[index] >= rate.times_max) return false;
  ++counts_[index];
  if (notes_.size() == kNotesMax) notes_full_ = true;
  if (!notes_full_) notes_.push_back({.fault = fault, .offset = offset, .length = length});
  return true;
}

std::uint64_t FaultyDevice::OtherOffset(std::uint64_t length) {
  const std::uint64_t places = (size() - length) / alignment() + 1;
  const std::uint64_t other = random_.Below(places) * alignment();
  if (!notes_full_) notes_.back().other_offset = other;
  return other;
}

std::size_t FaultyDevice::Part(std::size_t length) {
  return random_.Below(length / alignment() + 1) * alignment();
}

void FaultyDevice::FlipBit(std::span<std::byte> bytes) {
  if (bytes.empty()) return;
  const std::uint64_t bit = random_.Below(bytes.size() * 8);
  bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
}

Status FaultyDevice::Failed(DeviceFault fault, std::uint64_t offset) const {
  return {StatusCode::kIo, "device " + name() + ": made fault " +
                               std::string(DeviceFaultName(fault)) + " at " +
                               std::to_string(offset)};
}

Task<Status> FaultyDevice::Read(std::uint64_t offset, std::span<std::byte> destination) {
  if (Draw(DeviceFault::kDelay, offset, destination.size())) {
    co_await SleepUntil{Scheduler::Current().Now() + options_.delay};
  }
  if (Draw(DeviceFault::kReadError, offset, destination.size())) {
    std::ranges::fill(destination, std::byte{0xee});
    co_return Failed(DeviceFault::kReadError, offset);
  }
  if (Draw(DeviceFault::kShortRead, offset, destination.size())) {
    const Status read = co_await device_.Read(offset, destination.first(Part(destination.size())));
    co_return read.ok() ? Failed(DeviceFault::kShortRead, offset) : read;
  }
  if (Draw(DeviceFault::kMisdirectedRead, offset, destination.size())) {
    co_return co_await device_.Read(OtherOffset(destination.size()), destination);
  }
  const bool flip = Draw(DeviceFault::kFlippedRead, offset, destination.size());
  Status read = co_await device_.Read(offset, destination);
  if (flip && read.ok()) FlipBit(destination);
  co_return read;
}

Task<Status> FaultyDevice::WriteFlipped(std::uint64_t offset, std::span<const std::byte> source) {
  const std::unique_ptr<std::byte, FreeBytes> copy(
      static_cast<std::byte*>(std::aligned_alloc(alignment(), source.size())));
  if (copy == nullptr) {
    co_return Status(StatusCode::kIo, "device " + name() + ": no memory to make a fault");
  }
  std::memcpy(copy.get(), source.data(), source.size());
  FlipBit({copy.get(), source.size()});
  co_return co_await device_.Write(offset, {copy.get(), source.size()});
}

Task<Status> FaultyDevice::Write(std::uint64_t offset, std::span<const std::byte> source) {
  if (Draw(DeviceFault::kDelay, offset, source.size())) {
    co_await SleepUntil{Scheduler::Current().Now() + options_.delay};
  }
  if (Draw(DeviceFault::kWriteError, offset, source.size())) {
    co_return Failed(DeviceFault::kWriteError, offset);
  }
  if (Draw(DeviceFault::kShortWrite, offset, source.size())) {
    const Status written = co_await device_.Write(offset, source.first(Part(source.size())));
    co_return written.ok() ? Failed(DeviceFault::kShortWrite, offset) : written;
  }
  if (Draw(DeviceFault::kLostWrite, offset, source.size())) co_return Status::Ok();
  if (Draw(DeviceFault::kMisdirectedWrite, offset, source.size())) {
    co_return co_await device_.Write(OtherOffset(source.size()), source);
  }
  if (Draw(DeviceFault::kFlippedWrite, offset, source.size())) {
    co_return co_await WriteFlipped(offset, source);
  }
  co_return co_await device_.Write(offset, source);
}

Task<Status> FaultyDevice::Sync() {
  if (Draw(DeviceFault::kDelay, 0, 0)) {
    co_await SleepUntil{Scheduler::Current().Now() + options_.delay};
  }
  if (Draw(DeviceFault::kSyncError, 0, 0)) co_return Failed(DeviceFault::kSyncError, 0);
  co_return co_await device_.Sync();
}

}  // namespace terrace
