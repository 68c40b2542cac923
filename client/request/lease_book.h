// LeaseBook: the leases of a Client, each made of one lease at every reactor that holds a part.
//
// A reactor's lease lives as long as the connection: who finds one of another session (epoch) has
// found one that has ended. Times are a bit later than the daemon's, never earlier: what has ended
// here has ended there.
//
// Thread: any; one mutex.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "client/terrace.hpp"

namespace terrace {

class LeaseBook {
 public:
  struct Part {
    std::uint32_t shard = 0;  ///< the reactor
    std::uint64_t lease = 0;  ///< its number there
  };
  struct Entry {
    std::uint64_t epoch = 0;
    Nanos until = 0;
    std::vector<Part> parts;
  };

  /// `salt`: random; numbers of one book are, but for chance, not those of another.
  explicit LeaseBook(std::uint64_t salt) : first_((salt << 32) + 1) {}
  LeaseBook(const LeaseBook&) = delete;
  LeaseBook& operator=(const LeaseBook&) = delete;

  LeaseId Add(Entry entry, Nanos now);
  /// kInvalid for one that this book never gave out, kExpired for one that has ended.
  Result<Entry> Find(LeaseId lease, Nanos now);
  /// The same, and it is not in the book any more.
  Result<Entry> Take(LeaseId lease, Nanos now);
  /// It lasts longer, if it is still there.
  void Extend(LeaseId lease, Nanos until);

 private:
  using Entries = std::unordered_map<std::uint64_t, Entry>;
  Result<Entries::iterator> Locate(LeaseId lease, Nanos now);
  void DropEnded(Nanos now);
  void Erase(Entries::iterator entry);

  std::mutex mutex_;
  // Guarded by mutex_.
  const std::uint64_t first_;
  std::uint64_t given_ = 0;
  Entries entries_;
  std::set<std::pair<Nanos, std::uint64_t>> by_end_;  // with the number
};

}  // namespace terrace
