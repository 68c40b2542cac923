// NameLookup: a host name looked up on a thread of its own, awaited on a reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/task.h"
#include "transport/socket.h"

namespace terrace {

/// kPeerDead with the resolver's words, or when no answer came by `deadline`; the thread then ends
/// by itself later and touches nothing of the caller. `poll` outlives the task.
Task<Result<SocketAddress>> LookUpAddressAsync(SocketPoll* poll, std::string host,
                                               std::uint16_t port, Nanos deadline);

}  // namespace terrace
