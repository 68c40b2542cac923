#include "client/request/lease_book.h"

#include <string>
#include <utility>

namespace terrace {

LeaseId LeaseBook::Add(Entry entry, Nanos now) {
  const std::lock_guard lock(mutex_);
  DropEnded(now);
  const std::uint64_t number = first_ + given_++;
  by_end_.emplace(entry.until, number);
  entries_.emplace(number, std::move(entry));
  return {number};
}

Result<LeaseBook::Entries::iterator> LeaseBook::Locate(LeaseId lease, Nanos now) {
  DropEnded(now);
  const auto found = entries_.find(lease.value);
  if (found != entries_.end()) return found;
  if (lease.value >= first_ && lease.value < first_ + given_) {
    return Status(StatusCode::kExpired, "lease: " + std::to_string(lease.value) + " has ended");
  }
  return Status::Invalid("lease: " + std::to_string(lease.value) + " is none of this Client's");
}

Result<LeaseBook::Entry> LeaseBook::Find(LeaseId lease, Nanos now) {
  const std::lock_guard lock(mutex_);
  const auto found = Locate(lease, now);
  if (!found.ok()) return found.status();
  return (*found)->second;
}

Result<LeaseBook::Entry> LeaseBook::Take(LeaseId lease, Nanos now) {
  const std::lock_guard lock(mutex_);
  const auto found = Locate(lease, now);
  if (!found.ok()) return found.status();
  Entry entry = (*found)->second;
  Erase(*found);
  return entry;
}

void LeaseBook::Extend(LeaseId lease, Nanos until) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(lease.value);
  if (found == entries_.end()) return;
  by_end_.erase({found->second.until, lease.value});
  found->second.until = until;
  by_end_.emplace(until, lease.value);
}

void LeaseBook::DropEnded(Nanos now) {
  while (!by_end_.empty() && by_end_.begin()->first <= now) {
    Erase(entries_.find(by_end_.begin()->second));
  }
}

void LeaseBook::Erase(Entries::iterator entry) {
  by_end_.erase({entry->second.until, entry->first});
  entries_.erase(entry);
}

}  // namespace terrace
