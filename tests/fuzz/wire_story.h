// Wire messages whose flatbuffer is whole and whose meaning is whatever an input says: what a
// mutated buffer would rarely get past the verifier with. Values; any thread.
#pragma once

#include "tests/fuzz/fuzz_input.h"

namespace terrace::fuzz {

/// A message of a client; its body's kind is the input's first byte.
Bytes ClientMessage(Input& input);
/// A message of a daemon, likewise.
Bytes DaemonMessage(Input& input);
/// How many kinds of bodies ClientMessage and DaemonMessage know.
inline constexpr unsigned kClientKinds = 21;
inline constexpr unsigned kDaemonKinds = 16;

/// Aligned as VerifyMessage wants them.
inline Bytes Aligned(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace terrace::fuzz
