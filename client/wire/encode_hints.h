// Encode: what to keep and where, as control messages; as encode.h. Any thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "client/terrace.hpp"
#include "client/wire/encode.h"
#include "transport/codec.h"

namespace terrace {

std::vector<std::byte> EncodePrefetch(const MessageHead& head, const BlockQuestion& question,
                                      const PrefetchOptions& options);
std::vector<std::byte> EncodeTouch(const MessageHead& head, const BlockQuestion& question);
/// options.time was validated: it fits 32 bits of milliseconds.
std::vector<std::byte> EncodeRetain(const MessageHead& head, const BlockQuestion& question,
                                    const RetainOptions& options);
std::vector<std::byte> EncodeReleaseRetained(const MessageHead& head, std::string_view label);
/// The question's kind is not asked: every group and shard is meant.
std::vector<std::byte> EncodeRemovePrefix(const MessageHead& head, const BlockQuestion& question);
std::vector<std::byte> EncodeClearTenant(const MessageHead& head);

}  // namespace terrace
