// What UCX's listener has accepted and not yet told of.
//
// UCX 1.13.1 accepts a connection on a thread of its own and keeps, until the first bytes have
// come, a pointer to the listener in it. ucp_listener_destroy does not look for such connections:
// bytes that come afterwards are handled by way of memory that was freed. UCX lets nobody count
// them either, so they are found among the descriptors of this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

namespace terrace {

/// Hangs up on every connected socket of this process whose own port is `port` and whose peer's
/// address (SocketAddress::ToString) is not in `heard`; returns how many there were. Forgets those
/// of `heard` that have gone. Costs a few system calls for each descriptor of the process.
/// Any thread.
std::size_t HangUpOnTheUnheard(std::uint16_t port, std::set<std::string>& heard);

}  // namespace terrace
