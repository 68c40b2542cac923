// Aborts: calls that are given up in the middle, and whose memory is used for something else at
// once.
//
// Model. One daemon, two bystanders that keep it busy, and a client over shared memory and one over
// TCP in this process. In a round one of them begins a get or a put of kAbortBlocks blocks between
// guards, or of as many whose pieces of 8 KiB lie shuffled between guards, and gives it up some
// microseconds later by Cancel or by Fence: an eighth of the rounds is of each link, kind of call
// and shape of memory. Once that answered kOk,
//   A1. what is written into the memory then, guards and blocks, stays as it was written: nothing
//   of
//       the call that was given up arrives any more;
//   A2. a block that the call says it got was right;
//   A3. a block that the call has stored is right, though its source was overwritten at once;
//   A4. the call came back exactly once, before Cancel or Fence did.
#pragma once

#include <cstdint>
#include <string>

namespace terrace::peers {

struct AbortOptions {
  std::uint64_t seed = 1;
  std::uint32_t rounds = 200;
  std::string data;
  std::string programs;
};

struct AbortTotals {
  std::uint32_t rounds = 0;
  std::uint32_t of_pieces = 0;  ///< rounds whose blocks lay in pieces
  std::uint64_t stray = 0;      ///< rounds after which a byte had changed (A1)
  std::uint64_t wrong = 0;      ///< blocks (A2, A3)
  std::uint64_t lost = 0;       ///< calls that did not come back as A4 says
  std::uint64_t stuck = 0;      ///< rounds that Cancel or Fence did not end within 10 s
  std::uint64_t failed = 0;     ///< rounds that could not be run
  std::uint64_t cancelled = 0;  ///< blocks that were given up on their way
  std::uint64_t whole = 0;      ///< blocks that were faster
  double slowest_ms = 0;        ///< Cancel or Fence
  [[nodiscard]] bool Good() const {
    return stray + wrong + lost + stuck + failed == 0 && cancelled > 0;
  }
};

AbortTotals RunAbortCampaign(const AbortOptions& options);

}  // namespace terrace::peers
