// CallWatch: a thread outside the loop waits until some calls are over.
//
// Model. A query names calls: one by its ticket, those whose memory overlaps some stretches, or all
// that were submitted. The loop takes it in the order in which commands were given (ClientCore,
// C1), so every call that was submitted before is known to it. It counts the calls that are not
// over, and sets `reached` when none is left.
//
// `left` is the loop's; `reached` may be waited for by one other thread, which says `abandoned`
// when it does so no longer: calls may be asked after again and again while the daemon stands
// still.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/signal.h"

namespace terrace {

/// Which calls are meant.
struct CallQuery {
  enum class Which : std::uint8_t { kTicket, kMemory, kSubmitted };
  Which which = Which::kSubmitted;
  std::uint64_t ticket = 0;  ///< of kTicket
  /// Of kMemory: in the order of their addresses, and apart (Apart makes them so).
  std::vector<std::span<const std::byte>> memory = {};
  bool gives_up = false;  ///< cancel them
  /// Nobody will wait for the watch: it is set when nothing is meant, and told of no end.
  bool only_looks = false;
};

/// The same bytes, in the order of their addresses, each once. None of the stretches is empty.
std::vector<std::span<const std::byte>> Apart(std::vector<std::span<const std::byte>> memory);

struct CallWatch {
  /// Wait until nothing touches the calls' memory, or only until they have been answered.
  explicit CallWatch(bool until_quiet) : quiet(until_quiet) {}
  const bool quiet;
  std::size_t left = 1;  ///< calls, and one until all have been counted
  Signal reached;
  std::atomic<bool> abandoned{false};
  bool doubted = false;  ///< the client ended first; written before `reached` is set

  void OneLess() {
    if (--left == 0) reached.Set();
  }
};

}  // namespace terrace
