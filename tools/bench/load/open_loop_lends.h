// Clients that borrow blocks by the clock, whether or not the one before has come: what a call
// waits for behind others is counted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace terrace::bench {

struct OpenLoop {
  std::size_t clients = 8;
  double calls_per_second = 250;  ///< of each client
  double seconds = 1;
  std::uint64_t block_bytes = 64 << 10;
  std::uint64_t set_bytes = 256 << 20;  ///< stored already: BenchChain of BenchNamespace
};

/// Times from when a call was due (or its thread awake, where it slept until then) until its
/// block's first byte was read and it was given back, us. Each client has a thread; the times
/// between its calls are drawn from `seed`, exponentially. Exits with a message when a call fails.
std::vector<double> LendByTheClock(const std::string& address, const OpenLoop& load,
                                   std::uint64_t seed);

}  // namespace terrace::bench
