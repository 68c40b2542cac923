#include "tests/crash/findings.h"

#include <cstdio>
#include <utility>

namespace terrace::crash {

namespace {
/// Findings of one cycle that are told one by one.
constexpr std::uint32_t kToldMax = 20;
}  // namespace

void Findings::SetContext(std::string context) {
  const std::lock_guard lock(mutex_);
  context_ = std::move(context);
  told_ = 0;
}

void Findings::Report(Finding kind, const std::string& what, std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  const char* name = "";
  switch (kind) {
    case Finding::kWrong:
      counts_.wrong += count;
      name = "WRONG";
      break;
    case Finding::kLost:
      counts_.lost += count;
      name = "LOST";
      break;
    case Finding::kLeaked:
      counts_.leaked += count;
      name = "LEAKED";
      break;
    case Finding::kNotRun:
      counts_.not_run += count;
      name = "NOT RUN";
      break;
  }
  if (told_ == 0) std::fprintf(stderr, "\n%s\n", context_.c_str());
  if (++told_ <= kToldMax) std::fprintf(stderr, "  %s: %s\n", name, what.c_str());
}

Findings::Counts Findings::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace terrace::crash
