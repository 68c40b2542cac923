// What the tests of the cache and the simulation share: chains of keys, and clients whose blocks'
// bytes are a function of the key, so that each reader can verify alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/scheduler.h"
#include "base/sim_link.h"
#include "base/task.h"
#include "cache/cache.h"
#include "cache/namespace_registry.h"
#include "tests/base/simulated_time.h"

namespace terrace::testing {

/// Keys of one chain, in prefix order.
using ChainKeys = std::vector<std::string>;
/// "name/0", "name/1", ...
ChainKeys MakeChain(const std::string& name, std::size_t length);
KeyView AsKey(const std::string& key);

/// Blocks [first, first + count) of a chain, cut into runs as a client does. The keys outlive it.
ChainSlice SliceOf(const Namespace& space, const ChainKeys& chain, std::size_t first,
                   std::size_t count, std::uint32_t group = 0, std::uint32_t shard = 0);

/// The bytes of a block: a pseudo-random stream seeded by namespace name, group, shard and key.
void FillBlock(std::span<std::byte> bytes, const Namespace& space, std::uint32_t group,
               std::uint32_t shard, KeyView key);
[[nodiscard]] bool IsBlock(std::span<const std::byte> bytes, const Namespace& space,
                           std::uint32_t group, std::uint32_t shard, KeyView key);

/// The memory of one client, in slots of one block each.
class ClientMemory {
 public:
  ClientMemory(std::size_t slots, std::uint64_t slot_bytes);
  [[nodiscard]] const SimMemory& memory() const noexcept { return memory_; }
  [[nodiscard]] std::size_t slots() const noexcept { return bytes_.size() / slot_bytes_; }
  [[nodiscard]] std::span<std::byte> Slot(std::size_t slot, std::uint64_t block_bytes);
  /// A slot's memory as `count` pieces, in an order that is not that of their addresses when
  /// count > 1: piece i of the block is not at offset i.
  [[nodiscard]] std::vector<Piece> Pieces(std::size_t slot, std::uint64_t block_bytes,
                                          std::size_t count) const;
  /// The block's bytes as its pieces name them, and back.
  void Scatter(std::size_t slot, std::size_t pieces, std::span<const std::byte> block);
  [[nodiscard]] std::vector<std::byte> Gather(std::size_t slot, std::uint64_t block_bytes,
                                              std::size_t pieces);
  void Poison(std::size_t slot, std::uint64_t block_bytes);

 private:
  std::uint64_t slot_bytes_;
  std::vector<std::byte> bytes_;
  SimMemory memory_;
};

/// A request and what is needed to fill and verify its memory. Block i uses slot first_slot + i.
struct ClientCall {
  const Namespace* space = nullptr;
  std::size_t first_slot = 0;
  std::size_t pieces = 1;
  GetRequest request;

  [[nodiscard]] std::vector<KeyView> Keys() const;
};

ClientCall MakeCall(const Namespace& space, ClientMemory& memory, ChainSlice chain, Nanos deadline,
                    std::size_t first_slot = 0, std::size_t pieces = 1);
/// Before a put: the bytes of every block. Before a get: noise in every destination.
void FillSources(const ClientCall& call, ClientMemory& memory);
void PoisonDestinations(const ClientCall& call, ClientMemory& memory);
/// Blocks answered kOk whose destination holds other bytes than were put under their key.
[[nodiscard]] std::size_t WrongBlocks(const ClientCall& call, ClientMemory& memory,
                                      const BatchAnswer& answer);

/// Statuses of an answer, e.g. "ok exists retry"; for failure messages and comparisons.
[[nodiscard]] std::string StatusText(const BatchAnswer& answer);

}  // namespace terrace::testing
