// Elsewhere: ends what another process made, where nobody waits for it.
//
// To close a file takes as long as its maker likes: a TCP socket that lingers waits for whoever is
// to take its last bytes, a file of FUSE for the process behind it. To let go of much memory that
// nobody else has any more takes the system a second for some 16 GiB of small pages. A reactor does
// neither.
//
// Model. A few threads that live while there is something to do; they are not waited for, also not
// at the end of the process. When all of them are held up, what comes then waits, with the
// descriptors or the memory that it is about, but no caller does.
//
// Thread: any.
#pragma once

#include <functional>

#include "transport/socket.h"

namespace terrace {

/// Runs `work` on another thread, soon. Never waits.
void DoElsewhere(std::function<void()> work);

/// Closes a descriptor that another process passed: memory at once, all else elsewhere.
void CloseForeign(UniqueFd fd);

}  // namespace terrace
