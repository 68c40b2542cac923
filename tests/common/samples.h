// How much of a long test runs in which build.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace terrace::testing {

/// Whether random campaigns and tables of figures run whole: they do in release. Under sanitizers,
/// which take ten times as long and look at the code and not at figures, a part will do, unless
/// TERRACE_WHOLE_SAMPLES is set.
inline bool RunsWhole() {
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return std::getenv("TERRACE_WHOLE_SAMPLES") != nullptr;
#endif
#endif
  return true;
}

/// Of so many seeds or rounds those to run here: all, or a fifth.
inline std::uint64_t SampleOf(std::uint64_t whole) { return RunsWhole() ? whole : (whole + 4) / 5; }

}  // namespace terrace::testing
