// PagedCache: get and put of an engine's paged cache, by page numbers instead of memory.
//
// Model. A PagedCache knows where one rank's cache lies (CacheLayout and the bases of its layers)
// and how its blocks are stored (StoredLayout). A call names blocks of a chain and, for each, the
// pages that hold it, in the order of its tokens. The bytes are gathered from the pages and stored,
// or got, verified and scattered into them; on the way they are quantised if the stored layout
// says so. Between pages and daemon lie frames, of which there is a fixed number, unless blocks
// are lent or pieces are large enough to go without.
//
//   auto cache = terrace::PagedCache::Open(*client, {.cache = layout, .stored = stored,
//                                                    .layer_bases = bases});
//   auto space = cache.value()->OpenNamespace(descriptor, 0, terrace::In(1s));
//   terrace::PagedBlock block{.position = 0, .pages = pages};
//   auto got = cache.value()->Get(space.value(), chain, {&block, 1}, {}, terrace::In(1s));
//
// Promises are those of Client (terrace.hpp): status per block, and after any but kOk the pages of
// a get are undefined; a deadline ends every call, here once what moves its pages has ended, too
// (at most 1 s later; else kInDoubt, see Fence); nothing is put of pages that changed meanwhile, if
// the engine fences them before it lets anyone write to them.
//
// Threads. Every member function from any thread at the same time, but the destructor. Calls that
// wait do the work on the thread that calls; submitted ones are done by two threads of the
// PagedCache, one for gets and one for puts, in the order of their submission. The Client outlives
// the PagedCache, and the memory of the cache does until the PagedCache is destroyed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/status.h"
#include "client/layout.hpp"
#include "client/terrace.hpp"

namespace terrace {

namespace paged {
class PageMover;
}

struct PagedCacheOptions {
  CacheLayout cache{};
  StoredLayout stored{};
  /// One per layer of the cache: memory of this process, or of one GPU (docs/gpu.md).
  std::vector<void*> layer_bases{};
  /// Memory for blocks on their way, of the host; at least two of them are made room for. Bytes.
  std::uint64_t staging_bytes = 64 << 20;
  /// That memory is the GPU's of the cache instead, and registered with the daemon of this host
  /// (RegisterDeviceMemory, docs/gpu.md): what that has in HBM comes device to device, the rest
  /// goes over PCIe once, and no CPU touches a byte. Nothing is lent then.
  bool frames_on_device = false;
  /// Over a network, pieces of at least so many bytes go without frames where they can: the CPU's
  /// cache, lossless. 0: none do.
  std::uint32_t direct_bytes = 4096;
  /// What moves the pages; null: the CPU or the GPU whose memory the cache is.
  std::shared_ptr<paged::PageMover> mover{};
};

/// A block of the chain and the pages that hold it.
struct PagedBlock {
  std::uint32_t position = 0;              ///< Index in the chain; each once in a call.
  std::span<const std::uint32_t> pages{};  ///< block_tokens / page_tokens of them. Copied.
  std::uint32_t valid_tokens = 0;          ///< Put: tokens the block holds; 0 means all.
};

/// This rank's part of a block that several ranks write, reserved by one of them (Client::Reserve)
/// and committed by one of them when all have written (Client::Commit).
struct PagedPart {
  PutToken token{};
  std::span<const std::uint32_t> pages{};  ///< Copied.
};

struct PagedCallOptions {
  LayerSpan layers{};  ///< Of the cache's layers: Get and WriteParts of some. All by default.
  /// The engine's stream: pages are touched after what it has queued there now. Of a GPU, where
  /// null is the default stream, and none that is being captured into a graph; null for a CPU.
  void* stream = nullptr;
  Ack ack = Ack::kCommitted;  ///< Put.
};

/// The end of a submitted call.
struct PagedCompletion {
  Ticket ticket = 0;
  Status status;                    ///< Ok when `blocks` holds the answer.
  std::vector<BlockResult> blocks;  ///< One per block asked.
};

class TERRACE_API PagedCache {
 public:
  /// Looks at all of the layout, allocates the frames and starts the threads.
  /// @return kInvalid names the field, or the layer that is memory of neither this process nor a
  ///         GPU; kUnsupported why frames_on_device is not to be had.
  static Result<std::unique_ptr<PagedCache>> Open(Client& client, PagedCacheOptions options);
  /// Ends what is under way with kCancelled and waits until nothing touches the pages, at most 1 s
  /// beyond what the Client takes to let go. Frames that a move may still write to are leaked.
  ~PagedCache();
  PagedCache(const PagedCache&) = delete;
  PagedCache& operator=(const PagedCache&) = delete;

  /// Opens a namespace whose group `group` has this cache's blocks, as Client::OpenNamespace. Where
  /// the descriptor has no such group it is added (DescribeBlocks); where it has, it must be as
  /// DescribeBlocks says. Calls take only namespaces and groups that were opened here.
  Result<NamespaceId> OpenNamespace(NamespaceDescriptor descriptor, std::uint32_t group,
                                    Deadline deadline);

  /// As Client::Get, into pages, each of which is named once in the call.
  Result<std::vector<BlockResult>> Get(NamespaceId space, const Chain& chain,
                                       std::span<const PagedBlock> blocks, BlockKind kind,
                                       Deadline deadline, const PagedCallOptions& options = {});
  Result<Ticket> SubmitGet(NamespaceId space, const Chain& chain,
                           std::span<const PagedBlock> blocks, BlockKind kind, Deadline deadline,
                           const PagedCallOptions& options = {});
  /// As Client::Put, of caches that hold all layers and heads of a block (kInvalid otherwise).
  Result<std::vector<BlockResult>> Put(NamespaceId space, const Chain& chain,
                                       std::span<const PagedBlock> blocks, BlockKind kind,
                                       Deadline deadline, const PagedCallOptions& options = {});
  Result<Ticket> SubmitPut(NamespaceId space, const Chain& chain,
                           std::span<const PagedBlock> blocks, BlockKind kind, Deadline deadline,
                           const PagedCallOptions& options = {});
  /// As Client::Write, of this rank's layers and heads of reserved blocks; one result per part.
  Result<std::vector<BlockResult>> WriteParts(std::span<const PagedPart> parts, Deadline deadline,
                                              const PagedCallOptions& options = {});
  Result<Ticket> SubmitWriteParts(std::span<const PagedPart> parts, Deadline deadline,
                                  const PagedCallOptions& options = {});

  /// Takes at most `most` finished calls, oldest first; never blocks.
  std::vector<PagedCompletion> Poll(std::size_t most = 64);
  /// Waits until Poll would return something. @return kTimeout at the deadline.
  Status WaitForCompletion(Deadline deadline);
  /// Readable while Poll would return something. Owned by the PagedCache.
  int CompletionFd() const;

  /// As Client::Cancel: kOk once nothing touches the call's pages any more and its completion is
  /// there; kInvalid for a ticket that was never given out; kTimeout.
  Status Cancel(Ticket ticket, Deadline deadline);
  /// The same for every call, also of other threads, that names one of these pages: kOk once
  /// nothing touches them, also of earlier calls that ended kInDoubt. kInvalid names the page.
  Status Fence(std::span<const std::uint32_t> pages, Deadline deadline);
  /// Waits until every call submitted before has ended; their completions stay to be polled.
  Status Drain(Deadline deadline);

  [[nodiscard]] const CacheLayout& cache() const noexcept;
  [[nodiscard]] const StoredLayout& stored() const noexcept;

 private:
  class Impl;
  explicit PagedCache(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace terrace
