// Host memory that the GPUs of this process have pinned: once, however many of them copy from it.
#pragma once

#include <cstddef>
#include <span>

#include "base/status.h"

namespace terrace {

/// Pins it, or counts one more user of exactly this memory. Any thread. @return kInvalid when it
/// overlaps other pinned memory, kUnsupported when the driver cannot take it.
Status PinHostMemory(std::span<std::byte> memory);
/// REQUIRES: pinned by PinHostMemory; no copy of it is under way.
void UnpinHostMemory(std::span<std::byte> memory);

}  // namespace terrace
