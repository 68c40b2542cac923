// IndexJournal: the index store as a reactor sees it: changes queue up, nothing ever blocks.
//
//   J1. Changes take effect in the order of the calls, over all reactors of a daemon.
//   J2. A change that was accepted ends with a Status; a refused one changes nothing.
//   J3. The queue is bounded: beyond it a call answers kRetry at once.
//
// Thread: the reactor's. Implementations: index_thread.h, and tests/ for the simulation.
#pragma once

#include <vector>

#include "base/index_store.h"
#include "base/task.h"

namespace terrace::nvme {

class IndexJournal {
 public:
  using Changes = std::vector<IndexStore::Change>;
  virtual ~IndexJournal() = default;

  /// Ends when the changes, and all before them, are in the store: with `durable` they then survive
  /// power loss, without it kill -9. That is so without changes too. kRetry: the queue is full. kIo
  /// and the like: the store's own words; these changes are dropped then.
  virtual Task<Status> Write(Changes changes, bool durable) = 0;
  /// The same, for who does not wait: while the store fails they are kept, in their order. False:
  /// refused.
  virtual bool Enqueue(Changes changes) = 0;
  /// False while the store fails: what is written meanwhile would not be found after a restart.
  [[nodiscard]] virtual bool Healthy() const noexcept = 0;
};

}  // namespace terrace::nvme
