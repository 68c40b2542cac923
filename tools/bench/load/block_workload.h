// BlockWorkload: one chain of blocks as large as the cold walk needs, put and got through the
// client library.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/terrace.hpp"

namespace terrace::bench {

/// Exits with "terrace-bench: what: status" when not ok.
void Require(const Status& status, const std::string& what);

/// A namespace with one group of `block_bytes` and one shard, named after the size.
NamespaceDescriptor BenchNamespace(std::uint64_t block_bytes);
/// The key of 32 bytes at a position of a chain; another `salt` gives another key.
std::array<std::uint64_t, 4> BenchKey(std::uint32_t position, std::uint64_t salt) noexcept;
/// `count` such keys.
Chain BenchChain(std::uint32_t count, std::uint64_t salt = 0);

/// A namespace with a chain of as many blocks as fit `cold_bytes`, and memory for all of them.
class BenchStore {
 public:
  BenchStore(Client& client, std::uint64_t block_bytes, std::uint64_t cold_bytes);
  /// Forgets the blocks and the memory.
  ~BenchStore();
  BenchStore(const BenchStore&) = delete;
  BenchStore& operator=(const BenchStore&) = delete;

  /// The first of the next `count` positions of the walk over all blocks.
  std::uint32_t Next(std::uint32_t count);
  /// Forgets so many blocks, untimed, so that they can be put again.
  void Forget(std::uint32_t first, std::uint32_t count);

  Client& client;
  const std::uint32_t blocks;
  const Chain chain;
  NamespaceId space;
  RegionId region;

 private:
  const std::string name_;
  std::uint32_t cursor_ = 0;
};
/// Exits unless every block of a call is kOk.
void RequireAll(const Result<std::vector<BlockResult>>& results, const std::string& what);

class BlockWorkload {
 public:
  /// Walks `cold_bytes` (a multiple of block_bytes) of blocks. Stores all of them.
  BlockWorkload(Client& client, std::uint64_t block_bytes, std::uint64_t cold_bytes);

  /// Gets the next `burst_bytes` of the walk, `call_bytes` in a call; GB/s (1e9).
  double Get(std::uint64_t burst_bytes, std::uint64_t call_bytes);
  /// Forgets, untimed, and puts the next `burst_bytes` of the walk; GB/s (1e9).
  double Put(std::uint64_t burst_bytes, std::uint64_t call_bytes);

 private:
  /// Moves positions [first, first + count) in calls of at most `per_call`; seconds.
  double Move(std::uint32_t first, std::uint32_t count, std::uint32_t per_call, bool put);

  const std::uint64_t block_bytes_;
  BenchStore store_;
};

}  // namespace terrace::bench
