// TERRACE_CHECK: an invariant whose failure is a bug of ours. On in every build, release too:
// stopping is better than wrong bytes. Never for bad input; that gets a Status.
#pragma once

namespace terrace {

/// Prints "file:line: invariant failed: text" and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* text) noexcept;

}  // namespace terrace

#define TERRACE_CHECK(condition)                              \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      ::terrace::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)
