#include "transport/rdma/ucx_gpu.h"

#include <ucp/api/ucp.h>

namespace terrace {
namespace {

constexpr unsigned kMajor = 1;
constexpr unsigned kMinor = 16;

bool KnowsCuda() {
  ucp_config_t* config = nullptr;
  if (ucp_config_read(nullptr, nullptr, &config) != UCS_OK) return false;
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_RMA;
  ucp_context_h context = nullptr;
  const ucs_status_t made = ucp_init(&params, config, &context);
  ucp_config_release(config);
  if (made != UCS_OK) return false;
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  const bool known = ucp_context_query(context, &attributes) == UCS_OK &&
                     (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA)) != 0;
  ucp_cleanup(context);
  return known;
}

}  // namespace

UcxCuda FindUcxCuda() {
  if (!KnowsCuda()) return UcxCuda::kAbsent;
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  ucp_get_version(&major, &minor, &release);
  const bool new_enough = major > kMajor || (major == kMajor && minor >= kMinor);
  return new_enough ? UcxCuda::kUsable : UcxCuda::kTooOld;
}

}  // namespace terrace
