#include "cache/policy/policies.h"

#include <string>

namespace terrace {
namespace {

constexpr PolicyKind kPolicies[] = {
    {"terrace", "what it has learned to expect back soonest", MakeTerracePolicy},
    {"leaf-lru", "least recently used, the end of a chain before its head", MakeLeafLruPolicy},
    {"lru", "least recently used, block by block", MakeLruPolicy},
    {"fifo", "in the order in which blocks came", MakeFifoPolicy},
    {"lfu", "least often used since it came", MakeLfuPolicy},
    {"s3fifo", "a small queue for what may be used once, a main one, and ghosts", MakeS3FifoPolicy},
    {"sieve", "a queue and a hand that spares what was used since it last passed", MakeSievePolicy},
};
static_assert(kPolicies[0].name == kDefaultPolicy);

}  // namespace

std::span<const PolicyKind> Policies() noexcept { return kPolicies; }

Result<const PolicyKind*> FindPolicy(std::string_view name) {
  std::string known;
  for (const PolicyKind& kind : kPolicies) {
    if (kind.name == name) return &kind;
    known += (known.empty() ? "" : ", ") + std::string(kind.name);
  }
  return Status::Invalid("no policy '" + std::string(name) + "'; there are: " + known);
}

}  // namespace terrace
