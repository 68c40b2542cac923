// AnswerOf: a finished request as what a member function of Client returns. Any thread.
#pragma once

#include <utility>
#include <vector>

#include "client/calls/client_impl.h"

namespace terrace {

/// The answer that `take` finds in a finished request, or why there is none.
template <typename T, typename Take>
Result<T> AnswerOf(const Status& status, const Result<RequestRef>& request, Take take) noexcept {
  if (!status.ok()) return status;
  return Result<T>(take(*request.value()));
}

inline Result<std::vector<BlockResult>> BlocksOf(const Status& status,
                                                 const Result<RequestRef>& request) {
  return AnswerOf<std::vector<BlockResult>>(status, request,
                                            [](Request& call) { return std::move(call.blocks); });
}

}  // namespace terrace
