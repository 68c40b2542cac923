// Which PageMover a cache needs: where its layers lie says it.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"
#include "client/layout.hpp"
#include "client/paged/mover.h"

namespace terrace::paged {

/// The CPU's for memory of this process, else that of the GPU whose memory the layers are.
/// @return kInvalid names the field, or the layer that is neither; kUnsupported, kRetry and kIo as
///         CudaMover::Make.
Result<std::shared_ptr<PageMover>> PickMover(const CacheLayout& cache, const StoredLayout& stored,
                                             std::span<void* const> bases);

/// For who says that the layers are a GPU's. @return kInvalid when they are not, kUnsupported in a
///         library that was built without CUDA.
Status RequireGpuMemory(std::span<void* const> bases);

}  // namespace terrace::paged
