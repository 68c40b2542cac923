#include "base/device_sim.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/wait.h"

namespace terrace {

SimulatedDevice::SimulatedDevice(SimulatedDeviceOptions options, Random& random)
    : options_(std::move(options)), random_(random) {
  TERRACE_CHECK(options_.size_bytes > 0 && options_.size_bytes % kSectorBytes == 0);
  TERRACE_CHECK(options_.latency_min >= 0 && options_.latency_min <= options_.latency_max);
}

void SimulatedDevice::CheckRange(std::uint64_t offset, std::size_t length) const {
  TERRACE_CHECK(offset % kSectorBytes == 0 && length % kSectorBytes == 0);
  TERRACE_CHECK(length <= size() && offset <= size() - length);
}

Status SimulatedDevice::Lost(const char* what) const {
  return {StatusCode::kIo, "device " + name() + ": " + what + ": power was lost meanwhile"};
}

Nanos SimulatedDevice::Latency(std::size_t bytes) {
  const auto drawn =
      static_cast<Nanos>(random_.Between(static_cast<std::uint64_t>(options_.latency_min),
                                         static_cast<std::uint64_t>(options_.latency_max)));
  return drawn + options_.per_mebibyte * static_cast<Nanos>(bytes) / (1 << 20);
}

void SimulatedDevice::Peek(std::uint64_t offset, std::span<std::byte> destination) const {
  CheckRange(offset, destination.size());
  for (std::size_t at = 0; at < destination.size(); at += kSectorBytes) {
    const std::uint64_t sector = (offset + at) / kSectorBytes;
    const Sector* bytes = nullptr;
    if (const auto newer = unsynced_.find(sector); newer != unsynced_.end()) {
      bytes = newer->second.back().bytes.get();
    } else if (const auto older = synced_.find(sector); older != synced_.end()) {
      bytes = older->second.get();
    }
    if (bytes != nullptr) {
      std::memcpy(destination.data() + at, bytes->data(), kSectorBytes);
    } else {
      std::memset(destination.data() + at, 0, kSectorBytes);
    }
  }
}

Task<Status> SimulatedDevice::Read(std::uint64_t offset, std::span<std::byte> first,
                                   std::span<std::byte> second) {
  CheckRange(offset, first.size());
  CheckRange(offset + first.size(), second.size());
  const std::uint64_t epoch = crashes_;
  co_await SleepUntil{Scheduler::Current().Now() + Latency(first.size() + second.size())};
  if (crashes_ != epoch) co_return Lost("read");
  Peek(offset, first);
  Peek(offset + first.size(), second);
  co_return Status::Ok();
}

void SimulatedDevice::Apply(std::uint64_t sector, const std::byte* bytes) {
  auto copy = std::make_unique<Sector>();
  std::memcpy(copy->data(), bytes, kSectorBytes);
  unsynced_[sector].push_back({writes_done_, std::move(copy)});
}

template <typename Visit>
void SimulatedDevice::ForEachSector(const InFlight& write, const Visit& visit) {
  std::uint64_t sector = write.offset / kSectorBytes;
  for (const std::span<const std::byte> part : write.parts) {
    for (std::size_t at = 0; at < part.size(); at += kSectorBytes) visit(sector++, &part[at]);
  }
}

Task<Status> SimulatedDevice::Write(std::uint64_t offset, std::span<const std::byte> first,
                                    std::span<const std::byte> second) {
  CheckRange(offset, first.size());
  CheckRange(offset + first.size(), second.size());
  const std::uint64_t epoch = crashes_;
  const auto entry = writes_.insert(writes_.end(), {.offset = offset, .parts = {first, second}});
  co_await SleepUntil{Scheduler::Current().Now() + Latency(first.size() + second.size())};
  if (crashes_ != epoch) co_return Lost("write");  // Crash() took the entry away
  ++writes_done_;
  ForEachSector(*entry,
                [this](std::uint64_t sector, const std::byte* bytes) { Apply(sector, bytes); });
  writes_.erase(entry);
  co_return Status::Ok();
}

Task<Status> SimulatedDevice::Sync() {
  // Only what was written before the call is promised; what completes meanwhile may still go.
  const std::uint64_t through_write = writes_done_;
  const std::uint64_t epoch = crashes_;
  co_await SleepUntil{Scheduler::Current().Now() + Latency(0)};
  if (crashes_ != epoch) co_return Lost("sync");
  MakeDurable(through_write);
  co_return Status::Ok();
}

void SimulatedDevice::MakeDurable(std::uint64_t through_write) {
  for (auto at = unsynced_.begin(); at != unsynced_.end();) {
    std::vector<Version>& versions = at->second;
    const auto kept = std::ranges::find_if(
        versions, [&](const Version& version) { return version.write > through_write; });
    if (kept != versions.begin()) synced_[at->first] = std::move(std::prev(kept)->bytes);
    versions.erase(versions.begin(), kept);
    at = versions.empty() ? unsynced_.erase(at) : std::next(at);
  }
}

void SimulatedDevice::Crash() {
  ++crashes_;
  ++writes_done_;
  double survive = random_.Unit();
  if (random_.Chance(0.25)) survive = survive < 0.5 ? 0 : 1;
  for (const InFlight& write : writes_) {
    ForEachSector(write,
                  [this](std::uint64_t sector, const std::byte* bytes) { Apply(sector, bytes); });
  }
  writes_.clear();
  // In order of sectors: the order of a hash map must not decide what a seed does.
  std::vector<std::uint64_t> sectors;
  sectors.reserve(unsynced_.size());
  for (const auto& [sector, versions] : unsynced_) sectors.push_back(sector);
  std::ranges::sort(sectors);
  for (const std::uint64_t sector : sectors) {
    std::vector<Version>& versions = unsynced_[sector];
    if (!random_.Chance(survive)) continue;  // what was synced before remains
    synced_[sector] = std::move(versions[random_.Below(versions.size())].bytes);
  }
  unsynced_.clear();
}

}  // namespace terrace
