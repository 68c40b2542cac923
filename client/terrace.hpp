// Terrace client library: the one header an inference engine includes.
//
// Model. A daemon, terraced, keeps KV-cache blocks. A *namespace* names everything that changes
// their bytes; a *chain* is the keys of a prompt's blocks in prefix order; a block is useless
// without its ancestors. An engine asks `Match` how many leading blocks of a chain are stored,
// `Get`s them into memory it registered, computes the rest and `Put`s it.
//
//   auto client = terrace::Client::Connect({.address = "127.0.0.1:7420"});
//   auto space  = client.value()->OpenNamespace(descriptor, terrace::In(1s));
//   auto memory = client.value()->AllocateRegion(64 << 20);
//   auto match  = client.value()->Match(space.value(), chain, {}, terrace::In(50ms));
//   auto blocks = client.value()->Get(space.value(), chain, destinations, {}, terrace::In(1s));
//
// Promises.
//   - Never wrong bytes: a block arrives whole and verified, or its status says that it did not.
//     After any status but kOk the content of that block's destination is undefined.
//   - Never a hang: every call ends at its deadline (plus at most 1 s to make sure that nothing
//     writes into the caller's memory any more, see kInDoubt). A daemon that is gone makes every
//     call answer kPeerDead at once; the library reconnects by itself, opens the namespaces and
//     registers the regions again, and no handle of the caller changes.
//   - Status is per block. A batch is never all or nothing.
//
// Threads. Every member function may be called from any thread at the same time. A call that waits
// does the library's work meanwhile, its own and that of all others: the thread that waits sends,
// receives and moves the bytes itself, because waking another thread to do it would take longer.
// While nobody waits, the Client's library thread does it, sends heartbeats and reconnects. So
//   - a thread inside a call that waits must not be cancelled (pthread_cancel) or left by longjmp,
//     and a signal handler must not call into the library. Signals are not blocked during a call;
//     a handler that returns breaks nothing;
//   - a thread that waits and does not get the processor (a debugger holds it, its priority is low)
//     holds up the other calls of its Client for as long.
// Submit... sends its request itself and never waits. Handles (NamespaceId, RegionId) are plain
// numbers of their Client and are void once it is destroyed. A Client does not survive fork(), also
// one of another thread while calls are under way: the child must connect anew, and calls in the
// child answer kInvalid.
//
// Compiles with g++ 12 and later, clang 16 and later, as C++20. No exceptions are thrown.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ack.h"
#include "base/limits.h"
#include "base/result.h"
#include "base/status.h"
#include "base/tier_kind.h"

#define TERRACE_API __attribute__((visibility("default")))

namespace terrace {

/// When a call must have ended, on the steady clock.
using Deadline = std::chrono::steady_clock::time_point;

/// The deadline that lies `duration` ahead, e.g. In(50ms).
inline Deadline In(std::chrono::steady_clock::duration duration) {
  return std::chrono::steady_clock::now() + duration;
}

/// The terrace of memory that a block was found on; TierName(tier) gives "dram", "nvme", ...
using Tier = TierKind;
// What a put waits for is Ack (kCommitted, kDurable), and why a block is no safer NotDurable, whose
// name NotDurableName(reason) gives: base/ack.h.

/// One attention kind of a model; its blocks all have the same size.
struct GroupSpec {
  std::uint32_t id = 0;            ///< The engine's number of the group, unique in a namespace.
  std::string attention = "full";  ///< "full", "window:4096", "state", ...; opaque to Terrace.
  std::uint64_t block_bytes = 0;   ///< Bytes of one block of one shard, 4 KiB to 64 MiB.
};

/// Everything that changes the bytes of a block. Two openers of one name must agree in every
/// field: the daemon compares a fingerprint and answers kIncompatible when they differ.
struct NamespaceDescriptor {
  std::string name;                       ///< 1 to 128 bytes, unique within the tenant.
  std::string model;                      ///< e.g. "meta-llama/Meta-Llama-3-8B".
  std::string weights;                    ///< Revision or digest of the weights.
  std::string kv_dtype = "bf16";          ///< Element type, with the quantisation scheme if any.
  std::string layout;                     ///< Order of the dimensions inside a block.
  std::string hash_algorithm = "sha256";  ///< How the engine makes keys.
  std::string hash_seed;                  ///< Seed of that hash; two seeds never share keys.
  std::uint32_t block_tokens = 0;         ///< Tokens of a full block, at least 1.
  std::uint32_t shard_count = 1;          ///< TP x PP ranks or canonical head ranges.
  std::uint32_t run_blocks = 64;          ///< Blocks placed together, 1 to 4096.
  std::vector<GroupSpec> groups;          ///< At least one, at most 64.
};

/// Keys of a prompt's blocks in prefix order, from the first block on. A key is 1 to 64 opaque
/// bytes (usually a 32-byte chained hash), never parsed and never truncated.
class Chain {
 public:
  /// Appends the next key. kInvalid, naming the position, when it has 0 or more than 64 bytes or
  /// when the chain is full; the chain is then unchanged.
  TERRACE_API Status Append(std::span<const std::byte> key);
  TERRACE_API Status Append(std::string_view key);

  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(ends_.size());
  }
  /// REQUIRES: position < size(). The view is valid until the chain is next changed.
  [[nodiscard]] std::span<const std::byte> key(std::uint32_t position) const noexcept {
    const std::uint32_t begin = position == 0 ? 0 : ends_[position - 1];
    return {bytes_.data() + begin, ends_[position] - begin};
  }
  void clear() noexcept {
    bytes_.clear();
    ends_.clear();
  }

 private:
  std::vector<std::byte> bytes_;     // all keys, one after the other
  std::vector<std::uint32_t> ends_;  // where each key ends in bytes_
};

struct NamespaceId {
  std::uint32_t value = 0;  ///< 0 is no namespace.
};
struct RegionId {
  std::uint32_t value = 0;  ///< 0 is no region.
};

/// Which blocks of a position a call is about.
struct BlockKind {
  std::uint32_t group = 0;  ///< GroupSpec::id.
  std::uint32_t shard = 0;  ///< Less than NamespaceDescriptor::shard_count.
};

/// A block's place in registered memory; its length is the group's block_bytes.
struct BlockBuffer {
  std::uint32_t position = 0;      ///< Index in the chain.
  RegionId region;                 ///< From RegisterMemory or AllocateRegion.
  std::uint64_t offset = 0;        ///< Bytes from the start of the region.
  std::uint32_t valid_tokens = 0;  ///< Put: tokens the block holds; 0 means all of block_tokens.
};

/// The outcome for one block.
struct BlockResult {
  /// Get: kOk, kMiss, kCorrupt, kTimeout, kInDoubt, kPeerDead, kRetry, ...
  /// Put: kOk (stored, visible to others), kExists, kPending, kRetry (no space), ...
  StatusCode status = StatusCode::kInternal;
  Tier tier = Tier::kNone;         ///< Where it was found (get) or stored (put).
  std::uint32_t valid_tokens = 0;  ///< Get: tokens the block holds.
  /// Put that asked for Ack::kDurable, and kOk or kExists: the level that the block has reached,
  /// and why no more. kCommitted with kNone: for a reason that this library has no name for.
  Ack ack = Ack::kCommitted;
  NotDurable not_durable = NotDurable::kNone;
};

class LentMemory;

/// A block in the daemon's own memory, lent for reading: no byte is copied. Move-only; it goes
/// back when it is released or destroyed, which must be before the lease ends.
///
/// The daemon may end a lease early (the client seemed dead, or is too slow), and the bytes then
/// change under the reader. So: read, then Release, and use what was read (a copy, a sum, a
/// kernel's result) only when that answers kOk. The memory stays readable as long as this object
/// lives, whatever became of the daemon, the connection or the Client.
class TERRACE_API LentBlock {
 public:
  LentBlock() noexcept;
  ~LentBlock();
  LentBlock(LentBlock&& other) noexcept;
  LentBlock& operator=(LentBlock&& other) noexcept;
  LentBlock(const BlockResult& result, std::unique_ptr<LentMemory> memory) noexcept;

  /// As of a get; kUnsupported where the daemon is not on this host or lends nothing, kRetry when
  /// this client or all of them hold as much as they may: Get does it then.
  StatusCode status = StatusCode::kInternal;
  Tier tier = Tier::kNone;
  std::uint32_t valid_tokens = 0;

  /// The block, block_bytes long, read-only; empty unless status is kOk and after Release.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept;
  /// True: what was read before this call was the block.
  [[nodiscard]] bool Intact() const noexcept;
  /// Gives the block back: kOk when what was read was the block, kExpired when it must not be used,
  /// kInvalid when there is nothing to give back. A few loads and stores and a getpid. After fork()
  /// the block stays the parent's: kExpired in the child.
  StatusCode Release() noexcept;

 private:
  std::unique_ptr<LentMemory> memory_;
};

struct MatchResult {
  std::uint32_t matched = 0;  ///< Leading blocks of the chain that are stored now.
  std::vector<Tier> tiers;    ///< Tier of each of them; size() == matched.
};

using Ticket = std::uint64_t;  ///< Names a submitted call; never 0 and never used twice.

/// The end of a submitted call.
struct Completion {
  Ticket ticket = 0;
  Status status;                    ///< Ok when `match` or `blocks` holds the answer.
  MatchResult match;                ///< Of SubmitMatch.
  std::vector<BlockResult> blocks;  ///< Of SubmitGet, SubmitPut, SubmitRemove: one per block asked.
  std::vector<LentBlock> lent;      ///< Of SubmitLend: one per position asked.
};

enum class LinkChoice : std::uint8_t {
  kAuto,  ///< The fastest that works between this process and the daemon.
  kTcp,   ///< Only UCX over TCP.
};

struct ClientOptions {
  std::string address = "127.0.0.1:7420";  ///< HOST:PORT of the daemon; IPv6 as [::1]:7420.
  std::string tenant = "default";          ///< 1 to 128 bytes; tenants never see each other.
  std::string name = "client";             ///< For the daemon's log and `terracectl stat`.
  LinkChoice link = LinkChoice::kAuto;
  std::chrono::milliseconds connect_timeout{2000};  ///< Of the first connection.
  bool verify_same_host = false;  ///< Also hash what was copied on this host (TCP always is).
};

/// One number of the daemon, named as in docs/operations.md.
struct Sample {
  std::string name;    ///< e.g. "terrace_blocks_hit_total"
  std::string labels;  ///< e.g. "tier=\"dram\"", or empty
  double value = 0;
};

struct NamespaceInfo {
  std::string tenant;
  std::string name;
  std::string fingerprint;  ///< 32 hexadecimal digits.
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
};

class TERRACE_API Client {
 public:
  /// Starts the library thread and waits until the daemon answered or connect_timeout passed.
  /// @return kPeerDead when nobody answers, kIncompatible when the protocol versions do not
  ///         overlap, kInvalid when an option is wrong.
  static Result<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  /// Ends every call in flight with kCancelled, waits for the library thread (at most 1 s).
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Opens, or makes, a namespace. Opening it again returns the same id.
  /// @return kIncompatible when the daemon knows the name with another fingerprint; the message
  ///         names both. kInvalid names the field.
  Result<NamespaceId> OpenNamespace(const NamespaceDescriptor& descriptor, Deadline deadline);

  /// Makes [base, base + length) usable in Get and Put. The memory stays the caller's and must
  /// outlive the region. @return kInvalid for a null base or a length of 0.
  Result<RegionId> RegisterMemory(void* base, std::uint64_t length);
  /// Allocates, touches and registers memory on huge pages where the host gives them; freed by
  /// DeregisterMemory or with the Client. A daemon of this host maps it and copies faster; a child
  /// that is forked shares it. length: bytes.
  Result<RegionId> AllocateRegion(std::uint64_t length);
  /// The memory of a region; empty for an unknown id.
  std::span<std::byte> RegionMemory(RegionId region) const;
  /// kRetry while calls that use the region are in flight or in doubt; kInvalid when unknown.
  Status DeregisterMemory(RegionId region);
  /// Ok once nothing can write into the region any more (after kInDoubt); kTimeout otherwise.
  Status Quiesce(RegionId region, Deadline deadline);

  /// How many leading blocks of `chain` are stored, and on which tier each lies. Does not change
  /// recency and reserves nothing: a block may be gone when it is asked for.
  Result<MatchResult> Match(NamespaceId space, const Chain& chain, BlockKind kind,
                            Deadline deadline);
  /// Copies blocks into registered memory. `blocks` may name any positions of the chain, each at
  /// most once, at most 65,536. The result has one entry per entry of `blocks`.
  Result<std::vector<BlockResult>> Get(NamespaceId space, const Chain& chain,
                                       std::span<const BlockBuffer> blocks, BlockKind kind,
                                       Deadline deadline);
  /// Stores blocks from registered memory. Returns when the memory may be reused; kOk means
  /// COMMITTED: visible to every client of the namespace. With Ack::kDurable it waits until the
  /// blocks survive kill -9 of the daemon and power loss, too. Where they cannot (no NVMe tier,
  /// today's writes are spent, the deadline came first, ...) a block is kOk all the same, with
  /// BlockResult::ack kCommitted and the reason.
  Result<std::vector<BlockResult>> Put(NamespaceId space, const Chain& chain,
                                       std::span<const BlockBuffer> blocks, BlockKind kind,
                                       Deadline deadline, Ack ack = Ack::kCommitted);
  /// Lends blocks instead of copying them: from DRAM at once, from NVMe once it is read and
  /// verified. `positions`: of the chain, each at most once, at most 65,536; the result has one
  /// entry per position. `lease`: how long at most, up to 60 s; 0: the daemon's default, 10 s.
  Result<std::vector<LentBlock>> Lend(NamespaceId space, const Chain& chain,
                                      std::span<const std::uint32_t> positions, BlockKind kind,
                                      Deadline deadline, std::chrono::milliseconds lease = {});
  /// Forgets blocks [first, first + count) of the chain: kOk, or kMiss where none was stored.
  Result<std::vector<BlockResult>> Remove(NamespaceId space, const Chain& chain,
                                          std::uint32_t first, std::uint32_t count, BlockKind kind,
                                          Deadline deadline);

  /// The same calls without waiting. Arguments are copied before the call returns, except the
  /// registered memory. Every accepted ticket comes back from Poll exactly once.
  /// @return kInvalid names the argument; kRetry when 4,096 calls are in flight.
  Result<Ticket> SubmitMatch(NamespaceId space, const Chain& chain, BlockKind kind,
                             Deadline deadline);
  Result<Ticket> SubmitGet(NamespaceId space, const Chain& chain,
                           std::span<const BlockBuffer> blocks, BlockKind kind, Deadline deadline);
  Result<Ticket> SubmitPut(NamespaceId space, const Chain& chain,
                           std::span<const BlockBuffer> blocks, BlockKind kind, Deadline deadline,
                           Ack ack = Ack::kCommitted);
  Result<Ticket> SubmitLend(NamespaceId space, const Chain& chain,
                            std::span<const std::uint32_t> positions, BlockKind kind,
                            Deadline deadline, std::chrono::milliseconds lease = {});
  Result<Ticket> SubmitRemove(NamespaceId space, const Chain& chain, std::uint32_t first,
                              std::uint32_t count, BlockKind kind, Deadline deadline);
  /// Takes at most `most` finished calls, oldest first; never blocks.
  std::vector<Completion> Poll(std::size_t most = 64);
  /// Waits until Poll would return something. @return kTimeout at the deadline.
  Status WaitForCompletion(Deadline deadline);
  /// Readable while Poll would return something; for epoll or asyncio. Owned by the Client: do
  /// not read, write or close it.
  int CompletionFd() const;

  /// A round trip that does nothing else, through every reactor of the daemon.
  Status Ping(Deadline deadline);
  /// The daemon's counters, as in its Prometheus endpoint, summed over its reactors.
  Result<std::vector<Sample>> Stat(Deadline deadline);
  Result<std::vector<NamespaceInfo>> ListNamespaces(Deadline deadline);
  /// Forgets every block of a namespace of this client's tenant. @return how many there were;
  ///         kMiss when there is no such namespace.
  Result<std::uint64_t> ClearNamespace(std::string_view name, Deadline deadline);

  [[nodiscard]] bool Connected() const;
  /// How the bytes move: "shm" (same host), "tcp", "rdma"; "none" while not connected.
  [[nodiscard]] std::string LinkName() const;
  /// Times that the connection was lost and made anew.
  [[nodiscard]] std::uint64_t Reconnects() const;

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace terrace
