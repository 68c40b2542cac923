// NvmeWorkload: blocks of one size that lie on NVMe, put and got in bursts.
//
// The blocks are a chain that fills `set_bytes`, walked in chain order by puts and in a random
// order by gets; a block comes up again only after the whole set, so that DRAM of an eighth of it
// has long forgotten it. A block that is put again gets another key, since removing the old one
// would cost a write of its own; what it was falls out of the log. Every get is compared with what
// was put, outside its time. The daemon has one reactor: a new key may be the placement of old
// ones.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/terrace.hpp"
#include "tools/bench/load/block_pipeline.h"

namespace terrace::bench {

/// What the answers were: a figure of NVMe must not hide that it was none.
struct NvmeTally {
  std::uint64_t gets = 0, from_dram = 0, missed = 0, get_failures = 0;
  std::uint64_t puts = 0;
  std::array<std::uint64_t, kStatusCodeCount> put_statuses{};  ///< of those that were not kOk
  std::array<std::uint64_t, kNotDurableCount> not_durable{};   ///< by NotDurable
  std::uint64_t durable_bytes = 0;                             ///< put, and answered kDurable

  /// What was not as it should be; empty when all gets came from NVMe and all puts are durable.
  [[nodiscard]] std::string Text() const;
};

struct NvmeBurst {
  double rate = -1;  ///< GB/s (1e9) of what NVMe did; negative when that was below 95 % of it
  std::vector<double> latencies_s;  ///< of the calls
  CpuTimes cpu;                     ///< of this process, without what checking bytes took
};

struct NvmeWorkloadOptions {
  std::string name;  ///< of the namespace
  std::uint64_t block_bytes = 0;
  std::uint64_t set_bytes = 0;     ///< a multiple of burst_bytes
  std::uint64_t burst_bytes = 0;   ///< a multiple of block_bytes
  std::uint64_t put_bytes = 0;     ///< of one Put, a multiple of burst_bytes that divides set_bytes
  std::uint64_t memory_bytes = 0;  ///< of the client, walked through; a multiple of put_bytes
};

class NvmeWorkload {
 public:
  /// Nothing is stored yet. The client outlives it, and is used by nobody else during a burst.
  NvmeWorkload(Client& client, NvmeWorkloadOptions options);
  /// Forgets the blocks and the memory.
  ~NvmeWorkload();
  NvmeWorkload(const NvmeWorkload&) = delete;
  NvmeWorkload& operator=(const NvmeWorkload&) = delete;

  /// Puts the next put_bytes of the set to durable, PutDepth at once.
  NvmeBurst Put();
  /// Puts what no Put has put yet.
  void FillSet();
  /// Puts the whole set anew.
  void RefillSet();
  /// Gets the next burst in the random order. REQUIRES: the set was filled. Exits with a message
  /// when a block's bytes are not those that were put.
  NvmeBurst Get();
  /// The same, lent: the last kDepth blocks of the burst are compared.
  NvmeBurst Lend();

  [[nodiscard]] const NvmeTally& tally() const noexcept { return tally_; }
  [[nodiscard]] const NvmeWorkloadOptions& options() const noexcept { return options_; }

 private:
  /// The set's keys as they are now.
  void BuildChain();
  /// The buffers of a burst's blocks, one after the other in the walk through the memory.
  std::vector<BlockBuffer> PlaceBurst(std::span<const std::uint32_t> positions);
  std::vector<BlockBuffer> NextGets();
  std::span<std::byte> BytesOf(const BlockBuffer& block);
  /// Gives a block other bytes than it had, and notes their checksum.
  void Compose(const BlockBuffer& block);
  void Verify(std::uint32_t position, std::uint64_t checksum, const BlockResult& result);
  [[nodiscard]] NvmeBurst BurstOf(const PipelineRun& run, std::uint64_t counted) const;
  std::uint64_t CountGets(const PipelineRun& run);
  std::uint64_t CountPuts(const PipelineRun& run);

  Client& client_;
  const NvmeWorkloadOptions options_;
  const std::uint32_t blocks_;  // of the set
  const std::uint32_t burst_;   // blocks of a burst
  const std::uint32_t put_;     // blocks of a Put
  Chain chain_;
  NamespaceId space_;
  RegionId region_;
  std::vector<std::uint32_t> order_;      // positions as gets walk them
  std::vector<std::uint64_t> checksums_;  // by position
  std::vector<std::uint32_t> times_put_;  // by position
  std::uint32_t put_cursor_ = 0;
  std::uint32_t get_cursor_ = 0;  // in order_
  std::uint64_t memory_cursor_ = 0;
  NvmeTally tally_;
};

}  // namespace terrace::bench
