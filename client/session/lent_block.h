// LentBlocksOf: what a call that lends has come to, as the caller gets it. Any thread.
#pragma once

#include <vector>

#include "client/request/request.h"
#include "client/terrace.hpp"

namespace terrace {

/// One per block asked; the request has nothing lent afterwards.
std::vector<LentBlock> LentBlocksOf(Request& request);

}  // namespace terrace
