// OpenSequences: the sequences of a slice that were given out, and whose change of the index has
// not been handed to the index store yet. The lowest of them is how far the index can be trusted
// (index_entry.h, IndexMarker).
//
// Model. Whoever takes a sequence Begins it, hands over the change, and Ends it; so does who gives
// up. One that takes too long can be *released*: nobody waits for it any more, and End says so to
// its owner, who must then make its change durable before he promises anything.
//
// Thread: one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

#include "base/clock.h"

namespace terrace::nvme {

class OpenSequences {
 public:
  /// REQUIRES: above every one that began.
  void Begin(std::uint64_t sequence, Nanos now) { open_.emplace_hint(open_.end(), sequence, now); }
  /// False when it was released, or never began.
  [[nodiscard]] bool End(std::uint64_t sequence) { return open_.erase(sequence) != 0; }

  /// The lowest that is open; `none` when there is none.
  [[nodiscard]] std::uint64_t Lowest(std::uint64_t none) const {
    return open_.empty() ? none : open_.begin()->first;
  }
  /// All that began before this moment.
  void ReleaseOlder(Nanos moment) {
    // They began in the order of their sequences.
    const auto first = std::find_if(open_.begin(), open_.end(),
                                    [moment](const auto& open) { return open.second >= moment; });
    open_.erase(open_.begin(), first);
  }

 private:
  std::map<std::uint64_t, Nanos> open_;  // sequence, when it began
};

}  // namespace terrace::nvme
