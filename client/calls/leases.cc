// Client: matches over groups and shards, and the leases on them.
#include <new>
#include <numeric>
#include <utility>

#include "client/calls/client_impl.h"
#include "client/calls/validation.h"
#include "client/session/lease_flow.h"
#include "client/terrace.hpp"

namespace terrace {
namespace {

std::uint32_t LeaseMsOf(std::chrono::milliseconds lease) {
  return lease.count() == 0 ? kLeaseMsDefault : static_cast<std::uint32_t>(lease.count());
}

PrefixQuestion QuestionOf(const NamespaceDescriptor& descriptor, const Chain& chain,
                          const MatchQuery& query) {
  PrefixQuestion question{.groups = query.groups,
                          .shards = query.shards,
                          .blocks = chain.size(),
                          .lease_ms = 0,
                          .block_tokens = descriptor.block_tokens};
  for (const GroupPolicy& policy : query.groups) {
    for (const GroupSpec& group : descriptor.groups) {
      if (group.id == policy.group) question.block_bytes.push_back(group.block_bytes);
    }
  }
  if (query.mode == MatchMode::kLease) question.lease_ms = LeaseMsOf(query.lease);
  if (question.shards.empty()) {
    question.shards.resize(descriptor.shard_count);
    std::iota(question.shards.begin(), question.shards.end(), 0U);
  }
  return question;
}

}  // namespace

Result<RequestRef> Client::Impl::PrepareMatchGroups(NamespaceId space, const Chain& chain,
                                                    const MatchQuery& query,
                                                    Deadline deadline) const try {
  const Result<Target> target = FindSpace(space, deadline);
  if (!target.ok()) return target.status();
  const NamespaceDescriptor& descriptor = *target->space.descriptor;
  if (Status status = ValidateQuery(descriptor, chain, query); !status.ok()) return status;
  if (Status status = CheckTarget(*target); !status.ok()) return status;
  return BuilderFor(*target).MatchGroups(target->space, chain,
                                         QuestionOf(descriptor, chain, query));
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Result<PrefixMatch> Client::MatchGroups(NamespaceId space, const Chain& chain,
                                        const MatchQuery& query, Deadline deadline) {
  const auto request = impl_->PrepareMatchGroups(space, chain, query, deadline);
  if (Status status = impl_->Run(request); !status.ok()) return status;
  return std::move(request.value()->prefix);
}

Result<Ticket> Client::SubmitMatchGroups(NamespaceId space, const Chain& chain,
                                         const MatchQuery& query, Deadline deadline) {
  return impl_->Submit(impl_->PrepareMatchGroups(space, chain, query, deadline));
}

Result<RequestRef> Client::Impl::PrepareRenewLease(LeaseId lease, std::chrono::milliseconds time,
                                                   Deadline deadline) const try {
  if (Status status = CheckProcess(); !status.ok()) return status;
  if (Status status = ValidateRenewal(time); !status.ok()) return status;
  const Result<LeaseBook::Entry> entry = core_->leases().Find(lease, core_->clock().Now());
  if (!entry.ok()) return entry.status();
  if (core_->View().epoch != entry->epoch) {
    (void)core_->leases().Take(lease, core_->clock().Now());
    return Status(StatusCode::kExpired, "lease: it ended with its connection");
  }
  Result<RequestRef> request = PreparePlain(deadline, [&](const RequestBuilder& builder) {
    return builder.RenewLease(entry->epoch, entry->parts, LeaseMsOf(time));
  });
  if (request.ok()) request.value()->renews = {.lease = lease, .ms = LeaseMsOf(time)};
  return request;
} catch (const std::bad_alloc&) {
  return OutOfMemory();
}

Status Client::RenewLease(LeaseId lease, std::chrono::milliseconds time, Deadline deadline) {
  return impl_->Run(impl_->PrepareRenewLease(lease, time, deadline));
}

Result<Ticket> Client::SubmitRenewLease(LeaseId lease, std::chrono::milliseconds time,
                                        Deadline deadline) {
  return impl_->Submit(impl_->PrepareRenewLease(lease, time, deadline));
}

Status Client::ReleaseLease(LeaseId lease) {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  const std::shared_ptr<ClientCore> core = impl_->core();
  const Result<LeaseBook::Entry> entry = core->leases().Take(lease, core->clock().Now());
  if (entry.ok()) {
    core->PostLeaseReleases(*entry);
  } else if (entry.code() != StatusCode::kExpired) {
    return entry.status();
  }
  return {};
}

}  // namespace terrace
