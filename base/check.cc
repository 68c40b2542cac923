#include "base/check.h"

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace terrace {

void CheckFailed(const char* file, int line, const char* text) noexcept {
  std::fprintf(stderr, "%s:%d: invariant failed: %s\n", file, line, text);
  // Memory was refused, and what was half done is being left: the invariant is not to blame.
  if (std::uncaught_exceptions() > 0) {
    std::fprintf(stderr, "an exception was on its way: out of memory, unless a library threw it\n");
  }
  std::fflush(stderr);
  std::abort();
}

}  // namespace terrace
