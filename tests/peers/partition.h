// Partitions: a network between daemon and clients that is cut without a word to either side, both
// ways or one, and mended some seconds later.
//
// Model. The daemon lies in one network namespace, two victims in another (net_room.h): one that
// calls all the time, one that is idle. In a round the network is cut; then
//   N1. both victims know within 3 s that the daemon is away, and their calls end at their
//       deadline, plus at most 1 s;
//   N2. the daemon has let go of both within 3 s: no connection, no frame in quarantine;
//   N3. once the network is whole the same Client answers again by itself;
//   N4. no byte is wrong, and a bystander on the daemon's own host notices nothing.
// A failure is what takes ten times as long; the totals say what was measured.
#pragma once

#include <cstdint>
#include <string>

namespace terrace::peers {

struct PartitionOptions {
  std::uint64_t seed = 1;
  std::uint32_t rounds = 4;
  std::string data;
  std::string programs;
};

struct PartitionTotals {
  std::uint32_t rounds = 0;
  std::uint64_t wrong = 0;   ///< bytes
  std::uint64_t missed = 0;  ///< partitions not found, or not healed, in time
  std::uint64_t harmed = 0;  ///< calls of the bystander
  std::uint64_t failed = 0;
  double client_found_s = 0, daemon_found_s = 0, healed_s = 0;  ///< the slowest
  double slowest_call_s = 0;  ///< of a victim, of which a pair has 2 s each
  [[nodiscard]] bool Good() const { return wrong + missed + harmed + failed == 0; }
};

PartitionTotals RunPartitionCampaign(const PartitionOptions& options);

}  // namespace terrace::peers
