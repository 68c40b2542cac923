#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace terrace {

void CheckFailed(const char* file, int line, const char* text) noexcept {
  std::fprintf(stderr, "%s:%d: invariant failed: %s\n", file, line, text);
  std::fflush(stderr);
  std::abort();
}

}  // namespace terrace
