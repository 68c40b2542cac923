#include "cache/policy/cost_classes.h"

#include <algorithm>
#include <cmath>

namespace terrace {
namespace {

/// Something is known of it that can be counted with.
bool Tells(const RequestFacts& request) {
  return request.block_bytes > 0 && std::isfinite(request.cost_per_byte) &&
         request.cost_per_byte > 0;
}

}  // namespace

CostClasses::Mean* CostClasses::MeanOf(std::uint32_t tenant) {
  if (last_ != nullptr && last_tenant_ == tenant) return last_;
  const auto found = tenants_.find(tenant);
  if (found == tenants_.end() && tenants_.size() == kTenantsMax) return nullptr;
  last_tenant_ = tenant;
  last_ = found != tenants_.end() ? &found->second : &tenants_[tenant];
  return last_;
}

void CostClasses::Came(const RequestFacts& request) {
  if (!Tells(request)) return;
  Mean* const found = MeanOf(request.tenant);
  if (found == nullptr) return;
  Mean& mean = *found;
  const auto bytes = static_cast<double>(request.block_bytes);
  mean.cost += static_cast<double>(request.cost_per_byte) * bytes;
  mean.bytes += bytes;
  mean.blocks += 1;
  if (mean.blocks < memory_) return;
  mean.cost /= 2;
  mean.bytes /= 2;
  mean.blocks /= 2;
}

std::int8_t CostClasses::ClassOf(const RequestFacts& request) const {
  if (!Tells(request)) return 0;
  const auto found = tenants_.find(request.tenant);
  if (found == tenants_.end()) return 0;
  const Mean& mean = found->second;
  const double of_mean = static_cast<double>(request.cost_per_byte) * mean.bytes / mean.cost;
  const double classes = std::round(kPerOctave * std::log2(of_mean));
  return static_cast<std::int8_t>(std::clamp<double>(classes, -kMost, kMost));
}

float CostClasses::FactorOf(std::int8_t cost_class) noexcept {
  return std::exp2(static_cast<float>(cost_class) / kPerOctave);
}

}  // namespace terrace
