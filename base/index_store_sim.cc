#include "base/index_store_sim.h"

namespace terrace {

void SimulatedIndexStore::Apply(std::span<const Change> changes, Entries& entries) {
  for (const Change& change : changes) {
    if (change.kind == Change::Kind::kPut) {
      entries.insert_or_assign(change.key, change.value);
    } else {
      entries.erase(change.key);
    }
  }
}

bool SimulatedIndexStore::Fails() {
  if (failures_left_ == 0) return false;
  --failures_left_;
  return true;
}

Status SimulatedIndexStore::Write(std::span<const Change> changes, bool durable) {
  if (Fails()) return {StatusCode::kIo, "simulated index store: made write fault"};
  Apply(changes, entries_);
  unsynced_.emplace_back(changes.begin(), changes.end());
  // As with a real log, syncing a batch syncs those before it.
  return durable ? Sync() : Status::Ok();
}

Status SimulatedIndexStore::Sync() {
  if (Fails()) return {StatusCode::kIo, "simulated index store: made sync fault"};
  for (const std::vector<Change>& batch : unsynced_) Apply(batch, synced_);
  unsynced_.clear();
  return Status::Ok();
}

Status SimulatedIndexStore::Scan(
    std::string_view prefix,
    const std::function<bool(std::string_view key, std::string_view value)>& visit) {
  for (auto at = entries_.lower_bound(prefix); at != entries_.end(); ++at) {
    if (!at->first.starts_with(prefix) || !visit(at->first, at->second)) break;
  }
  return Status::Ok();
}

void SimulatedIndexStore::Crash(Random& random) {
  const std::uint64_t kept = random.Below(unsynced_.size() + 1);
  for (std::uint64_t batch = 0; batch < kept; ++batch) Apply(unsynced_[batch], synced_);
  unsynced_.clear();
  entries_ = synced_;
}

}  // namespace terrace
