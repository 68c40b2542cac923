// Requests with lists of pieces, and those of blocks from several writers, as control messages.
// Neighbouring pieces go as one. Linear in keys and pieces. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "client/request/request.h"
#include "client/terrace.hpp"
#include "client/wire/encode.h"

namespace terrace {

/// `blocks` are the caller's; the plan's indices point into it.
std::vector<std::byte> EncodePieces(const MessageHead& head, const BlockQuestion& question,
                                    std::span<const BlockPieces> blocks, TransferKind transfer);
std::vector<std::byte> EncodeReserve(const MessageHead& head, const BlockQuestion& question,
                                     std::uint32_t valid_tokens, std::uint32_t patience_ms);
std::vector<std::byte> EncodeWrite(const MessageHead& head, const PutToken& token,
                                   std::span<const BlockFragment> fragments);
std::vector<std::byte> EncodeCommit(const MessageHead& head, const PutToken& token, Ack ack);
/// `count`: of all blocks of the hand-off; the last holds `options.last_valid_tokens`.
std::vector<std::byte> EncodeOpenHandoff(const MessageHead& head, const BlockQuestion& question,
                                         const HandoffToken& token, std::uint32_t count,
                                         const HandoffOptions& options);
std::vector<std::byte> EncodeEndHandoff(const MessageHead& head, const HandoffToken& token,
                                        bool abort);
std::vector<std::byte> EncodeAbort(const MessageHead& head, const PutToken& token);

}  // namespace terrace
