#include "client/terrace.hpp"

namespace terrace {

Result<PrefixMatch> Client::MatchGroups(NamespaceId, const Chain&, const MatchQuery&, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Result<Ticket> Client::SubmitMatchGroups(NamespaceId, const Chain&, const MatchQuery&, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Status Client::RenewLease(LeaseId, std::chrono::milliseconds, Deadline) {
  return Status(StatusCode::kUnsupported, "not built yet");
}

Status Client::ReleaseLease(LeaseId) { return Status(StatusCode::kUnsupported, "not built yet"); }

}  // namespace terrace
