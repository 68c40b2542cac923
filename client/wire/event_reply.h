// What an EventsReply means for a read of events or a snapshot; part of reply.h. The library
// thread's.
#pragma once

#include "client/request/request.h"
#include "transport/codec.h"

namespace terrace {

/// Notes the answer of one reactor; the request fails when it makes no sense.
void ApplyEvents(Request& request, const RequestPart& part, const wire::Message& message);
/// True when the answer to this part has something that the caller waits for.
[[nodiscard]] bool HasEvents(const Request& request);
/// Puts the answers together.
void CombineEvents(Request& request);

}  // namespace terrace
