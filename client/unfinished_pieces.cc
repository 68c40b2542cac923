#include "client/terrace.hpp"

namespace terrace {

Result<std::vector<BlockResult>> Client::GetPieces(NamespaceId, const Chain&,
                                                   std::span<const BlockPieces>, BlockKind,
                                                   Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Ticket> Client::SubmitGetPieces(NamespaceId, const Chain&, std::span<const BlockPieces>,
                                       BlockKind, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<std::vector<BlockResult>> Client::PutPieces(NamespaceId, const Chain&,
                                                   std::span<const BlockPieces>, BlockKind,
                                                   Deadline, Ack) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Ticket> Client::SubmitPutPieces(NamespaceId, const Chain&, std::span<const BlockPieces>,
                                       BlockKind, Deadline, Ack) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Reservation> Client::Reserve(NamespaceId, const Chain&, std::uint32_t, BlockKind, Deadline,
                                    std::uint32_t, std::chrono::milliseconds) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Ticket> Client::SubmitReserve(NamespaceId, const Chain&, std::uint32_t, BlockKind, Deadline,
                                     std::uint32_t, std::chrono::milliseconds) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<std::vector<BlockResult>> Client::Write(const PutToken&, std::span<const BlockFragment>,
                                               Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Ticket> Client::SubmitWrite(const PutToken&, std::span<const BlockFragment>, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<BlockResult> Client::Commit(const PutToken&, Deadline, Ack) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Ticket> Client::SubmitCommit(const PutToken&, Deadline, Ack) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Status Client::Abort(const PutToken&, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

}  // namespace terrace
