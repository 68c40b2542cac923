// SimulatedIndexStore: an IndexStore in memory that can lose power.
//
// Model. Batches are applied in order. Crash() is power loss: what was synced stays, of the batches
// since then any number of the newest goes. A killed process (kill -9) loses nothing, so it needs
// no call.
//
// Thread: one at a time. Memory: every entry, and the batches since the last sync.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/index_store.h"
#include "base/random.h"

namespace terrace {

class SimulatedIndexStore final : public IndexStore {
 public:
  Status Write(std::span<const Change> changes, bool durable) override;
  Status Sync() override;
  Status Scan(
      std::string_view prefix,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) override;

  /// Power loss, and power again.
  void Crash(Random& random);
  /// The next `calls` calls of Write and Sync answer kIo and do nothing.
  void FailNext(std::uint32_t calls) noexcept { failures_left_ = calls; }

  [[nodiscard]] std::size_t entries() const noexcept { return entries_.size(); }
  [[nodiscard]] std::size_t UnsyncedBatches() const noexcept { return unsynced_.size(); }

 private:
  using Entries = std::map<std::string, std::string, std::less<>>;
  static void Apply(std::span<const Change> changes, Entries& entries);
  bool Fails();

  Entries entries_;  ///< what is visible
  Entries synced_;   ///< what survives for certain
  std::vector<std::vector<Change>> unsynced_;
  std::uint32_t failures_left_ = 0;
};

}  // namespace terrace
