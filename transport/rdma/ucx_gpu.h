// Whether UCX on this machine can move memory of GPUs itself.
#pragma once

#include <ucs/memory/memory_type.h>

#include <cstdint>

#include "base/device_region.h"

namespace terrace {

enum class UcxCuda : std::uint8_t {
  kUsable,
  kAbsent,  ///< its transports for CUDA are not installed, or find no driver
  kTooOld,  ///< below 1.16 puts from memory of GPUs crash in UCX when they are short
};

/// Makes a context and ends it: about 10 ms.
[[nodiscard]] UcxCuda FindUcxCuda();

/// What UCX calls it.
[[nodiscard]] constexpr ucs_memory_type_t UcxTypeOf(DeviceMemoryKind kind) noexcept {
  return kind == DeviceMemoryKind::kCuda ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST;
}

}  // namespace terrace
