// Canaries: bugs put in on purpose, to see that the simulation finds them.
//
// The program simulate_canaries holds them all: it compiles the sources that ask for one once more,
// with TERRACE_CANARIES (tests/sim/CMakeLists.txt). There the environment variable
// TERRACE_CANARY=name wakes one. tools/canaries wakes each in turn and runs random seeds until one
// fails; a canary that lives is a weakness of the simulation. In every other program and library
// CanaryIs is false at compile time, and neither canary nor name is in the binary. So no header of
// ours asks for one.
//
// Thread: any. A canary is one condition at the place of the bug, and no more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace terrace {

enum class Canary : std::uint8_t {
  kNone,
  kSkipPayloadCheck,       ///< a record's payload is not compared with its checksums
  kDropHeaderCheck,        ///< nor its header with its checksum, place and generation
  kIgnoreGeneration,       ///< a place is good whatever its segment's generation is now
  kAcceptShortRead,        ///< a device's read that failed half way counts as whole
  kPublishBeforeWrite,     ///< a record has its place in the index while it is being written
  kAcknowledgeBeforeSync,  ///< DURABLE is answered without a sync of the device
  kReuseUnderWrites,       ///< a segment's next generation begins while writes of the old go on
  kFreeFrameEarly,         ///< a frame is freed while a device still reads into it
  kCompareNoKey,           ///< equal locators are believed to be equal keys
  kForgetTombstone,        ///< a removal is told to nobody below DRAM
  kPublishBeforeArrival,   ///< a block can be found before its bytes have come
  kKeepSlotOnError,        ///< a push that failed keeps its transfer slot
  kMoveStaleRecord,        ///< reclaim does not look whether a block still is what it moved
  kLeaseWithoutPin,        ///< a lease counts its blocks in DRAM and does not pin them
};

#if defined(TERRACE_CANARIES)
inline constexpr bool kCanariesBuilt = true;
/// Whether the environment names this one.
[[nodiscard]] bool CanaryIs(Canary canary) noexcept;
/// Names that TERRACE_CANARY knows, in the order of the enum, without kNone.
[[nodiscard]] std::span<const std::string_view> CanaryNames() noexcept;
#else
inline constexpr bool kCanariesBuilt = false;
[[nodiscard]] constexpr bool CanaryIs(Canary) noexcept { return false; }
[[nodiscard]] inline std::span<const std::string_view> CanaryNames() noexcept { return {}; }
#endif

}  // namespace terrace
