// GpuWire: how blocks that lie in memory of GPUs reach clients over RDMA, as one reactor has found
// it at its start: by the NIC straight from there, or staged through DRAM.
//
// Thread: any; a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace terrace {

struct GpuWire {
  enum class Reason : std::uint8_t {
    kRegistered,      ///< the NIC has the memory: it goes straight
    kOff,             ///< the configuration says so
    kLent,            ///< clients may be lent it: it does not stay the same
    kNoNic,           ///< none, or RDMA is not offered
    kUcxWithoutCuda,  ///< UCX was built without, or finds no driver
    kUcxTooOld,       ///< below 1.16
    kRegistration,    ///< it was refused; `detail` says why
  };
  bool straight = false;
  Reason reason = Reason::kOff;
  std::string detail;  ///< in words, for the log; empty when there is no more to say
};

/// "straight" or "staged".
[[nodiscard]] inline std::string_view GpuWirePath(const GpuWire& wire) noexcept {
  return wire.straight ? "straight" : "staged";
}
/// "registered", "off", "lent", "no_nic", "ucx_without_cuda", "ucx_too_old", "registration_failed":
/// labels of metrics.
[[nodiscard]] constexpr std::string_view GpuWireReasonName(GpuWire::Reason reason) noexcept {
  switch (reason) {
    case GpuWire::Reason::kRegistered: return "registered";
    case GpuWire::Reason::kOff: return "off";
    case GpuWire::Reason::kLent: return "lent";
    case GpuWire::Reason::kNoNic: return "no_nic";
    case GpuWire::Reason::kUcxWithoutCuda: return "ucx_without_cuda";
    case GpuWire::Reason::kUcxTooOld: return "ucx_too_old";
    case GpuWire::Reason::kRegistration: return "registration_failed";
  }
  return "unknown";
}

}  // namespace terrace
