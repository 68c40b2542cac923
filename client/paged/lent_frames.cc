#include "client/paged/lent_frames.h"

#include <span>

#include "transport/shm/lent_memory.h"

namespace terrace::paged {

bool CanScatterFrom(const std::shared_ptr<PageMover>& mover, const LentBlock& block) {
  const ExtentMapping& extent = block.memory()->extent();
  if (!extent.gpu().empty()) return extent.gpu() == mover->gpu();
  return extent.Attach([&]() -> std::shared_ptr<void> {
    const std::span<const std::byte> bytes = extent.bytes();
    // Registered as read-only.
    const std::span<std::byte> memory(const_cast<std::byte*>(bytes.data()), bytes.size());
    if (!mover->RegisterFrames(memory, true).ok()) return nullptr;
    return std::shared_ptr<void>(memory.data(),
                                 [mover, memory](void*) { mover->DeregisterFrames(memory); });
  });
}

}  // namespace terrace::paged
