// GuardedCopy: memcpy from or to memory that may be taken away meanwhile.
//
// A mapping of somebody else's memory can lose pages, and touching one then is SIGBUS. The first
// copy installs a handler for it, which puts an empty page in that place, so that the copy comes to
// its end and can be told from a good one. Faults elsewhere go to whatever was there before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace terrace {

/// Copies `bytes`. `doubtful`: whole pages that may be taken away; `to` or `from` lies there.
/// False: some were, the bytes are not to be used, and those pages are empty ones of this process
/// from now on. `checksum`: if not null, Checksum64 of what then stands at `to`. Any thread.
bool GuardedCopy(std::byte* to, const std::byte* from, std::size_t bytes,
                 std::span<const std::byte> doubtful, std::uint64_t* checksum = nullptr);

}  // namespace terrace
