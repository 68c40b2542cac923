// How far the ring of a stopped store's log has come: read from its segment headers, not from the
// daemon. Each segment's header has the sequence of the moment when it was begun (format.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace terrace::crash {

struct LogMark {
  /// [device and slice][segment]: sequence in its header; 0: never begun.
  std::vector<std::vector<std::uint64_t>> begun;
};

/// `files` empty: FOLDER/log-0. A store that is not there yet gives a mark without rings. The
/// store must be stopped: it is locked meanwhile.
Result<LogMark> ReadLogMark(const std::string& folder, const std::vector<std::string>& files);

/// True when some ring may have reused, or begun to reuse, a segment that was written after `then`:
/// all of its segments but one were begun since.
bool CameRound(const LogMark& then, const LogMark& now);

}  // namespace terrace::crash
