#include "tests/faults/judge.h"

#include <array>
#include <cstdio>
#include <numeric>

namespace terrace::faults {

namespace {
constexpr std::array<const char*, kBreaches> kNames = {"wrong", "lost",  "miscounted",
                                                       "late",  "other", "not_run"};
}  // namespace

void Judge::Report(Breach breach, const std::string& what) {
  const auto kind = static_cast<std::size_t>(breach);
  ++counts_[kind];
  std::fprintf(stderr, "%s: %s: %s\n", context_.c_str(), kNames[kind], what.c_str());
}

void Judge::Equal(std::string_view what, double found, double wanted) {
  ++compared;
  if (found == wanted) return;
  Report(Breach::kMiscounted, std::string(what) + " is " + std::to_string(found) +
                                  ", and must be " + std::to_string(wanted));
}

void Judge::True(Breach breach, bool good, const std::string& what) {
  if (!good) Report(breach, what);
}

std::string Judge::Outcomes() const {
  std::string text;
  for (const auto& [name, count] : outcomes_) text += " " + name + "=" + std::to_string(count);
  return text;
}

bool Judge::Ran(const Status& status) {
  if (!status.ok()) Report(Breach::kNotRun, status.message());
  return status.ok();
}

std::uint64_t Judge::All() const noexcept {
  return std::accumulate(std::begin(counts_), std::end(counts_), std::uint64_t{0});
}

std::string Judge::Summary() const {
  std::string text;
  for (std::size_t kind = 0; kind < kNames.size(); ++kind) {
    text +=
        (kind == 0 ? "" : " ") + std::string(kNames[kind]) + "=" + std::to_string(counts_[kind]);
  }
  return text;
}

}  // namespace terrace::faults
