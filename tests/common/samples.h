// How much of a long test runs in which build, and how slow it is.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace terrace::testing {

/// How slow code is under sanitizers, which times of heartbeats are to allow for.
inline constexpr int kSlowness =
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    3 *
#endif
#endif
    1;

/// Whether random campaigns and tables of figures run whole: they do in release. Under sanitizers,
/// which take ten times as long and look at the code and not at figures, a part will do, unless
/// TERRACE_WHOLE_SAMPLES is set.
inline bool RunsWhole() {
  return kSlowness == 1 || std::getenv("TERRACE_WHOLE_SAMPLES") != nullptr;
}

/// Of so many seeds or rounds those to run here: all, or a fifth.
inline std::uint64_t SampleOf(std::uint64_t whole) { return RunsWhole() ? whole : (whole + 4) / 5; }

}  // namespace terrace::testing
