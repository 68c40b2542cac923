// Target: one parser of bytes from outside, as the fuzzer and the corpus test run it.
//
// Model. A target takes any bytes. It must neither crash nor leak, and it checks with TERRACE_CHECK
// what the parser promises: what was read can be written again, an error says where, limits hold.
// It keeps nothing from one input to the next that changes what the next one does.
//
// Thread: one, the whole process's.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace terrace::fuzz {

using Bytes = std::vector<std::byte>;

struct Target {
  const char* name;  ///< as in tests/fuzz/corpus/NAME
  void (*run)(std::span<const std::byte> input);
  /// Inputs that the real encoders made: where the fuzzer begins.
  std::vector<Bytes> (*seeds)();
};

extern const Target kChannelTarget;
extern const Target kConfigTarget;
extern const Target kDataMessageTarget;
extern const Target kDataStreamTarget;
extern const Target kFrameReaderTarget;
extern const Target kIndexEntryTarget;
extern const Target kLeaseTarget;
extern const Target kNvmeHeaderTarget;
extern const Target kNvmeLogTarget;
extern const Target kReplyTarget;
extern const Target kRequestTarget;
extern const Target kRingTarget;
extern const Target kRingStreamTarget;
extern const Target kTextTarget;
extern const Target kTraceTarget;
extern const Target kTraceBailianTarget;
extern const Target kTraceWekaTarget;

/// All of them, for who runs more than one.
std::span<const Target* const> AllTargets();

}  // namespace terrace::fuzz
