// Validation of matches over groups and of the times of their leases.
#include <algorithm>
#include <string>
#include <unordered_set>

#include "base/limits.h"
#include "client/calls/validation.h"

namespace terrace {
namespace {

Status CheckPolicy(const std::string& name, const GroupPolicy& policy) {
  const std::string blocks = name + ".blocks is " + std::to_string(policy.blocks);
  switch (policy.policy) {
    case StopPolicy::kAll:
    case StopPolicy::kSparse:
      if (policy.blocks == 0) return {};
      return Status::Invalid(blocks + ", not 0: only kTrailing and kExact have a number of blocks");
    case StopPolicy::kTrailing:
      if (policy.blocks > 0) return {};
      return Status::Invalid(blocks + ": a window has at least 1");
    case StopPolicy::kExact:
      if (policy.blocks > 0) return {};
      return Status::Invalid(blocks + ": a boundary is at least 1");
  }
  return Status::Invalid(name + ".policy is " +
                         std::to_string(static_cast<unsigned>(policy.policy)) +
                         ", not a StopPolicy");
}

Status CheckGroups(const NamespaceDescriptor& descriptor, const MatchQuery& query) {
  if (query.groups.empty()) return Status::Invalid("query.groups is empty");
  std::unordered_set<std::uint32_t> named;
  for (std::size_t i = 0; i < query.groups.size(); ++i) {
    const GroupPolicy& policy = query.groups[i];
    const std::string name = "query.groups[" + std::to_string(i) + "]";
    const std::string group = name + ".group is " + std::to_string(policy.group);
    const bool known = std::ranges::any_of(
        descriptor.groups, [&policy](const GroupSpec& spec) { return spec.id == policy.group; });
    if (!known) {
      return Status::Invalid(group + ", not a group of namespace \"" + descriptor.name + "\"");
    }
    if (!named.insert(policy.group).second) return Status::Invalid(group + ", named before");
    if (Status status = CheckPolicy(name, policy); !status.ok()) return status;
  }
  return {};
}

Status CheckShards(const NamespaceDescriptor& descriptor, const MatchQuery& query) {
  std::unordered_set<std::uint32_t> named;
  for (std::size_t i = 0; i < query.shards.size(); ++i) {
    const std::string name =
        "query.shards[" + std::to_string(i) + "] is " + std::to_string(query.shards[i]);
    if (query.shards[i] >= descriptor.shard_count) {
      return Status::Invalid(name + ", namespace \"" + descriptor.name + "\" has " +
                             std::to_string(descriptor.shard_count));
    }
    if (!named.insert(query.shards[i]).second) return Status::Invalid(name + ", named before");
  }
  return {};
}

Status CheckTime(const std::string& what, std::chrono::milliseconds time) {
  if (time.count() >= 0 && time.count() <= kLeaseMsMax) return {};
  return Status::Invalid(what + " is " + std::to_string(time.count()) + " ms, not 0 to " +
                         std::to_string(kLeaseMsMax));
}

}  // namespace

Status ValidateQuery(const NamespaceDescriptor& descriptor, const Chain& chain,
                     const MatchQuery& query) {
  if (chain.size() == 0) return Status::Invalid("chain is empty");
  if (Status status = CheckGroups(descriptor, query); !status.ok()) return status;
  if (Status status = CheckShards(descriptor, query); !status.ok()) return status;
  if (query.mode != MatchMode::kProbe && query.mode != MatchMode::kLease) {
    return Status::Invalid("query.mode is " + std::to_string(static_cast<unsigned>(query.mode)) +
                           ", not kProbe or kLease");
  }
  if (Status status = CheckTime("query.lease", query.lease); !status.ok()) return status;
  const std::uint64_t shards = query.shards.empty() ? descriptor.shard_count : query.shards.size();
  const std::uint64_t blocks = query.groups.size() * shards * chain.size();
  if (blocks <= kMatchBlocksMax) return {};
  return Status::Invalid("query.groups x query.shards x chain is " + std::to_string(blocks) +
                         " blocks, at most " + std::to_string(kMatchBlocksMax));
}

Status ValidateRenewal(std::chrono::milliseconds time) { return CheckTime("time", time); }

}  // namespace terrace
