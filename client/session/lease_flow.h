// Leases of matches over groups, as their requests begin and end: what the reactors granted is put
// together, cut down to what is needed, and kept in the book or given back. The library thread's,
// but for the encoders.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "client/request/lease_book.h"
#include "client/request/request.h"
#include "transport/codec.h"

namespace terrace {

/// A message to one reactor whose answer nobody waits for: less of a lease, or none of it.
struct LeaseOrder {
  std::uint32_t shard = 0;
  std::uint64_t lease = 0;
  bool release = false;
  std::vector<std::byte> keep;  ///< as in TrimLease, unless it is released
};

/// Puts a match's answers together (request.prefix), and says what is to become of the reactors'
/// leases; `kept` are the parts of the lease that stays, if any. Of a match that failed: all are
/// released. Every part has its outcome.
std::vector<LeaseOrder> CombinePrefix(Request& request, std::vector<LeaseBook::Part>& kept);

std::vector<std::byte> EncodeMatchGroups(const MessageHead& head, const Chain& chain,
                                         const Placement& placement, const ShardPlan& plan,
                                         const PrefixQuestion& question);
std::vector<std::byte> EncodeRenewLease(const MessageHead& head, std::uint64_t lease,
                                        std::uint32_t lease_ms);
std::vector<std::byte> EncodeLeaseOrder(const MessageHead& head, const LeaseOrder& order);

}  // namespace terrace
