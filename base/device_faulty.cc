#include "base/device_faulty.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "base/wait.h"

namespace terrace {

namespace {

constexpr std::array<std::string_view, kDeviceFaultCount> kFaultNames = {
    "read_error",        "write_error",  "sync_error",    "short_read",
    "short_write",       "flipped_read", "flipped_write", "misdirected_read",
    "misdirected_write", "lost_write",   "stale_read",    "delay",
};

}  // namespace

void FaultyDevice::FreeBytes::operator()(std::byte* bytes) const noexcept { std::free(bytes); }

FaultyDevice::Bytes FaultyDevice::Allocate(std::size_t length) const {
  return Bytes(static_cast<std::byte*>(std::aligned_alloc(alignment(), length)));
}

std::string_view DeviceFaultName(DeviceFault fault) noexcept {
  const auto index = static_cast<std::size_t>(fault);
  return index < kFaultNames.size() ? kFaultNames[index] : "unknown";
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

void FaultyDevice::FlipBit(std::span<std::byte> first, std::span<std::byte> second) {
  if (first.empty() && second.empty()) return;
  const std::uint64_t bit = random_.Below((first.size() + second.size()) * 8);
  const std::uint64_t at = bit / 8;
  std::byte& hit = at < first.size() ? first[at] : second[at - first.size()];
  hit ^= static_cast<std::byte>(1U << (bit % 8));
}

Status FaultyDevice::Failed(DeviceFault fault, std::uint64_t offset) const {
  return {StatusCode::kIo, "device " + name() + ": made fault " +
                               std::string(DeviceFaultName(fault)) + " at " +
                               std::to_string(offset)};
}

Task<Status> FaultyDevice::Read(std::uint64_t offset, std::span<std::byte> first,
                                std::span<std::byte> second) {
  const std::size_t length = first.size() + second.size();
  if (Draw(DeviceFault::kDelay, offset, length)) {
    co_await SleepUntil{Scheduler::Current().Now() + options_.delay};
  }
  if (Draw(DeviceFault::kReadError, offset, length)) {
    std::ranges::fill(first, std::byte{0xee});
    std::ranges::fill(second, std::byte{0xee});
    co_return Failed(DeviceFault::kReadError, offset);
  }
  if (Draw(DeviceFault::kShortRead, offset, length)) {
    const std::size_t part = Part(length);
    const std::size_t part_of_first = std::min(part, first.size());
    const Status read = co_await device_.Read(offset, first.first(part_of_first),
                                              second.first(part - part_of_first));
    co_return read.ok() ? Failed(DeviceFault::kShortRead, offset) : read;
  }
  if (Draw(DeviceFault::kMisdirectedRead, offset, length)) {
    co_return co_await device_.Read(OtherOffset(length), first, second);
  }
  const Overwritten stale = TakeOverwritten(offset, length);
  const bool flip = Draw(DeviceFault::kFlippedRead, offset, length);
  Status read = co_await device_.Read(offset, first, second);
  if (stale.bytes != nullptr && read.ok()) {
    for (std::size_t i = 0; i < length; ++i) {
      const std::uint64_t at = offset + i - stale.offset;  // wraps below the start
      if (at >= stale.length) continue;
      (i < first.size() ? first[i] : second[i - first.size()]) = stale.bytes[at];
    }
  }
  if (flip && read.ok()) FlipBit(first, second);
  co_return read;
}

Task<void> FaultyDevice::Remember(std::uint64_t offset, std::size_t length) {
  Overwritten old{.offset = offset, .length = length, .bytes = Allocate(length)};
  if (old.bytes == nullptr) co_return;
  const Status read = co_await device_.Read(offset, std::span(old.bytes.get(), length));
  if (!read.ok()) co_return;
  overwritten_.push_back(std::move(old));
  if (overwritten_.size() > kOverwrittenMax) overwritten_.pop_front();
}

FaultyDevice::Overwritten FaultyDevice::TakeOverwritten(std::uint64_t offset, std::size_t length) {
  for (auto old = overwritten_.rbegin(); old != overwritten_.rend(); ++old) {
    if (old->offset >= offset + length || offset >= old->offset + old->length) continue;
    if (!Draw(DeviceFault::kStaleRead, offset, length)) break;
    Overwritten taken = std::move(*old);
    overwritten_.erase(std::next(old).base());
    return taken;
  }
  return {};
}

Task<Status> FaultyDevice::WriteFlipped(std::uint64_t offset, std::span<const std::byte> first,
                                        std::span<const std::byte> second) {
  const std::size_t length = first.size() + second.size();
  const Bytes copy = Allocate(length);
  if (copy == nullptr) {
    co_return Status(StatusCode::kIo, "device " + name() + ": no memory to make a fault");
  }
  const std::span<std::byte> flipped(copy.get(), length);
  std::ranges::copy(first, flipped.begin());
  std::ranges::copy(second, flipped.subspan(first.size()).begin());
  FlipBit(flipped, {});
  co_return co_await device_.Write(offset, flipped.first(first.size()),
                                   flipped.subspan(first.size()));
}

Task<Status> FaultyDevice::Write(std::uint64_t offset, std::span<const std::byte> first,
                                 std::span<const std::byte> second) {
  const std::size_t length = first.size() + second.size();
  if (Draw(DeviceFault::kDelay, offset, length)) {
    co_await SleepUntil{Scheduler::Current().Now() + options_.delay};
  }
  if (Draw(DeviceFault::kWriteError, offset, length)) {
    co_return Failed(DeviceFault::kWriteError, offset);
  }
  if (Draw(DeviceFault::kShortWrite, offset, length)) {
    const std::size_t part = Part(length);
    const std::size_t part_of_first = std::min(part, first.size());
    const Status written = co_await device_.Write(offset, first.first(part_of_first),
                                                  second.first(part - part_of_first));
    co_return written.ok() ? Failed(DeviceFault::kShortWrite, offset) : written;
  }
  if (Draw(DeviceFault::kLostWrite, offset, length)) co_return Status::Ok();
  const auto stale = static_cast<std::size_t>(DeviceFault::kStaleRead);
  if (options_.rates[stale].probability > 0) co_await Remember(offset, length);
  if (Draw(DeviceFault::kMisdirectedWrite, offset, length)) {
    co_return co_await device_.Write(OtherOffset(length), first, second);
  }
  if (Draw(DeviceFault::kFlippedWrite, offset, length)) {
    co_return co_await WriteFlipped(offset, first, second);
  }
  co_return co_await device_.Write(offset, first, second);
}

Task<Status> FaultyDevice::Sync() {
  if (Draw(DeviceFault::kDelay, 0, 0)) {
    co_await SleepUntil{Scheduler::Current().Now() + options_.delay};
  }
  if (Draw(DeviceFault::kSyncError, 0, 0)) co_return Failed(DeviceFault::kSyncError, 0);
  co_return co_await device_.Sync();
}

}  // namespace terrace
