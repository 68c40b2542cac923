#include "client/regions/region_table.h"

#include <atomic>
#include <limits>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/signal.h"
#include "transport/shm/daemon_life.h"

namespace terrace {
namespace {

Status Unknown(std::uint32_t region) {
  return Status::Invalid("region " + std::to_string(region) + " is not registered");
}

Status InUse(std::uint32_t region, std::uint64_t uses, std::uint64_t doubts) {
  return {StatusCode::kRetry, "region " + std::to_string(region) + " is used by " +
                                  std::to_string(uses) + " calls in flight and " +
                                  std::to_string(doubts) + " in doubt"};
}

/// 0 when all have been used.
std::uint32_t NextId() {
  static std::atomic<std::uint64_t> last{0};
  const std::uint64_t id = ++last;
  return id <= std::numeric_limits<std::uint32_t>::max() ? static_cast<std::uint32_t>(id) : 0;
}

std::string BlockText(std::size_t block) { return "blocks[" + std::to_string(block) + "]"; }

}  // namespace

RegionUse::RegionUse(RegionUse&& other) noexcept
    : table_(std::exchange(other.table_, nullptr)),
      regions_(std::move(other.regions_)),
      doubt_(other.doubt_) {}

RegionUse& RegionUse::operator=(RegionUse&& other) noexcept {
  if (this != &other) {
    Release();
    table_ = std::exchange(other.table_, nullptr);
    regions_ = std::move(other.regions_);
    doubt_ = other.doubt_;
  }
  return *this;
}

void RegionUse::TurnToDoubt() {
  if (table_ == nullptr || doubt_) return;
  doubt_ = true;
  const std::lock_guard lock(table_->mutex_);
  for (const std::uint32_t region : regions_) {
    RegionTable::Entry& entry = table_->regions_.at(region);
    --entry.uses;
    ++entry.doubts;
  }
}

void RegionUse::Release() {
  RegionTable* table = std::exchange(table_, nullptr);
  if (table == nullptr) return;
  const std::lock_guard lock(table->mutex_);
  for (const std::uint32_t region : regions_) {
    RegionTable::Entry& entry = table->regions_.at(region);
    std::uint64_t& count = doubt_ ? entry.doubts : entry.uses;
    TERRACE_CHECK(count > 0);
    --count;
  }
  table->quieter_.notify_all();
}

Result<RegionTable::Region> RegionTable::Insert(std::span<std::byte> memory, RegionMemory owned) {
  const std::lock_guard lock(mutex_);
  if (regions_.size() >= kRegionsMax) {
    return Status(StatusCode::kRetry, std::to_string(regions_.size()) +
                                          " regions are registered: at most " +
                                          std::to_string(kRegionsMax) + " at once");
  }
  const std::uint32_t id = NextId();
  if (id == 0) return Status(StatusCode::kRetry, "this process has registered 2^32 regions");
  Entry& entry = regions_[id];
  entry.memory = memory;
  entry.owned = std::move(owned);
  return Region{id, entry.Memory()};
}

Status RegionTable::RefuseUse(const Entry& entry, std::uint32_t region, const std::string& named) {
  if (entry.doubts > 0) {
    return Status(StatusCode::kRetry,
                  named + ".region: region " + std::to_string(region) +
                      " is in doubt, a former call may still write into it: Quiesce it");
  }
  return Status(entry.access.code(), named + ".region: region " + std::to_string(region) + ": " +
                                         entry.access.message());
}

Status RegionTable::Check(const void* base, std::uint64_t length) {
  if (base == nullptr) return Status::Invalid("base is null");
  if (length == 0) return Status::Invalid("length is 0");
  if (length >
      std::numeric_limits<std::uintptr_t>::max() - reinterpret_cast<std::uintptr_t>(base)) {
    return Status::Invalid("length " + std::to_string(length) +
                           " reaches past the end of the address space");
  }
  return {};
}

Result<RegionTable::Region> RegionTable::Add(void* base, std::uint64_t length) {
  if (Status status = Check(base, length); !status.ok()) return status;
  return Insert({static_cast<std::byte*>(base), length}, {});
}

Result<RegionTable::Region> RegionTable::AddDevice(void* base, std::uint64_t length,
                                                   DeviceExport exported) {
  if (Status status = Check(base, length); !status.ok()) return status;
  Result<Region> region = Insert({static_cast<std::byte*>(base), length}, {});
  if (!region.ok()) return region;
  const std::lock_guard lock(mutex_);
  Entry& entry = regions_.at(region->id);
  entry.device = std::make_shared<const DeviceExport>(std::move(exported));
  entry.access = {StatusCode::kPeerDead, "the daemon has not mapped it"};
  return Region{region->id, entry.Memory()};
}

void RegionTable::SetAccess(std::uint32_t region, std::uint64_t epoch, Status access) {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(region);
  if (found == regions_.end() || found->second.removing || epoch < found->second.epoch) return;
  found->second.epoch = epoch;
  found->second.access = std::move(access);
}

void RegionTable::NoteDaemon(std::uint32_t region, std::shared_ptr<const DaemonProcess> daemon) {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(region);
  if (found == regions_.end()) return;
  std::erase_if(found->second.daemons,
                [&daemon](const auto& known) { return known->Exited() || known->IsSame(*daemon); });
  found->second.daemons.push_back(std::move(daemon));
}

std::vector<std::shared_ptr<const DaemonProcess>> RegionTable::DaemonsOf(std::uint32_t region,
                                                                         bool but_last) const {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(region);
  if (found == regions_.end()) return {};
  auto daemons = found->second.daemons;
  if (but_last && !daemons.empty()) daemons.pop_back();
  std::erase_if(daemons, [](const auto& daemon) { return daemon->Exited(); });
  return daemons;
}

Result<bool> RegionTable::BeginRemove(std::uint32_t region) {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(region);
  if (found == regions_.end()) return Unknown(region);
  Entry& entry = found->second;
  if (entry.device == nullptr) return false;
  if (entry.uses > 0 || entry.doubts > 0) return InUse(region, entry.uses, entry.doubts);
  entry.removing = true;
  entry.access = Status::Invalid("it is being deregistered");
  return true;
}

Result<RegionTable::Region> RegionTable::Add(RegionMemory memory) {
  const std::span<std::byte> bytes = memory.bytes();
  return Insert(bytes, std::move(memory));
}

Result<RegionMemory> RegionTable::Remove(std::uint32_t region) {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(region);
  if (found == regions_.end()) return Unknown(region);
  Entry& entry = found->second;
  if (entry.uses > 0 || entry.doubts > 0) {
    return InUse(region, entry.uses, entry.doubts);
  }
  RegionMemory owned = std::move(entry.owned);
  regions_.erase(found);
  return owned;
}

std::span<std::byte> RegionTable::Memory(std::uint32_t region) const {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(region);
  return found == regions_.end() ? std::span<std::byte>() : found->second.memory;
}

std::vector<RegionTable::Region> RegionTable::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<Region> all;
  all.reserve(regions_.size());
  for (const auto& [id, entry] : regions_) {
    if (!entry.removing) all.push_back({id, entry.Memory()});
  }
  return all;
}

Result<RegionUse> RegionTable::Use(std::span<const BlockBuffer> blocks, std::uint64_t block_bytes,
                                   std::vector<std::span<std::byte>>& memory) {
  std::vector<std::uint32_t> used;
  memory.reserve(memory.size() + blocks.size());
  const std::lock_guard lock(mutex_);
  const std::uint64_t call = ++calls_;
  std::uint32_t last = 0;
  Entry* entry = nullptr;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const BlockBuffer& block = blocks[i];
    if (entry == nullptr || block.region.value != last) {
      const auto found = regions_.find(block.region.value);
      if (found == regions_.end()) {
        return Status::Invalid(BlockText(i) + ".region: " + Unknown(block.region.value).message());
      }
      last = block.region.value;
      entry = &found->second;
      if (!MayUse(*entry)) return RefuseUse(*entry, last, BlockText(i));
      if (entry->last_call != call) {
        entry->last_call = call;
        used.push_back(last);
      }
    }
    // No overflow: the offset is compared before it is added.
    if (block.offset > entry->memory.size() || entry->memory.size() - block.offset < block_bytes) {
      return Status::Invalid(BlockText(i) + ": offset " + std::to_string(block.offset) + " and " +
                             std::to_string(block_bytes) + " block bytes reach past region " +
                             std::to_string(last) + " of " + std::to_string(entry->memory.size()) +
                             " bytes");
    }
    memory.push_back(entry->memory.subspan(block.offset, block_bytes));
  }
  // Counted only now: a refused call leaves no trace.
  for (const std::uint32_t region : used) ++regions_.at(region).uses;
  return RegionUse(this, std::move(used));
}

Status RegionTable::Quiesce(std::uint32_t region, Nanos deadline) {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto found = regions_.find(region);
    if (found == regions_.end()) return Unknown(region);
    const Entry& entry = found->second;
    if (entry.uses == 0 && entry.doubts == 0) return {};
    const std::string text = "region " + std::to_string(region) + " is still used by " +
                             std::to_string(entry.uses) + " calls and " +
                             std::to_string(entry.doubts) + " in doubt";
    if (SteadyClock().Now() >= deadline ||
        quieter_.wait_until(lock, TimePoint(deadline)) == std::cv_status::timeout) {
      const auto again = regions_.find(region);
      if (again != regions_.end() && again->second.uses == 0 && again->second.doubts == 0) {
        return {};
      }
      return {StatusCode::kTimeout, text};
    }
  }
}

}  // namespace terrace
