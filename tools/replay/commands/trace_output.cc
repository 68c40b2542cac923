#include "tools/replay/commands/trace_output.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>

namespace terrace::replay {

Status WriteTrace(const std::string& path, const Trace& trace, TraceFields fields) {
  const auto failed = [&path] {
    return Status(StatusCode::kIo, "cannot write " + (path.empty() ? "the trace" : path) + ": " +
                                       std::strerror(errno));
  };
  std::ofstream file;
  errno = 0;
  if (!path.empty()) {
    file.open(path, std::ios::binary | std::ios::trunc);
    if (!file) return failed();
  }
  std::ostream& out = path.empty() ? std::cout : file;
  for (std::size_t request = 0; request < trace.requests.size(); ++request) {
    WriteTraceLine(out, trace, request, fields);
  }
  out.flush();
  return out ? Status::Ok() : failed();
}

}  // namespace terrace::replay
