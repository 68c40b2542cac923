// terrace_paged.h: paged caches.
#include "client/terrace_paged.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/c/call.h"
#include "client/c/convert.h"
#include "client/c/sized.h"
#include "client/paged.hpp"
#include "client/paged/pick_mover.h"

using namespace terrace::c;  // NOLINT: the functions below are C's, in no namespace
using terrace::BlockResult;
using terrace::CacheLayout;
using terrace::Chain;
using terrace::Client;
using terrace::PagedCache;
using terrace::Result;
using terrace::Status;
using terrace::Ticket;

namespace {

using Results = Result<std::vector<BlockResult>>;

// Sizes in version 1.3: what every caller has at least. They never change.
constexpr std::uint32_t kCacheLayoutSize = 64;
constexpr std::uint32_t kStoredLayoutSize = 40;
constexpr std::uint32_t kPagedOptionsSize = 56;
constexpr std::uint32_t kPagedCallSize = 24;
constexpr std::uint64_t kPagesMax = 1 << 24;

/// The client lives until the cache over it is gone.
struct Paged {
  std::shared_ptr<Client> client;
  std::unique_ptr<PagedCache> cache;
  std::uint32_t block_pages = 0;
};

HandleTable<Paged>& PagedCaches() {
  static auto& table = *new HandleTable<Paged>(HandleKind::kPaged);  // as Clients()
  return table;
}

template <typename Body>
terrace_status WithPaged(terrace_paged paged, terrace_error* error, Body body) noexcept {
  return Guarded(error, [&]() -> Status {
    const auto found = PagedCaches().Find(paged, "paged");
    if (!found.ok()) return found.status();
    return body(**found);
  });
}

Result<CacheLayout> ToCache(const terrace_cache_layout* cache) {
  const auto known = ReadSized(cache, kCacheLayoutSize, "cache");
  if (!known.ok()) return known.status();
  CacheLayout layout;
  layout.layers = known->layers;
  layout.parts = known->parts;
  layout.pages = known->pages;
  layout.page_tokens = known->page_tokens;
  layout.heads = known->heads;
  layout.head_dim = known->head_dim;
  if (known->type > TERRACE_ELEMENT_FP32) {
    return Status::Invalid("cache.type is " + std::to_string(known->type) + ", no element type");
  }
  layout.type = static_cast<terrace::ElementType>(known->type);
  layout.part_stride = known->part_stride;
  layout.page_stride = known->page_stride;
  layout.token_stride = known->token_stride;
  layout.head_stride = known->head_stride;
  return layout;
}

Result<terrace::StoredLayout> ToStored(const terrace_stored_layout* stored) {
  const auto known = ReadSized(stored, kStoredLayoutSize, "stored");
  if (!known.ok()) return known.status();
  if (known->reserved != 0) return Status::Invalid("stored.reserved is not 0");
  if (known->order > TERRACE_HEADS_FIRST) {
    return Status::Invalid("stored.order is " + std::to_string(known->order) + ", not 0 or 1");
  }
  if (known->type > TERRACE_STORED_INT8) {
    return Status::Invalid("stored.type is " + std::to_string(known->type) + ", not 0 to 2");
  }
  return terrace::StoredLayout{.block_tokens = known->block_tokens,
                               .layers_total = known->layers_total,
                               .first_layer = known->first_layer,
                               .heads_total = known->heads_total,
                               .first_head = known->first_head,
                               .order = static_cast<terrace::StoredOrder>(known->order),
                               .type = static_cast<terrace::StoredType>(known->type),
                               .group_tokens = known->group_tokens};
}

Result<terrace::PagedCacheOptions> ToPagedOptions(const terrace_paged_options* options) {
  const auto known = ReadSized(options, kPagedOptionsSize, "options");
  if (!known.ok()) return known.status();
  const auto cache = ToCache(known->cache);
  if (!cache.ok()) return cache.status();
  const auto stored = ToStored(known->stored);
  if (!stored.ok()) return stored.status();
  terrace::PagedCacheOptions made;
  made.cache = *cache;
  made.stored = *stored;
  made.direct_bytes = known->direct_bytes;
  if (known->staging_bytes != 0) made.staging_bytes = known->staging_bytes;
  if (known->frames_on_device > 1) {
    return Status::Invalid("options.frames_on_device is " +
                           std::to_string(known->frames_on_device) + ", neither 0 nor 1");
  }
  if (known->reserved != 0) {
    return Status::Invalid("options.reserved is " + std::to_string(known->reserved) + ", not 0");
  }
  made.frames_on_device = known->frames_on_device == 1;
  // Looked at before anything is read from the array.
  if (known->layer_base_count != cache->layers) {
    return Status::Invalid("options.layer_base_count is " +
                           std::to_string(known->layer_base_count) + ", and cache.layers is " +
                           std::to_string(cache->layers));
  }
  if (Status status =
          NotNullUnless(false, static_cast<const void*>(known->layer_bases), "options.layer_bases");
      !status.ok()) {
    return status;
  }
  if (known->place != TERRACE_PLACE_CPU && known->place != TERRACE_PLACE_CUDA) {
    return Status::Invalid("options.place is " + std::to_string(known->place) +
                           ", neither TERRACE_PLACE_CPU nor TERRACE_PLACE_CUDA");
  }
  if (Status status = ValidateCache(made.cache); !status.ok()) return status;
  made.layer_bases.assign(known->layer_bases, known->layer_bases + known->layer_base_count);
  if (known->place == TERRACE_PLACE_CUDA) {
    if (Status status = terrace::paged::RequireGpuMemory(made.layer_bases); !status.ok()) {
      return status;
    }
  }
  return made;
}

Result<terrace::PagedCallOptions> ToCall(const terrace_paged_call* call) {
  terrace::PagedCallOptions options;
  if (call == nullptr) return options;
  const auto known = ReadSized(call, kPagedCallSize, "call");
  if (!known.ok()) return known.status();
  const auto ack = ToAck(known->ack);
  if (!ack.ok()) return ack.status();
  options.layers = {known->first_layer, known->layer_count};
  options.ack = *ack;
  options.stream = known->stream;
  return options;
}

/// The pages of each of `count` blocks or parts.
Status CheckPages(const Paged& its, std::uint64_t count, const std::uint32_t* pages,
                  std::uint64_t page_count) {
  if (Status status = NotNullUnless(page_count == 0, pages, "pages"); !status.ok()) return status;
  if (count <= kPagesMax && page_count == count * its.block_pages) return {};
  return Status::Invalid("page_count is " + std::to_string(page_count) + ", not the " +
                         std::to_string(its.block_pages) + " pages of each of " +
                         std::to_string(count) + " blocks");
}

struct BlocksAndCall {
  std::vector<terrace::PagedBlock> blocks;
  std::vector<terrace::PagedPart> parts;
  terrace::PagedCallOptions options;
};

Result<BlocksAndCall> ToPagedBlocks(const Paged& its, const terrace_paged_block* blocks,
                                    std::uint64_t count, const std::uint32_t* pages,
                                    std::uint64_t page_count, const terrace_paged_call* call) {
  if (Status status = NotNullUnless(count == 0, blocks, "blocks"); !status.ok()) return status;
  if (Status status = CheckPages(its, count, pages, page_count); !status.ok()) return status;
  const auto options = ToCall(call);
  if (!options.ok()) return options.status();
  BlocksAndCall made;
  made.options = *options;
  for (std::uint64_t i = 0; i < count; ++i) {
    made.blocks.push_back({.position = blocks[i].position,
                           .pages = {pages + i * its.block_pages, its.block_pages},
                           .valid_tokens = blocks[i].valid_tokens});
  }
  return made;
}

Result<BlocksAndCall> ToParts(const Paged& its, const terrace_put_token* tokens,
                              std::uint64_t count, const std::uint32_t* pages,
                              std::uint64_t page_count, const terrace_paged_call* call) {
  if (Status status = NotNullUnless(count == 0, tokens, "tokens"); !status.ok()) return status;
  if (Status status = CheckPages(its, count, pages, page_count); !status.ok()) return status;
  const auto options = ToCall(call);
  if (!options.ok()) return options.status();
  BlocksAndCall made;
  made.options = *options;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto token = ToToken(tokens + i);
    if (!token.ok()) return token.status();
    made.parts.push_back(
        {.token = *token, .pages = {pages + i * its.block_pages, its.block_pages}});
  }
  return made;
}

/// `call(cache, chain)` of a call about a chain.
template <typename Call>
terrace_status OfChain(terrace_paged paged, terrace_chain chain, terrace_error* error,
                       const Call& call) noexcept {
  return WithPaged(paged, error, [&](Paged& its) -> Status {
    const auto keys = Chains().Find(chain, "chain");
    if (!keys.ok()) return keys.status();
    return call(its, **keys);
  });
}

}  // namespace

extern "C" {

terrace_status terrace_make_layout(uint32_t form, terrace_cache_layout* layout,
                                   int64_t* layer_stride, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const auto cache = ToCache(layout);
    if (!cache.ok()) return cache.status();
    const terrace::CacheShape shape{.layers = cache->layers,
                                    .pages = cache->pages,
                                    .page_tokens = cache->page_tokens,
                                    .heads = cache->heads,
                                    .head_dim = cache->head_dim,
                                    .type = cache->type};
    if (form > TERRACE_FORM_BHLNC) {
      return Status::Invalid("form is " + std::to_string(form) + ", not 0 to " +
                             std::to_string(TERRACE_FORM_BHLNC));
    }
    const auto order = form % 2 == (form < TERRACE_FORM_LATENT ? 1U : 0U)
                           ? terrace::PageOrder::kHnd
                           : terrace::PageOrder::kNhd;
    std::int64_t stride = 0;
    CacheLayout made;
    if (form >= TERRACE_FORM_LBHNC) {
      const auto which = static_cast<terrace::CrossLayerOrder>(form - TERRACE_FORM_LBHNC);
      made = CrossLayer(shape, which);
      stride = LayerStride(shape, which);
    } else if (form >= TERRACE_FORM_CROSS_LAYER_NHD) {
      made = CrossLayer(shape, order);
      stride = LayerStride(shape, order);
    } else if (form == TERRACE_FORM_LATENT) {
      made = Latent(shape);
    } else if (form >= TERRACE_FORM_SEPARATE_NHD) {
      made = SeparateParts(shape, order);
    } else if (form >= TERRACE_FORM_FUSED_NHD) {
      made = FusedParts(shape, order);
    } else {
      made = form >= TERRACE_FORM_PAGES_FIRST_NHD ? PagesFirst(shape, order)
                                                  : PartsFirst(shape, order);
    }
    if (Status status = ValidateCache(made); !status.ok()) return status;
    layout->layers = made.layers;
    layout->parts = made.parts;
    layout->heads = made.heads;
    layout->head_dim = made.head_dim;
    layout->part_stride = made.part_stride;
    layout->page_stride = made.page_stride;
    layout->token_stride = made.token_stride;
    layout->head_stride = made.head_stride;
    if (layer_stride != nullptr) *layer_stride = stride;
    return {};
  });
}

terrace_status terrace_stored_block(const terrace_cache_layout* cache,
                                    const terrace_stored_layout* stored, uint64_t* block_bytes,
                                    uint32_t* block_pages, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const auto its_cache = ToCache(cache);
    if (!its_cache.ok()) return its_cache.status();
    const auto its_stored = ToStored(stored);
    if (!its_stored.ok()) return its_stored.status();
    if (Status status = ValidateStored(*its_cache, *its_stored); !status.ok()) return status;
    if (block_bytes != nullptr) *block_bytes = StoredBlockBytes(*its_cache, *its_stored);
    if (block_pages != nullptr) *block_pages = its_stored->block_tokens / its_cache->page_tokens;
    return {};
  });
}

terrace_status terrace_open_paged(terrace_client client, const terrace_paged_options* options,
                                  terrace_paged* paged, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    if (Status status = NotNull(paged, "paged"); !status.ok()) return status;
    const auto found = Clients().Find(client, "client");
    if (!found.ok()) return found.status();
    auto known = ToPagedOptions(options);
    if (!known.ok()) return known.status();
    auto made = std::make_shared<Paged>();
    made->client = *found;
    auto opened = PagedCache::Open(**found, std::move(*known));
    if (!opened.ok()) return opened.status();
    made->cache = std::move(*opened);
    made->block_pages = made->cache->stored().block_tokens / made->cache->cache().page_tokens;
    const auto handle = PagedCaches().Add(std::move(made));
    if (!handle.ok()) return handle.status();
    *paged = *handle;
    return {};
  });
}

terrace_status terrace_close_paged(terrace_paged paged, terrace_error* error) {
  return Guarded(error, [&]() -> Status { return PagedCaches().Remove(paged, "paged").status(); });
}

terrace_status terrace_paged_open_namespace(terrace_paged paged,
                                            const terrace_descriptor* descriptor, uint32_t group,
                                            terrace_deadline deadline, terrace_space* space,
                                            terrace_error* error) {
  return WithPaged(paged, error, [&](Paged& its) -> Status {
    if (Status status = NotNull(space, "space"); !status.ok()) return status;
    const auto known = ToDescriptor(descriptor);
    if (!known.ok()) return known.status();
    const auto opened = its.cache->OpenNamespace(*known, group, ToDeadline(deadline));
    if (!opened.ok()) return opened.status();
    *space = opened->value;
    return {};
  });
}

terrace_status terrace_paged_get(TERRACE_PAGED_, terrace_deadline deadline,
                                 terrace_block_result* results, terrace_error* error) {
  return OfChain(paged, chain, error, [&](Paged& its, const Chain& keys) -> Status {
    if (Status status = NotNull(results, "results"); !status.ok()) return status;
    const auto known = ToPagedBlocks(its, blocks, block_count, pages, page_count, call);
    if (!known.ok()) return known.status();
    return GiveBlocks(its.cache->Get({space}, keys, known->blocks, ToKind(kind),
                                     ToDeadline(deadline), known->options),
                      results);
  });
}

terrace_status terrace_paged_put(TERRACE_PAGED_, terrace_deadline deadline,
                                 terrace_block_result* results, terrace_error* error) {
  return OfChain(paged, chain, error, [&](Paged& its, const Chain& keys) -> Status {
    if (Status status = NotNull(results, "results"); !status.ok()) return status;
    const auto known = ToPagedBlocks(its, blocks, block_count, pages, page_count, call);
    if (!known.ok()) return known.status();
    return GiveBlocks(its.cache->Put({space}, keys, known->blocks, ToKind(kind),
                                     ToDeadline(deadline), known->options),
                      results);
  });
}

terrace_status terrace_paged_submit_get(TERRACE_PAGED_, TERRACE_TICKET_) {
  return OfChain(paged, chain, error, [&](Paged& its, const Chain& keys) -> Status {
    if (Status status = NotNull(ticket, "ticket"); !status.ok()) return status;
    const auto known = ToPagedBlocks(its, blocks, block_count, pages, page_count, call);
    if (!known.ok()) return known.status();
    return GiveTicket(its.cache->SubmitGet({space}, keys, known->blocks, ToKind(kind),
                                           ToDeadline(deadline), known->options),
                      ticket);
  });
}

terrace_status terrace_paged_submit_put(TERRACE_PAGED_, TERRACE_TICKET_) {
  return OfChain(paged, chain, error, [&](Paged& its, const Chain& keys) -> Status {
    if (Status status = NotNull(ticket, "ticket"); !status.ok()) return status;
    const auto known = ToPagedBlocks(its, blocks, block_count, pages, page_count, call);
    if (!known.ok()) return known.status();
    return GiveTicket(its.cache->SubmitPut({space}, keys, known->blocks, ToKind(kind),
                                           ToDeadline(deadline), known->options),
                      ticket);
  });
}

terrace_status terrace_paged_write(TERRACE_PAGED_PARTS_, terrace_deadline deadline,
                                   terrace_block_result* results, terrace_error* error) {
  return WithPaged(paged, error, [&](Paged& its) -> Status {
    if (Status status = NotNull(results, "results"); !status.ok()) return status;
    const auto known = ToParts(its, tokens, token_count, pages, page_count, call);
    if (!known.ok()) return known.status();
    return GiveBlocks(its.cache->WriteParts(known->parts, ToDeadline(deadline), known->options),
                      results);
  });
}

terrace_status terrace_paged_submit_write(TERRACE_PAGED_PARTS_, TERRACE_TICKET_) {
  return WithPaged(paged, error, [&](Paged& its) -> Status {
    if (Status status = NotNull(ticket, "ticket"); !status.ok()) return status;
    const auto known = ToParts(its, tokens, token_count, pages, page_count, call);
    if (!known.ok()) return known.status();
    return GiveTicket(
        its.cache->SubmitWriteParts(known->parts, ToDeadline(deadline), known->options), ticket);
  });
}

terrace_status terrace_paged_poll(terrace_paged paged, terrace_result* results, uint64_t capacity,
                                  uint64_t* count, terrace_error* error) {
  return WithPaged(paged, error, [&](Paged& its) -> Status {
    if (Status status = NotNull(count, "count"); !status.ok()) return status;
    if (Status status = NotNullUnless(capacity == 0, results, "results"); !status.ok()) {
      return status;
    }
    const std::uint64_t room = Answers().Room();  // so that no completion is taken and lost
    if (room == 0) return Status(terrace::StatusCode::kRetry, "too many results were never freed");
    *count = 0;
    for (terrace::PagedCompletion& ended : its.cache->Poll(std::min(capacity, room))) {
      terrace::Completion completion;
      completion.ticket = ended.ticket;
      completion.status = std::move(ended.status);
      completion.blocks = std::move(ended.blocks);
      auto answer = std::make_shared<Answer>(std::move(completion));
      if (Status status = GiveAnswer(std::move(answer), results + *count); !status.ok()) {
        return status;
      }
      ++*count;
    }
    return {};
  });
}

terrace_status terrace_paged_wait_for_completion(terrace_paged paged, TERRACE_END_) {
  return WithPaged(paged, error,
                   [&](Paged& its) { return its.cache->WaitForCompletion(ToDeadline(deadline)); });
}

terrace_status terrace_paged_completion_fd(terrace_paged paged, int* fd, terrace_error* error) {
  return WithPaged(paged, error, [&](const Paged& its) -> Status {
    if (Status status = NotNull(fd, "fd"); !status.ok()) return status;
    *fd = its.cache->CompletionFd();
    return {};
  });
}

terrace_status terrace_paged_cancel(terrace_paged paged, terrace_ticket ticket, TERRACE_END_) {
  return WithPaged(paged, error,
                   [&](Paged& its) { return its.cache->Cancel(ticket, ToDeadline(deadline)); });
}

terrace_status terrace_paged_fence(terrace_paged paged, const uint32_t* pages, uint64_t page_count,
                                   TERRACE_END_) {
  return WithPaged(paged, error, [&](Paged& its) -> Status {
    if (Status status = NotNullUnless(page_count == 0, pages, "pages"); !status.ok()) return status;
    if (page_count > kPagesMax) {
      return Status::Invalid("page_count is " + std::to_string(page_count) + ", at most " +
                             std::to_string(kPagesMax));
    }
    return its.cache->Fence({pages, page_count}, ToDeadline(deadline));
  });
}

terrace_status terrace_paged_drain(terrace_paged paged, TERRACE_END_) {
  return WithPaged(paged, error,
                   [&](Paged& its) { return its.cache->Drain(ToDeadline(deadline)); });
}

}  // extern "C"
