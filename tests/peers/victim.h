// Victim: a client process that dies, or is stopped, in the middle of its conversation with the
// daemon.
//
// Model. `peer_faults --victim` runs one, started by the campaign (campaign.h). It connects, puts,
// gets, lends, matches, removes and clears at random, checks every byte it is given, and goes on
// until its standard input ends or it dies. What it has to say it prints, one line a matter:
// "ready" once it works, "wrong ..." for bytes that are not what was put, "done ..." at the end.
//
// Lifetime: a process.
#pragma once

#include <cstdint>
#include <string>

namespace terrace::peers {

struct VictimOptions {
  std::string address;
  bool tcp = false;
  std::uint64_t seed = 1;   ///< of its load
  std::uint64_t store = 0;  ///< with the number: names its blocks
  std::uint32_t number = 0;
  std::string point = {};  ///< "NAME:N" of base/crash_point.h, or one of VictimPoints; or empty
  int signal = 9;          ///< what it does to itself there: SIGKILL or SIGSTOP
  /// For partitions: one call at a time, with pauses, or none at all while the daemon is there; and
  /// it says when the daemon went away ("away T"), came back ("back T"), answered again ("good T").
  bool calm = false;
  bool idle = false;
};

/// Points of the victim's own, beside those of the library: what it holds or waits for when it
/// dies.
inline constexpr const char* kVictimPoints[] = {
    "victim.get_moves",      // blocks are on their way to it
    "victim.put_moves",      // blocks are on their way from it
    "victim.durable_waits",  // a put that asked for DURABLE is under way
    "victim.lent_held",      // it holds lent blocks
    "victim.lent_released",  // it has just released some, and asks for nothing more
    "victim.match_waits",   "victim.remove_waits", "victim.clear_waits",
};

/// The exit status: 0 when it was told to end, and every byte was right.
int RunVictim(const VictimOptions& options);

}  // namespace terrace::peers
