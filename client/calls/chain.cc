#include <string>

#include "base/limits.h"
#include "client/terrace.hpp"

namespace terrace {
namespace {

Status CheckHintText(const char* what, const std::string& text) {
  if (text.size() <= kHintBytesMax) return {};
  return Status::Invalid("the length of " + std::string(what) + " is " +
                         std::to_string(text.size()) + ", at most " +
                         std::to_string(kHintBytesMax));
}

Status CheckHints(const RequestHints& hints) {
  Status status = CheckHintText("hints.session", hints.session);
  if (status.ok()) status = CheckHintText("hints.category", hints.category);
  if (!status.ok()) return status;
  if (hints.turn > kHintTurnMax) {
    return Status::Invalid("hints.turn is " + std::to_string(hints.turn) + ", not 0 to " +
                           std::to_string(kHintTurnMax));
  }
  if (hints.continuation <= Continuation::kDone) return {};
  return Status::Invalid("hints.continuation is " +
                         std::to_string(static_cast<unsigned>(hints.continuation)) +
                         ", not kUnknown, kWillContinue or kDone");
}

}  // namespace

Status Chain::Append(std::span<const std::byte> key) {
  if (key.empty() || key.size() > kKeyBytesMax) {
    return Status::Invalid("key " + std::to_string(ends_.size()) + " has " +
                           std::to_string(key.size()) + " bytes, not 1 to " +
                           std::to_string(kKeyBytesMax));
  }
  if (ends_.size() >= kChainBlocksMax) {
    return Status::Invalid("the chain is full: key " + std::to_string(ends_.size()) +
                           " is one more than " + std::to_string(kChainBlocksMax));
  }
  bytes_.insert(bytes_.end(), key.begin(), key.end());
  ends_.push_back(static_cast<std::uint32_t>(bytes_.size()));
  return {};
}

Status Chain::SetHints(const RequestHints& hints) {
  if (Status status = CheckHints(hints); !status.ok()) return status;
  hints_ = hints;
  return {};
}

Status Chain::Append(std::string_view key) { return Append(std::as_bytes(std::span(key))); }

}  // namespace terrace
