// The public face: every member function of Client, each a few lines over Client::Impl.
#include <string>
#include <utility>

#include "client/calls/answer_of.h"
#include "client/calls/client_impl.h"
#include "client/calls/validation.h"
#include "client/session/lent_block.h"
#include "client/terrace.hpp"

namespace terrace {
Result<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  if (Status status = ValidateOptions(options); !status.ok()) return status;
  Result<std::shared_ptr<ClientCore>> core = ClientCore::Start(options);
  if (!core.ok()) return core.status();
  return std::unique_ptr<Client>(
      new Client(std::make_unique<Impl>(std::move(core.value()), options.address)));
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;
void Client::Close() { impl_->Close(); }

Result<NamespaceId> Client::OpenNamespace(const NamespaceDescriptor& descriptor,
                                          Deadline deadline) {
  if (Status status = ValidateDescriptor(descriptor); !status.ok()) return status;
  const auto request = impl_->PreparePlain(deadline, [&descriptor](const RequestBuilder& builder) {
    return builder.OpenNamespace(descriptor);
  });
  return AnswerOf<NamespaceId>(impl_->Run(request), request,
                               [](const Request& call) { return call.opened; });
}

Result<RegionId> Client::RegisterMemory(void* base, std::uint64_t length) {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  const Result<RegionTable::Region> region = impl_->core()->regions().Add(base, length);
  if (!region.ok()) return region.status();
  impl_->core()->AddRegion(*region);
  return RegionId{region->id};
}

Result<RegionId> Client::AllocateRegion(std::uint64_t length) {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  Result<terrace::RegionMemory> memory = terrace::RegionMemory::Allocate(length);
  if (!memory.ok()) return memory.status();
  const Result<RegionTable::Region> region =
      impl_->core()->regions().Add(std::move(memory.value()));
  if (!region.ok()) return region.status();
  impl_->core()->AddRegion(*region);
  return RegionId{region->id};
}

std::span<std::byte> Client::RegionMemory(RegionId region) const {
  if (!impl_->SameProcess()) return {};
  return impl_->core()->regions().Memory(region.value);
}

Status Client::DeregisterMemory(RegionId region) {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  if (Status status = impl_->LetGoOfDevice(region.value); !status.ok()) return status;
  Result<terrace::RegionMemory> memory = impl_->core()->regions().Remove(region.value);
  if (!memory.ok()) return memory.status();
  if (impl_->core()->RemoveRegion(region.value)) return {};
  // Something may still know these pages: they are given up rather than unmapped under it.
  [[maybe_unused]] const auto* abandoned =
      new terrace::RegionMemory(std::move(memory.value()));  // NOLINT
  return Status::Internal("the library thread does not answer");
}

Status Client::Quiesce(RegionId region, Deadline deadline) {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  const std::shared_ptr<ClientCore> core = impl_->core();
  return core->regions().Quiesce(region.value, ToNanos(deadline, core->clock().Now()));
}

Result<MatchResult> Client::Match(NamespaceId space, const Chain& chain, BlockKind kind,
                                  Deadline deadline) {
  const auto request = impl_->PrepareMatch(space, chain, kind, deadline);
  return AnswerOf<MatchResult>(impl_->Run(request), request,
                               [](Request& call) { return std::move(call.match); });
}

Result<std::vector<BlockResult>> Client::Get(NamespaceId space, const Chain& chain,
                                             std::span<const BlockBuffer> blocks, BlockKind kind,
                                             Deadline deadline) {
  const auto request =
      impl_->PrepareTransfer({.kind = RequestKind::kGet}, space, chain, blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<std::vector<BlockResult>> Client::Put(NamespaceId space, const Chain& chain,
                                             std::span<const BlockBuffer> blocks, BlockKind kind,
                                             Deadline deadline, Ack ack) {
  const auto request = impl_->PrepareTransfer({.kind = RequestKind::kPut, .ack = ack}, space, chain,
                                              blocks, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<std::vector<LentBlock>> Client::Lend(NamespaceId space, const Chain& chain,
                                            std::span<const std::uint32_t> positions,
                                            BlockKind kind, Deadline deadline,
                                            std::chrono::milliseconds lease) {
  return LendWith(space, chain, positions, kind, deadline, {.lease = lease, .gpu = {}});
}

Result<std::vector<BlockResult>> Client::Remove(NamespaceId space, const Chain& chain,
                                                std::uint32_t first, std::uint32_t count,
                                                BlockKind kind, Deadline deadline) {
  const auto request = impl_->PrepareRemove(space, chain, first, count, kind, deadline);
  return BlocksOf(impl_->Run(request), request);
}

Result<Ticket> Client::SubmitMatch(NamespaceId space, const Chain& chain, BlockKind kind,
                                   Deadline deadline) {
  return impl_->Submit(impl_->PrepareMatch(space, chain, kind, deadline));
}

Result<Ticket> Client::SubmitGet(NamespaceId space, const Chain& chain,
                                 std::span<const BlockBuffer> blocks, BlockKind kind,
                                 Deadline deadline) {
  return impl_->Submit(
      impl_->PrepareTransfer({.kind = RequestKind::kGet}, space, chain, blocks, kind, deadline));
}

Result<Ticket> Client::SubmitPut(NamespaceId space, const Chain& chain,
                                 std::span<const BlockBuffer> blocks, BlockKind kind,
                                 Deadline deadline, Ack ack) {
  return impl_->Submit(impl_->PrepareTransfer({.kind = RequestKind::kPut, .ack = ack}, space, chain,
                                              blocks, kind, deadline));
}

Result<Ticket> Client::SubmitLend(NamespaceId space, const Chain& chain,
                                  std::span<const std::uint32_t> positions, BlockKind kind,
                                  Deadline deadline, std::chrono::milliseconds lease) {
  return SubmitLendWith(space, chain, positions, kind, deadline, {.lease = lease, .gpu = {}});
}

Result<Ticket> Client::SubmitRemove(NamespaceId space, const Chain& chain, std::uint32_t first,
                                    std::uint32_t count, BlockKind kind, Deadline deadline) {
  return impl_->Submit(impl_->PrepareRemove(space, chain, first, count, kind, deadline));
}

std::vector<Completion> Client::Poll(std::size_t most) {
  if (!impl_->SameProcess()) return {};
  return impl_->core()->completions().Take(most);
}

Status Client::WaitForCompletion(Deadline deadline) {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  const std::shared_ptr<ClientCore> core = impl_->core();
  if (core->AwaitCompletion(ToNanos(deadline, core->clock().Now()))) return {};
  return {StatusCode::kTimeout, "nothing has finished by the deadline"};
}

int Client::CompletionFd() const { return impl_->core()->completions().Fd(); }

Status Client::Ping(Deadline deadline) {
  return impl_->Run(impl_->PreparePlain(deadline, [](const RequestBuilder& builder) {
    return builder.ToEveryShard(RequestKind::kPing);
  }));
}

Result<std::vector<Sample>> Client::Stat(Deadline deadline) {
  const auto request = impl_->PreparePlain(deadline, [](const RequestBuilder& builder) {
    return builder.ToEveryShard(RequestKind::kStat);
  });
  return AnswerOf<std::vector<Sample>>(impl_->Run(request), request,
                                       [](Request& call) { return std::move(call.samples); });
}

Result<std::vector<NamespaceInfo>> Client::ListNamespaces(Deadline deadline) {
  const auto request = impl_->PreparePlain(deadline, [](const RequestBuilder& builder) {
    return builder.ToEveryShard(RequestKind::kListNamespaces);
  });
  return AnswerOf<std::vector<NamespaceInfo>>(
      impl_->Run(request), request, [](Request& call) { return std::move(call.namespaces); });
}

Result<std::uint64_t> Client::ClearNamespace(std::string_view name, Deadline deadline) {
  if (name.empty() || name.size() > kNameBytesMax) {
    return Status::Invalid("the length of name is " + std::to_string(name.size()) + ", not 1 to " +
                           std::to_string(kNameBytesMax));
  }
  const auto request = impl_->PreparePlain(
      deadline, [name](const RequestBuilder& builder) { return builder.ClearNamespace(name); });
  return AnswerOf<std::uint64_t>(impl_->Run(request), request,
                                 [](const Request& call) { return call.cleared; });
}

bool Client::Connected() const { return impl_->SameProcess() && impl_->core()->View().epoch != 0; }

std::string Client::LinkName() const {
  if (!impl_->SameProcess()) return "none";
  return std::string(LinkKindName(impl_->core()->Link()));
}

std::uint64_t Client::Reconnects() const {
  return impl_->SameProcess() ? impl_->core()->Reconnects() : 0;
}

}  // namespace terrace
