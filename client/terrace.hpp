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
// Per call, all of them from any thread and at the same time but the last:
//   never waits, for threads that must not (well under 1 ms with up to 1,000 blocks, whatever the
//     daemon does and whoever waits beside): Submit..., which sends its request itself or leaves
//     that to the thread that runs the loop now; Poll, RegionMemory, ReleaseLease, CompletionFd,
//     Connected, LinkName, Reconnects; Cancel, Fence and Drain with a deadline that has passed;
//   waits until its deadline at most: every other call that has one;
//   waits otherwise: Connect until connect_timeout, RegisterMemory while a NIC pins it (over shm
//     and tcp not at all), AllocateRegion while memory is touched, DeregisterMemory and Close at
//     most 1 s;
//   the destructor, at most 1 s: one thread, once no other is inside a call or begins one.
// Handles (NamespaceId, RegionId, Ticket) are plain numbers of their Client and are void once it is
// destroyed; no other Client of the process takes them for its own. A Client does not survive
// fork(), also one of another thread while calls are under way: the child must connect anew, and
// calls in the child answer kInvalid.
//
// Compiles with g++ 12 and later, clang 16 and later, as C++20. No exceptions are thrown.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/status.h"
#include "client/events.hpp"
#include "client/explain.hpp"
#include "client/types.hpp"

namespace terrace {

class TERRACE_API Client {
 public:
  /// Starts the library thread and waits until the daemon answered or connect_timeout passed.
  /// @return kPeerDead when nobody answers, kIncompatible when the protocol versions do not
  ///         overlap, kInvalid when an option is wrong.
  static Result<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  /// Ends every call in flight with kCancelled, waits for the library thread (at most 1 s). Blocks
  /// that a daemon of this host, which stands still, may yet write to or read say kInDoubt.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Ends every call in flight as the destructor does, also those that other threads wait for;
  /// what is called later answers kCancelled or kPeerDead. Regions and what waits for Poll stay
  /// until the Client is destroyed. Once is enough; does nothing in a forked child.
  void Close();

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
  /// RegisterMemory and AllocateRegion on a thread of the library, one after the other, touching
  /// 4 MiB at a time, for those who must not wait (touching memory takes 0.1 to 0.5 s a GiB):
  /// Completion::region. @return kInvalid as above; kRetry when 4,096 calls are in flight.
  Result<Ticket> SubmitRegisterMemory(void* base, std::uint64_t length);
  Result<Ticket> SubmitAllocateRegion(std::uint64_t length);
  /// Makes memory of a GPU usable in Get and Put, and what they have of pieces: the daemon's GPU
  /// copies straight into and out of it, on whose host it is, over shm, with [hbm] on that GPU.
  /// [base, base + length) lies in one allocation of this process (cudaMalloc; not of a pool or of
  /// virtual memory), which must not be freed before DeregisterMemory has answered kOk. Calls do
  /// not wait for streams: what they read is written, and nobody uses what they write, before they
  /// begin. A daemon that comes back is told again.
  /// @return kUnsupported, with the reason, where the daemon cannot, its process cannot be watched
  ///         (it is in another PID namespace), or this library was built without CUDA: register
  ///         memory of the host, and copy. kInvalid names the argument. kInDoubt: it failed, and
  ///         the daemon may have mapped it: free it when that daemon has exited. After any other
  ///         failure it is not mapped.
  Result<RegionId> RegisterDeviceMemory(void* base, std::uint64_t length, Deadline deadline);
  /// The memory of a region; empty for an unknown id. Of a GPU's it is an address of the device.
  std::span<std::byte> RegionMemory(RegionId region) const;
  /// kRetry while calls that use the region are in flight or in doubt, or the daemon has not let go
  /// of memory of a GPU within a second; kInDoubt where it could not say whether it has: the
  /// connection is lost, and its process lives. Of both try again. kInvalid when unknown.
  Status DeregisterMemory(RegionId region);
  /// Ok once nothing can write into the region any more (after kInDoubt); kTimeout otherwise.
  Status Quiesce(RegionId region, Deadline deadline);

  /// How many leading blocks of `chain` are stored, and on which tier each lies. Does not change
  /// recency and reserves nothing: a block may be gone when it is asked for.
  Result<MatchResult> Match(NamespaceId space, const Chain& chain, BlockKind kind,
                            Deadline deadline);
  /// Copies blocks into registered memory. `blocks` may name any positions of the chain, each at
  /// most once, at most 65,536; their memory may not overlap. The result has one entry per entry of
  /// `blocks`.
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
  /// The same for who can read memory of a GPU: with options.gpu a block that lies there is lent
  /// there, where the daemon lets this tenant (hbm.lend_tenants); LentBlock::gpu says so. What
  /// cannot be mapped here is lent in memory of the host, from then on at once: DeviceLending.
  Result<std::vector<LentBlock>> LendWith(NamespaceId space, const Chain& chain,
                                          std::span<const std::uint32_t> positions, BlockKind kind,
                                          Deadline deadline, const LendOptions& options);
  /// Why this Client asks for no memory of that GPU any more: what it was lent of it could not be
  /// mapped. Ok as long as that has not happened.
  [[nodiscard]] Status DeviceLending(std::string_view gpu) const;
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
  /// A block that was lent in memory of a GPU that could not be mapped is kUnsupported here.
  Result<Ticket> SubmitLendWith(NamespaceId space, const Chain& chain,
                                std::span<const std::uint32_t> positions, BlockKind kind,
                                Deadline deadline, const LendOptions& options);
  Result<Ticket> SubmitRemove(NamespaceId space, const Chain& chain, std::uint32_t first,
                              std::uint32_t count, BlockKind kind, Deadline deadline);
  /// Takes at most `most` finished calls, oldest first; never blocks.
  std::vector<Completion> Poll(std::size_t most = 64);
  /// Waits until Poll would return something. @return kTimeout at the deadline.
  Status WaitForCompletion(Deadline deadline);
  /// Readable while Poll would return something; for epoll or asyncio. Owned by the Client: do
  /// not read, write or close it.
  int CompletionFd() const;

  // ---- Groups, shards and leases ------------------------------------------------------------

  /// Where every block of the chain stands, over several groups and shards in one call, and after
  /// how many blocks the engine can continue (StopPolicy). With MatchMode::kLease what the longest
  /// stop point needs stays where it is, and can be got, until the lease ends: by its time, by
  /// ReleaseLease, or with the connection.
  Result<PrefixMatch> MatchGroups(NamespaceId space, const Chain& chain, const MatchQuery& query,
                                  Deadline deadline);
  Result<Ticket> SubmitMatchGroups(NamespaceId space, const Chain& chain, const MatchQuery& query,
                                   Deadline deadline);
  /// From now on for `time` (up to 60 s; 0: 10 s). @return kExpired when it has ended, on any
  /// reactor, or a block of it has gone (see MatchMode::kLease): all of it is then released;
  /// kInvalid for a lease that this Client never had.
  Status RenewLease(LeaseId lease, std::chrono::milliseconds time, Deadline deadline);
  Result<Ticket> SubmitRenewLease(LeaseId lease, std::chrono::milliseconds time, Deadline deadline);
  /// Ends a lease; kOk also when it had ended. kInvalid as above. Never waits.
  Status ReleaseLease(LeaseId lease);

  // ---- Lists of pieces, parts of blocks -----------------------------------------------------

  /// As Get, into lists of pieces, and of whole blocks or parts of them (BlockPieces::range). The
  /// pieces of one call may not overlap each other. At most 65,536 pieces in a call.
  Result<std::vector<BlockResult>> GetPieces(NamespaceId space, const Chain& chain,
                                             std::span<const BlockPieces> blocks, BlockKind kind,
                                             Deadline deadline);
  Result<Ticket> SubmitGetPieces(NamespaceId space, const Chain& chain,
                                 std::span<const BlockPieces> blocks, BlockKind kind,
                                 Deadline deadline);
  /// As Put, from lists of pieces, which may overlap.
  Result<std::vector<BlockResult>> PutPieces(NamespaceId space, const Chain& chain,
                                             std::span<const BlockPieces> blocks, BlockKind kind,
                                             Deadline deadline, Ack ack = Ack::kCommitted);
  Result<Ticket> SubmitPutPieces(NamespaceId space, const Chain& chain,
                                 std::span<const BlockPieces> blocks, BlockKind kind,
                                 Deadline deadline, Ack ack = Ack::kCommitted);

  // ---- A block from several writers ---------------------------------------------------------

  /// Reserves one block of the chain for writers that each bring a part. It ends by Commit, Abort,
  /// when `patience` (up to 60 s; 0: 10 s) passed without a write, or with the last Client that
  /// wrote to it or reserved it; while another of them lives, what a dead one left out can be
  /// written by it.
  /// @param valid_tokens tokens the block will hold; 0 means all of block_tokens.
  Result<Reservation> Reserve(NamespaceId space, const Chain& chain, std::uint32_t position,
                              BlockKind kind, Deadline deadline, std::uint32_t valid_tokens = 0,
                              std::chrono::milliseconds patience = {});
  Result<Ticket> SubmitReserve(NamespaceId space, const Chain& chain, std::uint32_t position,
                               BlockKind kind, Deadline deadline, std::uint32_t valid_tokens = 0,
                               std::chrono::milliseconds patience = {});
  /// Writes parts of a reserved block: one result per fragment. kInvalid: it lies outside the
  /// block, or overlaps what was written or is being written. kExpired: the reservation has ended.
  Result<std::vector<BlockResult>> Write(const PutToken& token,
                                         std::span<const BlockFragment> fragments,
                                         Deadline deadline);
  Result<Ticket> SubmitWrite(const PutToken& token, std::span<const BlockFragment> fragments,
                             Deadline deadline);
  /// Makes the block visible. kInvalid while a byte of it was not written or is being written: the
  /// message names the first; the reservation stays. kExpired as above. `ack` as of Put.
  Result<BlockResult> Commit(const PutToken& token, Deadline deadline, Ack ack = Ack::kCommitted);
  Result<Ticket> SubmitCommit(const PutToken& token, Deadline deadline, Ack ack = Ack::kCommitted);
  /// Gives the reservation up; kOk also when it had ended without a commit. Returns when nothing
  /// reads the memory of its fragments any more.
  Status Abort(const PutToken& token, Deadline deadline);
  Result<Ticket> SubmitAbort(const PutToken& token, Deadline deadline);

  // ---- Hand-off: a chain sent layer by layer to who waits for it ----------------------------

  /// Names a new hand-off. Never waits; the token may travel before the hand-off is opened.
  /// @return kPeerDead when not connected.
  Result<HandoffToken> NewHandoff() const;
  /// Opens it over blocks [first, first + count) of the chain. Per block kOk: reserved, to be sent.
  /// kExists: stored already; kPending: somebody else brings it: receivers find both by themselves.
  /// kRetry: no room, or more than a quarter of the DRAM tier for this client (half for all).
  /// @return kRetry when the daemon has too many hand-offs open, kInvalid when this one was.
  Result<std::vector<BlockResult>> OpenHandoff(const HandoffToken& token, NamespaceId space,
                                               const Chain& chain, std::uint32_t first,
                                               std::uint32_t count, BlockKind kind,
                                               const HandoffOptions& options, Deadline deadline);
  Result<Ticket> SubmitOpenHandoff(const HandoffToken& token, NamespaceId space, const Chain& chain,
                                   std::uint32_t first, std::uint32_t count, BlockKind kind,
                                   const HandoffOptions& options, Deadline deadline);
  /// Sends one stretch (BlockPieces::range) of each of these blocks, a layer for instance: every
  /// byte of a block once. kOk: receivers have it, the memory may be reused; of a block's last
  /// bytes: the block is stored, and visible to every client. kInvalid: bytes that were sent
  /// before, or no block of the hand-off; kExists and kRetry where it was not reserved; kCancelled,
  /// kExpired, kPeerDead, kMiss (cleared) and kCorrupt (its bytes changed in the daemon's memory)
  /// when the block was given up.
  Result<std::vector<BlockResult>> Send(const HandoffToken& token, NamespaceId space,
                                        const Chain& chain, std::span<const BlockPieces> blocks,
                                        BlockKind kind, Deadline deadline);
  Result<Ticket> SubmitSend(const HandoffToken& token, NamespaceId space, const Chain& chain,
                            std::span<const BlockPieces> blocks, BlockKind kind, Deadline deadline);
  /// As GetPieces, but waits for what has not been sent yet, also for the hand-off to be opened. A
  /// range that lies inside one stretch that was sent comes as soon as that has; another when its
  /// block is complete. Told at once: kCancelled: the producer aborted it; kPeerDead: the producer
  /// has gone; kExpired: its patience passed, or the daemon was restarted; kMiss: it was complete
  /// and is not stored any more. kTimeout: it did not come.
  Result<std::vector<BlockResult>> Receive(const HandoffToken& token, NamespaceId space,
                                           const Chain& chain, std::span<const BlockPieces> blocks,
                                           BlockKind kind, Deadline deadline);
  Result<Ticket> SubmitReceive(const HandoffToken& token, NamespaceId space, const Chain& chain,
                               std::span<const BlockPieces> blocks, BlockKind kind,
                               Deadline deadline);
  /// As GetPieces, but waits until the blocks are stored, whoever puts them. kTimeout: they were
  /// not.
  Result<std::vector<BlockResult>> GetArriving(NamespaceId space, const Chain& chain,
                                               std::span<const BlockPieces> blocks, BlockKind kind,
                                               Deadline deadline);
  Result<Ticket> SubmitGetArriving(NamespaceId space, const Chain& chain,
                                   std::span<const BlockPieces> blocks, BlockKind kind,
                                   Deadline deadline);
  /// This receiver is done; after the last one nothing pins the blocks any more. kOk also when it
  /// had ended.
  Status AckHandoff(const HandoffToken& token, Deadline deadline);
  Result<Ticket> SubmitAckHandoff(const HandoffToken& token, Deadline deadline);
  /// Gives up what is not complete; what is stays stored. kOk also when it had ended. Fence what is
  /// on its way before its memory is reused.
  Status AbortHandoff(const HandoffToken& token, Deadline deadline);
  Result<Ticket> SubmitAbortHandoff(const HandoffToken& token, Deadline deadline);

  // ---- Cancel and fence ---------------------------------------------------------------------

  // With a deadline that has passed these three look once and do not wait: kOk is certain, and
  // kTimeout may only mean that another thread runs the library's loop just now. Ask again.

  /// Ends a submitted call: kOk once no device and no NIC touches its memory any more; its
  /// completion is there to be polled then. It says kCancelled of every block that had not arrived
  /// (of the call, where there are no blocks) and keeps what had. kOk too when it had ended;
  /// kInvalid for a ticket that this Client never gave out; kTimeout when the daemon did not let go
  /// in time, because it stands still for instance: it may write when it wakes. Cancel or Fence
  /// again then, or leave the memory alone.
  Status Cancel(Ticket ticket, Deadline deadline);
  /// The same for every call, also of other threads and earlier ones in doubt, that uses any byte
  /// of `memory`: kOk once nothing touches it. Calls that come after are not kept out. kInvalid
  /// names the piece that does not lie in a region. At most 65,536 pieces.
  Status Fence(std::span<const MemoryPiece> memory, Deadline deadline);
  /// Waits until every call submitted before has ended; their completions stay to be polled.
  Status Drain(Deadline deadline);

  // ---- What to keep, and where --------------------------------------------------------------

  /// Brings blocks [first, first + count) to a faster tier: kOk per block when it is there, kMiss,
  /// kPending (being put), kRetry (no room), kTimeout: what is not there by the deadline is given
  /// up.
  Result<std::vector<BlockResult>> Prefetch(NamespaceId space, const Chain& chain,
                                            std::uint32_t first, std::uint32_t count,
                                            BlockKind kind, const PrefetchOptions& options,
                                            Deadline deadline);
  Result<Ticket> SubmitPrefetch(NamespaceId space, const Chain& chain, std::uint32_t first,
                                std::uint32_t count, BlockKind kind, const PrefetchOptions& options,
                                Deadline deadline);
  /// Makes blocks recent, as a get would: kOk, or kMiss.
  Result<std::vector<BlockResult>> Touch(NamespaceId space, const Chain& chain, std::uint32_t first,
                                         std::uint32_t count, BlockKind kind, Deadline deadline);
  Result<Ticket> SubmitTouch(NamespaceId space, const Chain& chain, std::uint32_t first,
                             std::uint32_t count, BlockKind kind, Deadline deadline);
  /// Asks the daemon to evict these blocks after all others: until the time is over, the label is
  /// released, or retained blocks exceed a quarter of the DRAM tier: the label that was retained
  /// longest ago gives way then. Needs no running request and outlives this Client, but not the
  /// daemon. kOk, kMiss or kRetry (this label has all of that quarter) per block.
  Result<std::vector<BlockResult>> Retain(NamespaceId space, const Chain& chain,
                                          std::uint32_t first, std::uint32_t count, BlockKind kind,
                                          const RetainOptions& options, Deadline deadline);
  Result<Ticket> SubmitRetain(NamespaceId space, const Chain& chain, std::uint32_t first,
                              std::uint32_t count, BlockKind kind, const RetainOptions& options,
                              Deadline deadline);
  /// @return how many blocks the label held; the completion of a submitted one does not say.
  Result<std::uint64_t> ReleaseRetained(std::string_view label, Deadline deadline);
  Result<Ticket> SubmitReleaseRetained(std::string_view label, Deadline deadline);
  /// Forgets blocks [first, chain.size()) in every group and shard, and what was put as a
  /// continuation of them on the same reactor: with one reactor all of it. With more, a run that
  /// the chain does not name and that lies on another reactor than the run before it stays, found
  /// by nobody who matches from the first block on: name its keys too, or clear the namespace.
  /// @return how many blocks there were; kTimeout when some are left.
  Result<std::uint64_t> RemovePrefix(NamespaceId space, const Chain& chain, std::uint32_t first,
                                     Deadline deadline);
  /// Forgets every block of this client's tenant. @return how many there were.
  Result<std::uint64_t> ClearTenant(Deadline deadline);

  // ---- Events -------------------------------------------------------------------------------

  /// Events since `cursor` (client/events.hpp, docs/events.md): as soon as there are some on any
  /// reactor; an empty batch after the daemon's heartbeat of 1 s, and just before the deadline.
  /// What the reader missed, it is told: `restarted`, `gaps`. The cursor stays the caller's; after
  /// an error it goes on from the same one. @return kInvalid names the argument; kUnsupported when
  /// the daemon keeps no events; kRetry when 16 reads of this client are under way at a reactor.
  Result<EventBatch> ReadEvents(const EventCursor& cursor, const EventQuery& query,
                                Deadline deadline);
  Result<Ticket> SubmitReadEvents(const EventCursor& cursor, const EventQuery& query,
                                  Deadline deadline);
  /// The next part of a walk over all blocks that are stored, as committed events; `complete` with
  /// the last. The first call with a cursor that has walked to the end begins anew. Events from the
  /// cursor on, which may be read in between, bring what it found up to date.
  Result<EventBatch> ReadSnapshot(const EventCursor& cursor, const EventQuery& query,
                                  Deadline deadline);
  Result<Ticket> SubmitReadSnapshot(const EventCursor& cursor, const EventQuery& query,
                                    Deadline deadline);
  /// Puts that bring token ids for their events.
  Result<std::vector<BlockResult>> Put(NamespaceId space, const Chain& chain,
                                       std::span<const BlockBuffer> blocks, BlockKind kind,
                                       Deadline deadline, const PutOptions& options);
  Result<Ticket> SubmitPut(NamespaceId space, const Chain& chain,
                           std::span<const BlockBuffer> blocks, BlockKind kind, Deadline deadline,
                           const PutOptions& options);
  Result<std::vector<BlockResult>> PutPieces(NamespaceId space, const Chain& chain,
                                             std::span<const BlockPieces> blocks, BlockKind kind,
                                             Deadline deadline, const PutOptions& options);
  Result<Ticket> SubmitPutPieces(NamespaceId space, const Chain& chain,
                                 std::span<const BlockPieces> blocks, BlockKind kind,
                                 Deadline deadline, const PutOptions& options);

  // ---- Load or compute ----------------------------------------------------------------------

  /// What of a match to load and what to compute, so that the prompt is ready soonest, and how long
  /// that will take. Pure: asks nobody, never waits, microseconds for thousands of blocks. Plan at
  /// once: what a match says of queues is soon old. @return kInvalid names the argument;
  /// kUnsupported when the daemon is so old that its matches say nothing of times.
  static Result<LoadPlan> Plan(const PrefixMatch& match, const PlanRequest& request);
  static Result<LoadPlan> Plan(const MatchResult& match, const PlanRequest& request);
  /// The blocks of a group with that policy that the plan loads: of its front, and of its back.
  static std::array<BlockSpan, 2> BlocksToLoad(const LoadPlan& plan, const GroupPolicy& policy);

  // ---- The daemon ---------------------------------------------------------------------------

  /// A round trip that does nothing else, through every reactor of the daemon.
  Status Ping(Deadline deadline);
  /// The daemon's counters, as in its Prometheus endpoint, summed over its reactors.
  Result<std::vector<Sample>> Stat(Deadline deadline);
  Result<std::vector<NamespaceInfo>> ListNamespaces(Deadline deadline);
  /// What the daemon knows of blocks (client/explain.hpp), one answer per key; nothing changes.
  /// @return kMiss when there is no such namespace; kInvalid names the argument.
  Result<std::vector<BlockStoryInfo>> Explain(const ExplainQuery& query, Deadline deadline);
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
