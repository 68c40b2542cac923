// A worker process of a replay: takes orders from the coordinator and does what a prefill or a
// decode engine does with the cache.
//
//   prefill  match the prefix, get the hit blocks, "compute" the rest (produce their bytes), put it
//   decode   get all blocks of the request
//
// A daemon that is gone makes misses, not errors: the worker goes on, pausing a little for each
// request, until the client library has reconnected. Thread: the process's main thread.
#pragma once

#include <string>

namespace terrace::replay {

/// control_fd: the socket to the coordinator; workload_fd: the memfd of SharedWorkload. Both are
/// taken over. name: for the daemon's log. @return the process's exit status: 0 after kStop or when
/// the coordinator is gone, 1 after a failure (which was reported).
int RunWorker(int control_fd, int workload_fd, const std::string& name);

}  // namespace terrace::replay
