// CostClasses: what the blocks of a request cost to compute again, beside others of its tenant.
//
// Model. What matters for a place in memory is the cost for each byte that it takes, and of that
// only how it compares with other blocks. Classes are a quarter of an octave wide; class 0 is the
// tenant's mean over the bytes that came of late. So a tenant whose blocks are all alike is in
// class 0, whatever it tells, and one that tells more of some of its blocks takes it from its
// others: the cost that it claims for an average byte is that of anybody else's. Of the first
// kTenantsMax tenants; the blocks of all others are in class 0.
//
// Pure but for the means: no time, no chance. Thread: the owner's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "cache/policy/request_facts.h"

namespace terrace {

class CostClasses {
 public:
  static constexpr int kPerOctave = 4;
  /// Classes go from -kMost to kMost: costs 256 times the mean, and a 256th of it.
  static constexpr int kMost = 8 * kPerOctave;
  static constexpr std::size_t kTenantsMax = 1024;

  /// memory_blocks: when so many blocks of a tenant came, what was known of earlier ones is halved;
  /// at least 1.
  explicit CostClasses(std::size_t memory_blocks) : memory_(static_cast<double>(memory_blocks)) {}

  /// A block of that request comes that was not here.
  void Came(const RequestFacts& request);
  [[nodiscard]] std::int8_t ClassOf(const RequestFacts& request) const;
  /// Cost for a byte of that class, of the tenant's mean.
  [[nodiscard]] static float FactorOf(std::int8_t cost_class) noexcept;

  [[nodiscard]] std::size_t Bytes() const noexcept {
    return tenants_.size() * (sizeof(Mean) + 4 * sizeof(void*));  // a node of the table
  }

 private:
  struct Mean {
    double cost = 0;
    double bytes = 0;
    double blocks = 0;
  };
  /// Of a tenant; it is made when there is none and there may be one more. Null: there may not.
  Mean* MeanOf(std::uint32_t tenant);

  const double memory_;
  std::unordered_map<std::uint32_t, Mean> tenants_;
  // The one whose block came last: many come one after the other.
  std::uint32_t last_tenant_ = 0;
  Mean* last_ = nullptr;
};

}  // namespace terrace
