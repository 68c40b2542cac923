// Client: what to keep and where, and regions that are made on the side.
#include <functional>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "client/calls/client_impl.h"
#include "client/calls/validation.h"
#include "client/regions/region_memory.h"
#include "client/terrace.hpp"
#include "client/wire/encode_hints.h"

namespace terrace {
namespace {

Result<std::vector<BlockResult>> BlocksOf(const Status& status, const Result<RequestRef>& request) {
  if (!status.ok()) return status;
  return std::move(request.value()->blocks);
}

Result<std::uint64_t> CountOf(const Status& status, const Result<RequestRef>& request) {
  if (!status.ok()) return status;
  return request.value()->cleared;
}

}  // namespace

Result<RequestRef> Client::Impl::PreparePrefetch(NamespaceId space, const Chain& chain,
                                                 std::uint32_t first, std::uint32_t count,
                                                 BlockKind kind, const PrefetchOptions& options,
                                                 Deadline deadline) const {
  if (options.target != Tier::kDram) {
    return Status::Invalid("options.target is " + std::string(TierName(options.target)) +
                           ", not dram");
  }
  return PrepareRange(RequestKind::kPrefetch, space, chain, first, count, kind, deadline,
                      [&options](const MessageHead& head, const BlockQuestion& question) {
                        return EncodePrefetch(head, question, options);
                      });
}

Result<RequestRef> Client::Impl::PrepareRange(RequestKind call, NamespaceId space,
                                              const Chain& chain, std::uint32_t first,
                                              std::uint32_t count, BlockKind kind,
                                              Deadline deadline,
                                              const RequestBuilder::EncodeQuestion& encode) const
    try {
  const Result<Target> target = FindTarget(space, chain, kind, deadline);
  if (!target.ok()) return target.status();
  if (Status status = ValidateRange(chain, first, count); !status.ok()) return status;
  if (Status status = CheckTarget(*target); !status.ok()) return status;
  return BuilderFor(*target).Range(call, target->space, chain, first, count, kind, encode);
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<RequestRef> Client::Impl::PrepareRemovePrefix(NamespaceId space, const Chain& chain,
                                                     std::uint32_t first, Deadline deadline) const {
  if (Status status = CheckProcess(); !status.ok()) return status;
  if (chain.size() > 0 && first >= chain.size()) {
    return Status::Invalid("first is " + std::to_string(first) + ", the chain has " +
                           std::to_string(chain.size()) + " keys");
  }
  // Every group and shard is meant: one that the namespace has, for the checks.
  BlockKind any;
  const Result<NamespaceView> view = core_->namespaces().Find(space);
  if (view.ok()) any.group = view.value().descriptor->groups.front().id;
  return PrepareRange(RequestKind::kRemovePrefix, space, chain, first, chain.size() - first, any,
                      deadline, EncodeRemovePrefix);
}

Result<std::vector<BlockResult>> Client::Prefetch(NamespaceId space, const Chain& chain,
                                                  std::uint32_t first, std::uint32_t count,
                                                  BlockKind kind, const PrefetchOptions& options,
                                                  Deadline deadline) {
  const auto request = impl_->PreparePrefetch(space, chain, first, count, kind, options, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitPrefetch(NamespaceId space, const Chain& chain, std::uint32_t first,
                                      std::uint32_t count, BlockKind kind,
                                      const PrefetchOptions& options, Deadline deadline) {
  return impl_->Submit(impl_->PreparePrefetch(space, chain, first, count, kind, options, deadline));
}

Result<RequestRef> Client::Impl::PrepareTouch(NamespaceId space, const Chain& chain,
                                              std::uint32_t first, std::uint32_t count,
                                              BlockKind kind, Deadline deadline) const {
  return PrepareRange(RequestKind::kTouch, space, chain, first, count, kind, deadline,
                      [](const MessageHead& head, const BlockQuestion& question) {
                        return EncodeTouch(head, question);
                      });
}

Result<std::vector<BlockResult>> Client::Touch(NamespaceId space, const Chain& chain,
                                               std::uint32_t first, std::uint32_t count,
                                               BlockKind kind, Deadline deadline) {
  const auto request = impl_->PrepareTouch(space, chain, first, count, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitTouch(NamespaceId space, const Chain& chain, std::uint32_t first,
                                   std::uint32_t count, BlockKind kind, Deadline deadline) {
  return impl_->Submit(impl_->PrepareTouch(space, chain, first, count, kind, deadline));
}

Result<RequestRef> Client::Impl::PrepareRetain(NamespaceId space, const Chain& chain,
                                               std::uint32_t first, std::uint32_t count,
                                               BlockKind kind, const RetainOptions& options,
                                               Deadline deadline) const {
  if (Status status = ValidateLabel("options.label", options.label); !status.ok()) return status;
  if (Status status = ValidateRetainTime(options.time); !status.ok()) return status;
  return PrepareRange(RequestKind::kRetain, space, chain, first, count, kind, deadline,
                      [&options](const MessageHead& head, const BlockQuestion& question) {
                        return EncodeRetain(head, question, options);
                      });
}

Result<std::vector<BlockResult>> Client::Retain(NamespaceId space, const Chain& chain,
                                                std::uint32_t first, std::uint32_t count,
                                                BlockKind kind, const RetainOptions& options,
                                                Deadline deadline) {
  const auto request = impl_->PrepareRetain(space, chain, first, count, kind, options, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitRetain(NamespaceId space, const Chain& chain, std::uint32_t first,
                                    std::uint32_t count, BlockKind kind,
                                    const RetainOptions& options, Deadline deadline) {
  return impl_->Submit(impl_->PrepareRetain(space, chain, first, count, kind, options, deadline));
}

Result<RequestRef> Client::Impl::PrepareReleaseRetained(std::string_view label,
                                                        Deadline deadline) const {
  if (Status status = ValidateLabel("label", label); !status.ok()) return status;
  return PreparePlain(deadline, [label](const RequestBuilder& builder) {
    return builder.EachShard(RequestKind::kReleaseRetained, [label](const MessageHead& head) {
      return EncodeReleaseRetained(head, label);
    });
  });
}

Result<std::uint64_t> Client::ReleaseRetained(std::string_view label, Deadline deadline) {
  const auto request = impl_->PrepareReleaseRetained(label, deadline);
  return CountOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitReleaseRetained(std::string_view label, Deadline deadline) {
  return impl_->Submit(impl_->PrepareReleaseRetained(label, deadline));
}

Result<std::uint64_t> Client::RemovePrefix(NamespaceId space, const Chain& chain,
                                           std::uint32_t first, Deadline deadline) {
  const auto request = impl_->PrepareRemovePrefix(space, chain, first, deadline);
  return CountOf(impl_->Run(request), request);
}

Result<std::uint64_t> Client::ClearTenant(Deadline deadline) {
  const auto request = impl_->PreparePlain(deadline, [](const RequestBuilder& builder) {
    return builder.EachShard(RequestKind::kClearTenant, EncodeClearTenant);
  });
  return CountOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitRegisterMemory(void* base, std::uint64_t length) try {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  if (Status status = RegionTable::Check(base, length); !status.ok()) return status;
  return impl_->core()->SubmitRegion({static_cast<std::byte*>(base), length}, length);
} catch (const std::bad_alloc&) {
  return Impl::OutOfMemory();
}

Result<Ticket> Client::SubmitAllocateRegion(std::uint64_t length) try {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  if (Status status = terrace::RegionMemory::CheckLength(length); !status.ok()) return status;
  return impl_->core()->SubmitRegion({}, length);
} catch (const std::bad_alloc&) {
  return Impl::OutOfMemory();
}

}  // namespace terrace
