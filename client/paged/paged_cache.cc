// The member functions of PagedCache: arguments looked at before anything moves, then an Operation.
#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "client/paged.hpp"
#include "client/paged/make_map.h"
#include "client/paged/operation.h"
#include "client/paged/setup.h"
#include "client/paged/transfer.h"

namespace terrace {

using paged::Operation;
using paged::OperationKind;

namespace {

constexpr std::size_t kPiecesOfFenceMax = 65536;
/// Who waits for the end of calls asks the Client to let go of their memory so often.
constexpr std::chrono::milliseconds kAskAgain{10};
constexpr std::chrono::milliseconds kDestroyTime{1000};

bool Passed(Deadline deadline) { return In({}) >= deadline; }

}  // namespace

class PagedCache::Impl {
 public:
  Impl(std::unique_ptr<paged::PagedSetup> setup, std::unique_ptr<paged::OperationBook> book)
      : setup_(std::move(setup)),
        book_(std::move(book)),
        frames_(setup_->frame_count),
        moves_(*setup_->mover) {
    for (const bool gets : {true, false}) {
      (gets ? getter_ : putter_) = std::thread([this, gets] {
        while (const std::shared_ptr<Operation> operation = book_->Next(gets)) Run(operation);
      });
    }
  }
  ~Impl() {
    book_->Stop();
    LetGo(book_->UnderWay(), In(kDestroyTime));
    getter_.join();
    putter_.join();
    const Deadline end = In(kDestroyTime);
    while (paged::SettleDoubts(machinery(), {}) || !book_->NoDoubts()) {
      if (Passed(end)) {
        setup_->SpareFrames();
        return;
      }
      [[maybe_unused]] const bool ended = book_->AwaitEnd(Nobody(), In(kAskAgain));
    }
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  paged::Machinery machinery() { return {*setup_, *book_, frames_, moves_}; }
  paged::PagedSetup& setup() { return *setup_; }
  paged::OperationBook& book() { return *book_; }

  Result<std::vector<BlockResult>> RunHere(Result<std::shared_ptr<Operation>> made) {
    if (!made.ok()) return made.status();
    const std::shared_ptr<Operation>& operation = made.value();
    operation->waited = true;
    if (Status status = Enter(operation); !status.ok()) return status;
    Run(operation);
    if (!operation->status.ok()) return operation->status;
    return std::move(operation->results);
  }
  Result<Ticket> Submit(Result<std::shared_ptr<Operation>> made) {
    if (!made.ok()) return made.status();
    const std::shared_ptr<Operation>& operation = made.value();
    if (Status status = Enter(operation); !status.ok()) return status;
    return operation->ticket;
  }
  Result<std::shared_ptr<Operation>> OfBlocks(OperationKind kind, NamespaceId space,
                                              const Chain& chain,
                                              std::span<const PagedBlock> blocks, BlockKind which,
                                              Deadline deadline, const PagedCallOptions& options);
  Result<std::shared_ptr<Operation>> OfParts(std::span<const PagedPart> parts, Deadline deadline,
                                             const PagedCallOptions& options);
  Result<NamespaceId> OpenNamespace(NamespaceDescriptor&& descriptor, std::uint32_t group,
                                    Deadline deadline);
  /// Cancels them and waits until they have ended; false at the deadline.
  bool LetGo(const paged::OperationBook::Operations& operations, Deadline deadline);
  Status Fence(std::span<const std::uint32_t> pages, Deadline deadline);

 private:
  static paged::OperationBook::Operations Nobody();
  void Run(const std::shared_ptr<Operation>& operation) {
    paged::Transfer(machinery(), *operation).Run();
    book_->End(operation);
  }
  Status Enter(const std::shared_ptr<Operation>& operation) {
    Status status = book_->Add(operation);
    if (!status.ok() && operation->after.value != 0) setup_->mover->Forget(operation->after);
    return status;
  }
  Status CheckSpace(NamespaceId space, std::uint32_t group);
  Status AddPages(Operation& operation, std::string_view list, std::size_t index,
                  std::span<const std::uint32_t> pages, bool distinct) const;
  Status Finish(Operation& operation, bool distinct, const PagedCallOptions& options);
  /// The memory of those pages, where calls use it themselves.
  Status FenceDirect(std::span<const std::uint32_t> pages, Deadline deadline);

  const std::unique_ptr<paged::PagedSetup> setup_;
  const std::unique_ptr<paged::OperationBook> book_;
  paged::FramePool frames_;
  paged::MoveWaiter moves_;
  std::mutex spaces_mutex_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> spaces_;  // namespace and group
  std::thread getter_;
  std::thread putter_;
};

paged::OperationBook::Operations PagedCache::Impl::Nobody() {
  // One that never ends: a pause with the book's own clock.
  return {std::make_shared<Operation>()};
}

Status PagedCache::Impl::CheckSpace(NamespaceId space, std::uint32_t group) {
  const std::lock_guard lock(spaces_mutex_);
  const std::pair wanted(space.value, group);
  if (std::find(spaces_.begin(), spaces_.end(), wanted) != spaces_.end()) return {};
  return Status::Invalid("space " + std::to_string(space.value) + " was not opened by this " +
                         "PagedCache with group " + std::to_string(group));
}

Status PagedCache::Impl::AddPages(Operation& operation, std::string_view list, std::size_t index,
                                  std::span<const std::uint32_t> pages, bool distinct) const {
  Status status = ValidatePages(setup_->cache, setup_->stored, pages, distinct);
  if (!status.ok()) {
    return Status::Invalid(std::string(list) + "[" + std::to_string(index) + "]." +
                           status.message());
  }
  operation.pages.insert(operation.pages.end(), pages.begin(), pages.end());
  ++operation.count;
  return {};
}

Status PagedCache::Impl::Finish(Operation& operation, bool distinct,
                                const PagedCallOptions& options) {
  if (operation.count == 0) return Status::Invalid("the number of blocks is 0");
  if (Status status = ValidateLayers(setup_->cache, options.layers); !status.ok()) {
    return Status::Invalid("options." + status.message());
  }
  operation.layers = paged::Filled(setup_->cache, options.layers);
  operation.ack = options.ack;
  if (distinct) {
    std::vector<std::uint32_t> sorted(operation.pages);
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) {
      return Status::Invalid("blocks name page " + std::to_string(*twice) +
                             " twice: a get would write it twice");
    }
  }
  const Result<paged::StreamPoint> point = setup_->mover->Mark(options.stream);
  if (!point.ok()) return {point.code(), "options." + point.status().message()};
  operation.after = point.value();
  return {};
}

Result<std::shared_ptr<Operation>> PagedCache::Impl::OfBlocks(OperationKind kind, NamespaceId space,
                                                              const Chain& chain,
                                                              std::span<const PagedBlock> blocks,
                                                              BlockKind which, Deadline deadline,
                                                              const PagedCallOptions& options) {
  if (Status status = CheckSpace(space, which.group); !status.ok()) return status;
  const bool gets = kind == OperationKind::kGet;
  if (!gets && !setup_->whole) {
    return Status::Invalid(
        "this cache holds a part of a block's layers or heads: Reserve it, and WriteParts");
  }
  if (!gets && (options.layers.first != 0 ||
                (options.layers.count != 0 && options.layers.count != setup_->cache.layers))) {
    return Status::Invalid("options.layers is a part of the block: a put stores whole ones");
  }
  auto operation = std::make_shared<Operation>();
  operation->kind = kind;
  operation->space = space;
  operation->chain = chain;
  operation->block_kind = which;
  operation->deadline = deadline;
  std::vector<bool> named(chain.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::string name = "blocks[" + std::to_string(i) + "]";
    const std::uint32_t position = blocks[i].position;
    if (position >= chain.size()) {
      return Status::Invalid(name + ".position is " + std::to_string(position) +
                             ", the chain has " + std::to_string(chain.size()) + " keys");
    }
    if (named[position]) {
      return Status::Invalid(name + ".position " + std::to_string(position) + " was named before");
    }
    named[position] = true;
    if (blocks[i].valid_tokens > setup_->stored.block_tokens) {
      return Status::Invalid(name + ".valid_tokens is " + std::to_string(blocks[i].valid_tokens) +
                             ", a block holds " + std::to_string(setup_->stored.block_tokens));
    }
    Status status = AddPages(*operation, "blocks", i, blocks[i].pages, gets);
    if (!status.ok()) return status;
    operation->positions.push_back(position);
    operation->valid_tokens.push_back(blocks[i].valid_tokens);
  }
  if (Status status = Finish(*operation, gets, options); !status.ok()) return status;
  return operation;
}

Result<std::shared_ptr<Operation>> PagedCache::Impl::OfParts(std::span<const PagedPart> parts,
                                                             Deadline deadline,
                                                             const PagedCallOptions& options) {
  auto operation = std::make_shared<Operation>();
  operation->kind = OperationKind::kWrite;
  operation->deadline = deadline;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Status status = AddPages(*operation, "parts", i, parts[i].pages, false);
    if (!status.ok()) return status;
    operation->tokens.push_back(parts[i].token);
  }
  if (Status status = Finish(*operation, false, options); !status.ok()) return status;
  return operation;
}

Result<NamespaceId> PagedCache::Impl::OpenNamespace(NamespaceDescriptor&& descriptor,
                                                    std::uint32_t group, Deadline deadline) {
  const auto same = [group](const GroupSpec& spec) { return spec.id == group; };
  auto found = std::find_if(descriptor.groups.begin(), descriptor.groups.end(), same);
  if (found == descriptor.groups.end()) {
    DescribeBlocks(setup_->cache, setup_->stored, group, descriptor);
    found = descriptor.groups.end() - 1;
  }
  NamespaceDescriptor ours;
  DescribeBlocks(setup_->cache, setup_->stored, group, ours);
  if (found->block_bytes != ours.groups[0].block_bytes) {
    return Status::Invalid("descriptor.groups: group " + std::to_string(group) + " has blocks of " +
                           std::to_string(found->block_bytes) + " bytes, those of this cache " +
                           std::to_string(ours.groups[0].block_bytes));
  }
  for (const auto& [name, have, want] :
       {std::tuple("layout", &descriptor.layout, &ours.layout),
        std::tuple("kv_dtype", &descriptor.kv_dtype, &ours.kv_dtype)}) {
    if (have->find(*want) != std::string::npos) continue;
    return Status::Invalid(std::string("descriptor.") + name + " is \"" + *have +
                           "\", without what this cache stores: \"" + *want + "\"");
  }
  if (descriptor.block_tokens != ours.block_tokens) {
    return Status::Invalid("descriptor.block_tokens is " + std::to_string(descriptor.block_tokens) +
                           ", those of this cache " + std::to_string(ours.block_tokens));
  }
  Result<NamespaceId> space = setup_->client.OpenNamespace(descriptor, deadline);
  if (!space.ok()) return space;
  const std::lock_guard lock(spaces_mutex_);
  const std::pair opened(space->value, group);
  if (std::find(spaces_.begin(), spaces_.end(), opened) == spaces_.end()) {
    spaces_.push_back(opened);
  }
  return space;
}

bool PagedCache::Impl::LetGo(const paged::OperationBook::Operations& operations,
                             Deadline deadline) {
  for (const paged::StreamPoint point : book_->Cancel(operations)) setup_->mover->Forget(point);
  while (true) {
    const std::vector<MemoryPiece> memory = book_->MemoryOf(operations);
    for (std::size_t first = 0; first < memory.size(); first += kPiecesOfFenceMax) {
      const std::size_t count = std::min(kPiecesOfFenceMax, memory.size() - first);
      // What it says does not matter: the calls themselves say when they have ended.
      [[maybe_unused]] const Status status =
          setup_->client.Fence(std::span(memory).subspan(first, count), In({}));
    }
    const Deadline until = std::min(deadline, In(kAskAgain));
    if (book_->AwaitEnd(operations, until)) return true;
    if (Passed(deadline)) return false;
  }
}

Status PagedCache::Impl::FenceDirect(std::span<const std::uint32_t> pages, Deadline deadline) {
  const auto table = paged::LayerTable(setup_->bases, {});
  const paged::PageMap map = paged::BuildPageMap(setup_->cache, setup_->stored, setup_->bases, {});
  std::vector<MemoryPiece> pieces;
  std::vector<std::uint32_t> block(map.block_pages);
  for (std::size_t first = 0; first < pages.size(); first += block.size()) {
    for (std::size_t i = 0; i < block.size(); ++i) {  // the last one again where there are no more
      block[i] = pages[std::min(first + i, pages.size() - 1)];
    }
    for (std::uint32_t unit = 0; unit < map.units; ++unit) {
      const auto place = paged::PlaceOfUnit(map, {table.data(), block.data()}, unit);
      pieces.push_back(setup_->DirectPiece(place.paged, map.unit_bytes));
    }
    const bool last = first + block.size() >= pages.size();
    if (!last && pieces.size() + map.units <= kPiecesOfFenceMax) continue;
    if (Status status = setup_->client.Fence(pieces, deadline); !status.ok()) return status;
    pieces.clear();
  }
  return {};
}

Status PagedCache::Impl::Fence(std::span<const std::uint32_t> pages, Deadline deadline) {
  std::vector<std::uint32_t> sorted(pages.begin(), pages.end());
  std::sort(sorted.begin(), sorted.end());
  if (sorted.empty()) return {};
  if (sorted.back() >= setup_->cache.pages) {
    return Status::Invalid("pages names " + std::to_string(sorted.back()) +
                           ", and cache.pages is " + std::to_string(setup_->cache.pages));
  }
  const auto naming = book_->Naming(sorted);
  if (!LetGo(naming, deadline) && book_->AnyTouching(naming)) {
    return Status(StatusCode::kTimeout, "the pages are still being moved");
  }
  while (paged::SettleDoubts(machinery(), sorted)) {
    if (Passed(deadline)) {
      return Status(StatusCode::kTimeout, "a move that is in doubt has not ended");
    }
    [[maybe_unused]] const bool ended =
        book_->AwaitEnd(Nobody(), std::min(deadline, In(kAskAgain)));
  }
  return setup_->direct ? FenceDirect(sorted, deadline) : Status();
}

PagedCache::PagedCache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PagedCache::~PagedCache() = default;

Result<std::unique_ptr<PagedCache>> PagedCache::Open(Client& client, PagedCacheOptions options) {
  auto setup = paged::PagedSetup::Make(client, std::move(options));
  if (!setup.ok()) return setup.status();
  auto book = paged::OperationBook::Create();
  if (!book.ok()) return book.status();
  return std::unique_ptr<PagedCache>(
      new PagedCache(std::make_unique<Impl>(std::move(setup.value()), std::move(book.value()))));
}

Result<NamespaceId> PagedCache::OpenNamespace(NamespaceDescriptor descriptor, std::uint32_t group,
                                              Deadline deadline) {
  return impl_->OpenNamespace(std::move(descriptor), group, deadline);
}

Result<std::vector<BlockResult>> PagedCache::Get(NamespaceId space, const Chain& chain,
                                                 std::span<const PagedBlock> blocks, BlockKind kind,
                                                 Deadline deadline,
                                                 const PagedCallOptions& options) {
  return impl_->RunHere(
      impl_->OfBlocks(OperationKind::kGet, space, chain, blocks, kind, deadline, options));
}

Result<Ticket> PagedCache::SubmitGet(NamespaceId space, const Chain& chain,
                                     std::span<const PagedBlock> blocks, BlockKind kind,
                                     Deadline deadline, const PagedCallOptions& options) {
  return impl_->Submit(
      impl_->OfBlocks(OperationKind::kGet, space, chain, blocks, kind, deadline, options));
}

Result<std::vector<BlockResult>> PagedCache::Put(NamespaceId space, const Chain& chain,
                                                 std::span<const PagedBlock> blocks, BlockKind kind,
                                                 Deadline deadline,
                                                 const PagedCallOptions& options) {
  return impl_->RunHere(
      impl_->OfBlocks(OperationKind::kPut, space, chain, blocks, kind, deadline, options));
}

Result<Ticket> PagedCache::SubmitPut(NamespaceId space, const Chain& chain,
                                     std::span<const PagedBlock> blocks, BlockKind kind,
                                     Deadline deadline, const PagedCallOptions& options) {
  return impl_->Submit(
      impl_->OfBlocks(OperationKind::kPut, space, chain, blocks, kind, deadline, options));
}

Result<std::vector<BlockResult>> PagedCache::WriteParts(std::span<const PagedPart> parts,
                                                        Deadline deadline,
                                                        const PagedCallOptions& options) {
  return impl_->RunHere(impl_->OfParts(parts, deadline, options));
}

Result<Ticket> PagedCache::SubmitWriteParts(std::span<const PagedPart> parts, Deadline deadline,
                                            const PagedCallOptions& options) {
  return impl_->Submit(impl_->OfParts(parts, deadline, options));
}

std::vector<PagedCompletion> PagedCache::Poll(std::size_t most) { return impl_->book().Take(most); }

Status PagedCache::WaitForCompletion(Deadline deadline) {
  return impl_->book().WaitForCompletion(deadline);
}

int PagedCache::CompletionFd() const { return impl_->book().Fd(); }

Status PagedCache::Cancel(Ticket ticket, Deadline deadline) {
  auto operation = impl_->book().Named(ticket);
  if (!operation.ok()) return operation.status();
  if (operation.value() == nullptr || impl_->LetGo({operation.value()}, deadline)) return {};
  return {StatusCode::kTimeout, "the call has not ended"};
}

Status PagedCache::Fence(std::span<const std::uint32_t> pages, Deadline deadline) {
  return impl_->Fence(pages, deadline);
}

Status PagedCache::Drain(Deadline deadline) {
  if (impl_->book().AwaitEnd(impl_->book().UnderWay(), deadline)) return {};
  return {StatusCode::kTimeout, "calls are still under way"};
}

const CacheLayout& PagedCache::cache() const noexcept { return impl_->setup().cache; }
const StoredLayout& PagedCache::stored() const noexcept { return impl_->setup().stored; }

}  // namespace terrace
