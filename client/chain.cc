#include <string>

#include "base/limits.h"
#include "client/terrace.hpp"

namespace terrace {

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

Status Chain::Append(std::string_view key) { return Append(std::as_bytes(std::span(key))); }

}  // namespace terrace
