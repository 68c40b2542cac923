// The rounds of a campaign: each makes a store, breaks a device in one way, and holds what the
// daemon answers, counts and logs against what was broken.
//
// Thread: one. Lifetime: a round leaves nothing behind, whatever it found.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "base/random.h"
#include "tests/faults/fault_disk.h"
#include "tests/faults/judge.h"
#include "tests/faults/subject.h"

namespace terrace::faults {

struct Round {
  std::string programs;  ///< folder of terraced
  std::string folder;    ///< this round's, empty
  std::uint32_t number = 0;
  Random& random;
  Judge& judge;

  /// A number in [low, high].
  [[nodiscard]] std::uint64_t Draw(std::uint64_t low, std::uint64_t high) const {
    return low + random.Below(high - low + 1);
  }
  /// FOLDER/NAME, made.
  [[nodiscard]] std::string MakeFolder(const std::string& name) const;
};

/// A daemon whose log lies on one FaultDisk. Healed before the daemon is ended.
struct Scene {
  explicit Scene(const Round& round);
  ~Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  /// The disk is mounted and the daemon runs.
  [[nodiscard]] bool Begin();
  /// Ended, cleanly or not as drawn, and started again: every block is on the device alone.
  [[nodiscard]] bool Restart();

  const Round& round;
  Settings settings;
  std::unique_ptr<FaultDisk> disk;
  Subject subject;
};

struct Kind {
  const char* name;
  void (*run)(const Round&);
  std::uint32_t variants;  ///< what `number` goes through
};

void RunEio(const Round& round);
void RunStuck(const Round& round);
void RunThrottled(const Round& round);
void RunEnospc(const Round& round);
void RunRaw(const Round& round);
/// File kinds that RunFlip goes through.
inline constexpr std::uint32_t kFlipVariants = 16;
void RunFlip(const Round& round);
void RunStart(const Round& round);

}  // namespace terrace::faults
