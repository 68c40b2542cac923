// What an ExplainReply means; part of reply.h. The library thread's.
#pragma once

#include "client/request/request.h"
#include "transport/codec.h"

namespace terrace {

/// Takes of one reactor's stories those that say more than what is known already; the request fails
/// when they make no sense.
void ApplyStories(Request& request, const RequestPart& part, const wire::Message& message);

}  // namespace terrace
