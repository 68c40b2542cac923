// NamespaceRegistry: the namespaces of a daemon, their ids and fingerprints. Shared by reactors.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.h"
#include "base/prefill_cost.h"
#include "base/result.h"

namespace terrace {

struct NamespaceGroup {
  std::uint32_t id = 0;
  std::string attention;
  std::uint64_t block_bytes = 0;
};

/// Everything that changes the bytes of a block (the daemon's side of NamespaceDescriptor).
struct NamespaceSpec {
  std::string tenant;
  std::string name;
  std::string model;
  std::string weights;
  std::string kv_dtype;
  std::string layout;
  std::string hash_algorithm;
  std::string hash_seed;
  std::uint32_t block_tokens = 0;
  std::uint32_t shard_count = 1;
  std::uint32_t run_blocks = 64;
  std::vector<NamespaceGroup> groups;
};

/// XXH3-128 over every field but tenant and name, each preceded by its length, groups in order of
/// their ids. docs/protocol.md gives the exact bytes.
Hash128 NamespaceFingerprint(const NamespaceSpec& spec);

/// What was last told of a namespace's PrefillCost. Any thread.
class ToldCost {
 public:
  ToldCost() = default;
  ToldCost(const ToldCost& other) : ToldCost() { *this = other; }
  ToldCost& operator=(const ToldCost& other) {
    if (this != &other) bits_.store(other.bits_.load());
    return *this;
  }
  void Set(const PrefillCost& cost);
  [[nodiscard]] PrefillCost Get() const;

 private:
  std::atomic<std::uint64_t> bits_ = 0;  // two floats: a pair that belongs together
};

/// Immutable once made, but for `cost`. One that a start found is *dormant* until a client opens
/// it: its tenant, name and fingerprint are known, the rest of its spec is not, so no request can
/// use it.
struct Namespace {
  std::uint32_t id = 0;         ///< from 1, never used twice
  std::uint32_t tenant_id = 0;  ///< from 1, one per tenant name
  NamespaceSpec spec;
  Hash128 fingerprint;
  mutable ToldCost cost{};
  /// Seconds of a GPU to compute a byte of the first `blocks` blocks of a chain again, on average;
  /// 0 when nobody told.
  [[nodiscard]] float CostPerByte(std::uint64_t blocks) const noexcept;
  /// Block size of a group, bytes; 0 when there is no such group.
  [[nodiscard]] std::uint64_t BlockBytes(std::uint32_t group) const noexcept;
  [[nodiscard]] bool dormant() const noexcept { return spec.groups.empty(); }
};

class NamespaceRegistry {
 public:
  /// `block_bytes_max`: the largest block that the tiers can hold.
  explicit NamespaceRegistry(std::uint64_t block_bytes_max) : block_bytes_max_(block_bytes_max) {}

  /// Finds or makes. kInvalid names the field that is wrong; kIncompatible (with both
  /// fingerprints and the fields that differ) when the name exists with another one; kRetry when
  /// there are 65,536 namespaces. Thread-safe; the pointer stays valid for the registry's life.
  Result<const Namespace*> Open(const NamespaceSpec& spec);
  /// A namespace of an earlier run, dormant. kInvalid when the id or the name is taken, or the id
  /// is 0 or above 65,536. Before Open is first called.
  Status Adopt(std::uint32_t id, std::string_view tenant, std::string_view name,
               const Hash128& fingerprint);
  /// Called, under the registry's lock, with each namespace that Open makes. Before Open is first
  /// called.
  void OnMade(std::function<void(const Namespace&)> made) { made_ = std::move(made); }
  /// Null when unknown. Thread-safe.
  [[nodiscard]] const Namespace* Find(std::uint32_t id) const;
  [[nodiscard]] const Namespace* FindByName(std::string_view tenant, std::string_view name) const;
  [[nodiscard]] std::vector<const Namespace*> All() const;

 private:
  const std::uint64_t block_bytes_max_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;  // [id - 1], some null; guarded by mutex_
  std::vector<std::unique_ptr<Namespace>> dormant_;     // woken ones, for who holds a pointer still
  std::vector<std::string> tenants_;                    // [tenant_id - 1], guarded by mutex_
  std::function<void(const Namespace&)> made_;

  std::uint32_t TenantId(std::string_view tenant);
};

}  // namespace terrace
