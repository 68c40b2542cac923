// Blocks that the daemon lends as the frames of a mover: a GPU's reads them over PCIe where they
// lie, once the mapping of their extent is registered, or in its own memory. Thread: any.
#pragma once

#include <memory>

#include "client/paged/mover.h"
#include "client/types.hpp"

namespace terrace::paged {

/// Registers the extent that the block lies in, once for as long as it is mapped (some 10 ms for
/// 256 MiB). False when the driver cannot take memory that is mapped read-only: frames of one's own
/// then. REQUIRES: block.status is kOk.
bool CanScatterFrom(const std::shared_ptr<PageMover>& mover, const LentBlock& block);

}  // namespace terrace::paged
