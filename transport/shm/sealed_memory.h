// Memory of another process, that it cannot make shorter: mapped where huge pages can be.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace terrace {

/// A mapping of the first `bytes` of a memfd; the caller unmaps it, `mapped` bytes from `begin`.
struct SealedMapping {
  std::byte* begin = nullptr;
  std::size_t mapped = 0;
};

/// Maps `bytes` of `fd`, shared. `protection`: PROT_READ, or PROT_READ | PROT_WRITE. kInvalid when
/// `fd` is no memory of the system's small pages (tmpfs) with F_SEAL_SHRINK and at least `bytes`;
/// kIo with errno. `what` begins the message.
Result<SealedMapping> MapSealed(int fd, std::uint64_t bytes, int protection,
                                const std::string& what);

}  // namespace terrace
