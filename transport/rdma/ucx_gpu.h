// Whether UCX on this machine could move memory of GPUs itself.
#pragma once

namespace terrace {

/// Its transports for CUDA are installed and find a driver. Makes a context and ends it: about
/// 10 ms.
[[nodiscard]] bool UcxKnowsCuda();

}  // namespace terrace
