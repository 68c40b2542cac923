// NamespaceTable: the namespaces of a client, and what the daemon calls them now.
//
// The caller's ids stay for the life of the Client. The daemon's ids last one session (one
// incarnation of a daemon, all of whose reactors share them); after a reconnect the library opens
// every namespace again and notes the new ids, or why there is none.
//
// Thread: any; one mutex. Descriptors are immutable and shared.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "client/terrace.hpp"

namespace terrace {

/// Most namespaces that one client opens.
inline constexpr std::size_t kNamespacesMax = 4096;

/// A namespace as one call sees it.
struct NamespaceView {
  std::shared_ptr<const NamespaceDescriptor> descriptor;
  std::uint64_t epoch = 0;      ///< the session that `daemon_id` and `failure` belong to
  std::uint32_t daemon_id = 0;  ///< 0 when `failure` is not ok
  Status failure;               ///< why this session does not have it, e.g. kIncompatible

  /// Bytes of a block of `group`; 0 when there is no such group.
  [[nodiscard]] std::uint64_t BlockBytes(std::uint32_t group) const noexcept;
};

class NamespaceTable {
 public:
  struct Entry {
    NamespaceId id;
    std::shared_ptr<const NamespaceDescriptor> descriptor;
  };

  NamespaceTable();
  NamespaceTable(const NamespaceTable&) = delete;
  NamespaceTable& operator=(const NamespaceTable&) = delete;

  /// The daemon opened `descriptor` as `daemon_id` in session `epoch`. Finds the entry of that name
  /// or makes one. kRetry when the table is full.
  Result<NamespaceId> Opened(const NamespaceDescriptor& descriptor, std::uint64_t epoch,
                             std::uint32_t daemon_id);
  /// The daemon of session `epoch` refused to open it again.
  void Refused(NamespaceId id, std::uint64_t epoch, const Status& failure);

  /// kInvalid when the id is not one of this client's.
  [[nodiscard]] Result<NamespaceView> Find(NamespaceId id) const;
  [[nodiscard]] std::vector<Entry> All() const;

 private:
  mutable std::mutex mutex_;
  [[nodiscard]] NamespaceId IdOf(std::size_t index) const noexcept;
  /// Null when the id is not of this table. Under mutex_.
  [[nodiscard]] const NamespaceView* ViewOf(NamespaceId id) const noexcept;

  // An id of another Client of the process is none of this one.
  const std::uint32_t first_id_;
  std::vector<NamespaceView> views_;  // [id - first_id_], guarded by mutex_
};

}  // namespace terrace
