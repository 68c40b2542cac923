#include "client/terrace.hpp"

namespace terrace {

Result<Ticket> Client::SubmitRegisterMemory(void*, std::uint64_t) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Ticket> Client::SubmitAllocateRegion(std::uint64_t) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Status Client::Cancel(Ticket, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Status Client::Fence(std::span<const MemoryPiece>, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Status Client::Drain(Deadline) { return Status(StatusCode::kUnsupported, "not built yet"); }

Result<std::vector<BlockResult>> Client::Prefetch(NamespaceId, const Chain&, std::uint32_t,
                                                  std::uint32_t, BlockKind, const PrefetchOptions&,
                                                  Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Ticket> Client::SubmitPrefetch(NamespaceId, const Chain&, std::uint32_t, std::uint32_t,
                                      BlockKind, const PrefetchOptions&, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<std::vector<BlockResult>> Client::Touch(NamespaceId, const Chain&, std::uint32_t,
                                               std::uint32_t, BlockKind, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<std::vector<BlockResult>> Client::Retain(NamespaceId, const Chain&, std::uint32_t,
                                                std::uint32_t, BlockKind, const RetainOptions&,
                                                Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<std::uint64_t> Client::ReleaseRetained(std::string_view, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<std::uint64_t> Client::RemovePrefix(NamespaceId, const Chain&, std::uint32_t, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<std::uint64_t> Client::ClearTenant(Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

}  // namespace terrace
