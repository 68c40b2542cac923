// The limits of a network path: bare loops between two processes that use none of Terrace's code.
//
// Each forks its sender when it is made, so make them before the first thread of the program.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

namespace terrace::bench {

class StreamLimit {
 public:
  virtual ~StreamLimit() = default;
  /// Moves `blocks` blocks of `block_bytes` bytes from cold memory of another process to cold
  /// memory of this one, in one of two ways; GB/s (1e9), negative when it failed.
  virtual double Run(std::uint64_t block_bytes, std::uint64_t blocks, bool second_way) = 0;
};

/// One TCP connection over loopback. First way: received into the destination; second: into a hot
/// 1 MiB buffer that is then copied.
std::unique_ptr<StreamLimit> MakePlainTcpLimit(std::uint64_t cold_bytes);

/// UCX active messages over TCP with 1 MiB segments and a window of 4. First way: eager messages
/// copied out of the receive buffer; second: rendezvous into the destination.
std::unique_ptr<StreamLimit> MakeBareUcxLimit(std::uint64_t cold_bytes);

/// The system's TCP congestion control, e.g. "cubic": both limits and Terrace use it.
std::string CongestionControl();

}  // namespace terrace::bench
