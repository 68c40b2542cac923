// Canonical bytes of a fingerprint. A number is its length in bytes (4-byte little endian), then
// the number, little endian; a text is its length in bytes (4-byte little endian), then its bytes.
//
//   text "terrace-namespace-1"
//   text model, weights, kv_dtype, layout, hash_algorithm, hash_seed
//   4-byte number block_tokens, shard_count, run_blocks, number of groups
//   per group, in ascending order of ids: 4-byte number id, text attention, 8-byte number
//   block_bytes
//
// The fingerprint is XXH3-128 with seed 0 of those bytes. Every field carries its length, so no two
// different specs have the same bytes; the first text changes when this list does.
#include "cache/namespace_registry.h"

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <span>
#include <utility>

#include "base/limits.h"

namespace terrace {

namespace {

constexpr std::size_t kNamespacesMax = 65'536;

class CanonicalBytes {
 public:
  void Add(std::string_view text) {
    AddLittleEndian(static_cast<std::uint32_t>(text.size()));
    bytes_.append(text);
  }
  template <std::unsigned_integral Number>
  void Add(Number number) {
    AddLittleEndian(static_cast<std::uint32_t>(sizeof number));
    AddLittleEndian(number);
  }
  [[nodiscard]] Hash128 Hash() const { return HashBytes128(std::as_bytes(std::span(bytes_))); }

 private:
  template <std::unsigned_integral Number>
  void AddLittleEndian(Number number) {
    for (std::size_t byte = 0; byte < sizeof number; ++byte) {
      bytes_.push_back(static_cast<char>(static_cast<unsigned char>(number >> (8 * byte))));
    }
  }
  std::string bytes_;
};

std::vector<NamespaceGroup> ByAscendingId(std::vector<NamespaceGroup> groups) {
  std::sort(
      groups.begin(), groups.end(),
      [](const NamespaceGroup& left, const NamespaceGroup& right) { return left.id < right.id; });
  return groups;
}

Status CheckText(std::string_view field, std::string_view text, std::size_t bytes_min,
                 std::size_t bytes_max) {
  if (text.size() < bytes_min || text.size() > bytes_max) {
    return Status::Invalid(std::string(field) + ": has " + std::to_string(text.size()) +
                           " bytes, must have " + std::to_string(bytes_min) + " to " +
                           std::to_string(bytes_max));
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x20 || byte == 0x7f) {
      return Status::Invalid(std::string(field) + ": control character " + std::to_string(byte) +
                             " at byte " + std::to_string(i));
    }
  }
  return {};
}

Status CheckNumber(std::string_view field, std::uint64_t number, std::uint64_t least,
                   std::uint64_t most) {
  if (number >= least && number <= most) return {};
  return Status::Invalid(std::string(field) + ": is " + std::to_string(number) + ", must be " +
                         std::to_string(least) + " to " + std::to_string(most));
}

Status CheckGroups(const std::vector<NamespaceGroup>& groups, std::uint64_t block_bytes_max) {
  Status status = CheckNumber("groups: their number", groups.size(), 1, kGroupsMax);
  for (std::size_t i = 0; i < groups.size() && status.ok(); ++i) {
    const std::string field = "groups[" + std::to_string(i) + "].";
    status = CheckText(field + "attention", groups[i].attention, 0, kDescriptorTextBytesMax);
    if (!status.ok()) break;
    status = CheckNumber(field + "block_bytes", groups[i].block_bytes, kBlockBytesMin,
                         std::min(kBlockBytesMax, block_bytes_max));
    for (std::size_t j = 0; j < i && status.ok(); ++j) {
      if (groups[j].id != groups[i].id) continue;
      status = Status::Invalid(field + "id: " + std::to_string(groups[i].id) +
                               " is also the id of groups[" + std::to_string(j) + "]");
    }
  }
  return status;
}

Status CheckSpec(const NamespaceSpec& spec, std::uint64_t block_bytes_max) {
  struct Text {
    std::string_view field;
    std::string_view text;
    std::size_t bytes_min;
    std::size_t bytes_max;
  };
  const Text texts[] = {
      {"tenant", spec.tenant, 1, kNameBytesMax},
      {"name", spec.name, 1, kNameBytesMax},
      {"model", spec.model, 0, kDescriptorTextBytesMax},
      {"weights", spec.weights, 0, kDescriptorTextBytesMax},
      {"kv_dtype", spec.kv_dtype, 0, kDescriptorTextBytesMax},
      {"layout", spec.layout, 0, kDescriptorTextBytesMax},
      {"hash_algorithm", spec.hash_algorithm, 0, kDescriptorTextBytesMax},
      {"hash_seed", spec.hash_seed, 0, kDescriptorTextBytesMax},
  };
  for (const Text& text : texts) {
    Status status = CheckText(text.field, text.text, text.bytes_min, text.bytes_max);
    if (!status.ok()) return status;
  }
  Status status = CheckNumber("block_tokens", spec.block_tokens, 1, 0xffffffff);
  if (status.ok()) status = CheckNumber("shard_count", spec.shard_count, 1, kShardsMax);
  if (status.ok()) status = CheckNumber("run_blocks", spec.run_blocks, 1, kRunBlocksMax);
  if (status.ok()) status = CheckGroups(spec.groups, block_bytes_max);
  return status;
}

/// "model, groups": the fields that two specs of one name differ in.
std::string DifferingFields(const NamespaceSpec& left, const NamespaceSpec& right) {
  std::string fields;
  const auto note = [&fields](std::string_view field, bool same) {
    if (same) return;
    if (!fields.empty()) fields += ", ";
    fields += field;
  };
  note("model", left.model == right.model);
  note("weights", left.weights == right.weights);
  note("kv_dtype", left.kv_dtype == right.kv_dtype);
  note("layout", left.layout == right.layout);
  note("hash_algorithm", left.hash_algorithm == right.hash_algorithm);
  note("hash_seed", left.hash_seed == right.hash_seed);
  note("block_tokens", left.block_tokens == right.block_tokens);
  note("shard_count", left.shard_count == right.shard_count);
  note("run_blocks", left.run_blocks == right.run_blocks);
  const std::vector<NamespaceGroup> left_groups = ByAscendingId(left.groups);
  const std::vector<NamespaceGroup> right_groups = ByAscendingId(right.groups);
  note("groups",
       std::equal(left_groups.begin(), left_groups.end(), right_groups.begin(), right_groups.end(),
                  [](const NamespaceGroup& one, const NamespaceGroup& other) {
                    return one.id == other.id && one.attention == other.attention &&
                           one.block_bytes == other.block_bytes;
                  }));
  return fields;
}

}  // namespace

Hash128 NamespaceFingerprint(const NamespaceSpec& spec) {
  CanonicalBytes bytes;
  bytes.Add("terrace-namespace-1");
  bytes.Add(spec.model);
  bytes.Add(spec.weights);
  bytes.Add(spec.kv_dtype);
  bytes.Add(spec.layout);
  bytes.Add(spec.hash_algorithm);
  bytes.Add(spec.hash_seed);
  bytes.Add(spec.block_tokens);
  bytes.Add(spec.shard_count);
  bytes.Add(spec.run_blocks);
  bytes.Add(static_cast<std::uint32_t>(spec.groups.size()));
  for (const NamespaceGroup& group : ByAscendingId(spec.groups)) {
    bytes.Add(group.id);
    bytes.Add(group.attention);
    bytes.Add(group.block_bytes);
  }
  return bytes.Hash();
}

void ToldCost::Set(const PrefillCost& cost) {
  const std::uint64_t first = std::bit_cast<std::uint32_t>(static_cast<float>(cost.first_token_s));
  const auto per_context = std::bit_cast<std::uint32_t>(static_cast<float>(cost.per_context_s));
  bits_.store(first << 32 | per_context);
}

PrefillCost ToldCost::Get() const {
  const std::uint64_t bits = bits_.load();
  return {.first_token_s = std::bit_cast<float>(static_cast<std::uint32_t>(bits >> 32)),
          .per_context_s = std::bit_cast<float>(static_cast<std::uint32_t>(bits))};
}

float Namespace::CostPerByte(std::uint64_t blocks) const noexcept {
  // The blocks of all groups and shards are needed, so they share what computing them costs.
  double bytes = 0;
  for (const NamespaceGroup& group : spec.groups) bytes += static_cast<double>(group.block_bytes);
  bytes *= spec.shard_count;
  const double tokens = spec.block_tokens;
  const double token_s = cost.Get().MeanUntil(static_cast<double>(blocks) * tokens);
  return bytes > 0 ? static_cast<float>(token_s * tokens / bytes) : 0;
}

std::uint64_t Namespace::BlockBytes(std::uint32_t group) const noexcept {
  for (const NamespaceGroup& candidate : spec.groups) {
    if (candidate.id == group) return candidate.block_bytes;
  }
  return 0;
}

Result<const Namespace*> NamespaceRegistry::Open(const NamespaceSpec& spec) {
  if (Status status = CheckSpec(spec, block_bytes_max_); !status.ok()) return status;
  const Hash128 fingerprint = NamespaceFingerprint(spec);

  const std::lock_guard lock(mutex_);
  for (std::unique_ptr<Namespace>& existing : namespaces_) {
    if (existing == nullptr || existing->spec.tenant != spec.tenant ||
        existing->spec.name != spec.name) {
      continue;
    }
    if (existing->fingerprint != fingerprint) {
      return Status(StatusCode::kIncompatible,
                    "namespace '" + spec.name + "' exists with fingerprint " +
                        ToHex(existing->fingerprint) + ", opened with " + ToHex(fingerprint) +
                        (existing->dormant()
                             ? "; it was made before the daemon's last start"
                             : "; fields that differ: " + DifferingFields(existing->spec, spec)));
    }
    if (existing->dormant()) {
      auto woken = std::make_unique<Namespace>(*existing);
      woken->spec = spec;
      dormant_.push_back(std::exchange(existing, std::move(woken)));
    }
    return existing.get();
  }
  if (namespaces_.size() >= kNamespacesMax) {
    return Status(StatusCode::kRetry,
                  "there are " + std::to_string(kNamespacesMax) + " namespaces, the most allowed");
  }
  auto made = std::make_unique<Namespace>();
  made->id = static_cast<std::uint32_t>(namespaces_.size() + 1);
  made->tenant_id = TenantId(spec.tenant);
  made->spec = spec;
  made->fingerprint = fingerprint;
  if (made_) made_(*made);
  return namespaces_.emplace_back(std::move(made)).get();
}

std::uint32_t NamespaceRegistry::TenantId(std::string_view tenant) {
  auto found = std::find(tenants_.begin(), tenants_.end(), tenant);
  if (found == tenants_.end()) found = tenants_.emplace(tenants_.end(), tenant);
  return static_cast<std::uint32_t>(found - tenants_.begin() + 1);
}

Status NamespaceRegistry::Adopt(std::uint32_t id, std::string_view tenant, std::string_view name,
                                const Hash128& fingerprint) {
  if (id == 0 || id > kNamespacesMax) {
    return Status::Invalid("namespace id " + std::to_string(id) + " is none");
  }
  if (FindByName(tenant, name) != nullptr || Find(id) != nullptr) {
    return Status::Invalid("namespace " + std::to_string(id) + " '" + std::string(name) +
                           "' is there twice");
  }
  const std::lock_guard lock(mutex_);
  if (namespaces_.size() < id) namespaces_.resize(id);
  auto adopted = std::make_unique<Namespace>();
  adopted->id = id;
  adopted->tenant_id = TenantId(tenant);
  adopted->spec.tenant = tenant;
  adopted->spec.name = name;
  adopted->fingerprint = fingerprint;
  namespaces_[id - 1] = std::move(adopted);
  return {};
}

const Namespace* NamespaceRegistry::Find(std::uint32_t id) const {
  const std::lock_guard lock(mutex_);
  return id == 0 || id > namespaces_.size() ? nullptr : namespaces_[id - 1].get();
}

const Namespace* NamespaceRegistry::FindByName(std::string_view tenant,
                                               std::string_view name) const {
  const std::lock_guard lock(mutex_);
  for (const std::unique_ptr<Namespace>& existing : namespaces_) {
    if (existing == nullptr) continue;
    if (existing->spec.tenant == tenant && existing->spec.name == name) return existing.get();
  }
  return nullptr;
}

std::vector<const Namespace*> NamespaceRegistry::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<const Namespace*> all;
  all.reserve(namespaces_.size());
  for (const std::unique_ptr<Namespace>& existing : namespaces_) {
    if (existing != nullptr) all.push_back(existing.get());
  }
  return all;
}

}  // namespace terrace
