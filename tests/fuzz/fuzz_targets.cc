#include <array>

#include "tests/fuzz/fuzz_target.h"

namespace terrace::fuzz {

std::span<const Target* const> AllTargets() {
  static constexpr std::array kAll = {
      &kChannelTarget,     &kConfigTarget,     &kDataMessageTarget, &kDataStreamTarget,
      &kFrameReaderTarget, &kIndexEntryTarget, &kLeaseTarget,       &kNvmeHeaderTarget,
      &kNvmeLogTarget,     &kReplyTarget,      &kRequestTarget,     &kRingTarget,
      &kRingStreamTarget,  &kTextTarget,       &kTraceTarget,       &kTraceBailianTarget,
      &kTraceWekaTarget};
  return kAll;
}

}  // namespace terrace::fuzz
