// RequestTracker: which requests of one client are open, which transfers move their bytes, and
// when a cancelled one is quiet.
//
// A request is open from its arrival to its reply. A transfer belongs to a request, open or not.
// Thread: the reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <utility>

namespace terrace {

class RequestTracker {
 public:
  /// `on_quiet(id)`: no transfer of the cancelled request `id` runs any more, and none begins.
  explicit RequestTracker(std::function<void(std::uint64_t)> on_quiet)
      : on_quiet_(std::move(on_quiet)) {}
  /// `on_still(id)`: the last transfer of `id` that ran has ended; before on_quiet. Empty: nobody.
  void OnStill(std::function<void(std::uint64_t)> on_still) { on_still_ = std::move(on_still); }

  enum class Opened { kYes, kTwice, kTooMany };
  Opened Open(std::uint64_t id) {
    if (entries_.size() >= kRequestsMax && !entries_.contains(id)) return Opened::kTooMany;
    Entry& entry = entries_[id];
    if (entry.open) return Opened::kTwice;
    entry.open = true;
    return Opened::kYes;
  }
  /// The request's reply goes out.
  void Close(std::uint64_t id) {
    const auto found = entries_.find(id);
    if (found == entries_.end()) return;
    found->second.open = false;
    Prune(found);
  }

  /// False: the request was cancelled, the transfer must not begin.
  [[nodiscard]] bool Begin(std::uint64_t id) {
    Entry& entry = entries_[id];
    if (entry.cancelled) return false;
    ++entry.transfers;
    ++transfers_;
    return true;
  }
  void End(std::uint64_t id) {
    const auto found = entries_.find(id);
    --transfers_;
    if (--found->second.transfers > 0) return;
    const bool tell = std::exchange(found->second.tell, false);
    Prune(found);
    if (on_still_) on_still_(id);
    if (tell) on_quiet_(id);
  }
  /// Transfers of it run.
  [[nodiscard]] bool Moves(std::uint64_t id) const {
    const auto found = entries_.find(id);
    return found != entries_.end() && found->second.transfers > 0;
  }
  [[nodiscard]] bool Cancelled(std::uint64_t id) const {
    const auto found = entries_.find(id);
    return found != entries_.end() && found->second.cancelled;
  }
  /// Calls on_quiet now or when the last transfer ends. A request that is not open is quiet.
  void Cancel(std::uint64_t id) {
    const auto found = entries_.find(id);
    if (found != entries_.end()) {
      found->second.cancelled = true;
      if (found->second.transfers > 0) {
        found->second.tell = true;
        return;
      }
    }
    on_quiet_(id);
  }
  [[nodiscard]] std::size_t transfers() const noexcept { return transfers_; }

  /// Most requests of one client that may be unanswered.
  static constexpr std::size_t kRequestsMax = 8192;

 private:
  struct Entry {
    std::size_t transfers = 0;
    bool open = false;
    bool cancelled = false;
    bool tell = false;
  };
  using Map = std::unordered_map<std::uint64_t, Entry>;
  void Prune(Map::iterator entry) {
    if (!entry->second.open && entry->second.transfers == 0) entries_.erase(entry);
  }

  std::function<void(std::uint64_t)> on_quiet_;
  std::function<void(std::uint64_t)> on_still_;
  Map entries_;
  std::size_t transfers_ = 0;
};

}  // namespace terrace
