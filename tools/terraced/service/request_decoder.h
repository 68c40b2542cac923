// From verified wire messages to the cache's request structs.
//
// The flatbuffers verifier has made sure that every offset lies inside the message; what is checked
// here is meaning: lengths that add up, limits, and that a run belongs to this reactor. An error
// names the field; nothing of the request is then done.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/handoff_token.h"
#include "base/result.h"
#include "cache/cache.h"
#include "tools/terraced/service/hint_counters.h"
#include "transport/protocol_generated.h"

namespace terrace {

/// Where this reactor stands among the reactors of its daemon.
struct ShardPlace {
  std::uint32_t index = 0;
  std::uint32_t count = 1;
};

/// The views of the result point into `runs`.
/// @return kInvalid for keys of 0 or over 64 bytes, lengths that do not add up, no keys, more than
///         kChainBlocksMax keys, or a run of another shard.
Result<ChainSlice> DecodeChain(std::uint32_t namespace_id, std::uint32_t group, std::uint32_t shard,
                               const flatbuffers::Vector<flatbuffers::Offset<wire::Run>>* runs,
                               ShardPlace place);

/// Pieces per block. `valid_tokens` may be null (get) or has one entry per key (put).
/// @return kInvalid when the counts do not fit `blocks`.
Result<std::vector<BlockPlace>> DecodePlaces(
    std::size_t blocks, const flatbuffers::Vector<const wire::Piece*>* pieces,
    const flatbuffers::Vector<std::uint16_t>* piece_counts,
    const flatbuffers::Vector<std::uint32_t>* valid_tokens);

/// Which part of each block a get asks for; null: all of them whole.
/// @return kInvalid when there are not as many as places. Whether a range lies in its block is the
///         cache's to say.
Status DecodeRanges(const flatbuffers::Vector<const wire::Range*>* ranges,
                    std::vector<BlockPlace>& places);

/// The ids of a put's tokens, as views of it; absent: none.
/// @return kInvalid when they do not fit the places, and for more than kEventTokensMax of a block.
Status DecodeTokenIds(const wire::Put& put, std::vector<BlockPlace>& places);

/// kInvalid for another length; whose it is, is the cache's to say.
Result<PutTokenParts> DecodeToken(const flatbuffers::Vector<std::uint8_t>* token);
/// Without request id and deadline. kInvalid as DecodeToken, DecodePlaces, and for no fragments or
/// more than kChainBlocksMax. Whether one lies in its block is the cache's to say.
Result<std::unique_ptr<WriteRequest>> DecodeWrite(const wire::WriteFragments& write);

/// kInvalid for another length or version, or no number; whose it is, is the service's to say.
Result<HandoffTokenParts> DecodeHandoffToken(const flatbuffers::Vector<std::uint8_t>* token);

/// What a put waits for. @return kInvalid, naming the field, for a number that is no Ack.
/// The keys of an Explain, 1 to kExplainKeysMax; views of the message.
Result<std::vector<KeyView>> DecodeExplainKeys(const wire::Explain& explain);

Result<Ack> DecodeAck(std::uint8_t ack);

/// What a client says of its request, without the tenant's number; null: nothing. Names become
/// hashes that are never 0, and of one tenant alone. What is out of bounds is left out; both are
/// counted.
RequestFacts DecodeHints(const wire::Hints* hints, std::string_view tenant, HintCounters& counters);
/// What was told; nothing when that cannot be: then it is counted as ignored.
PrefillCost DecodePrefillCost(const wire::OpenNamespace& open, HintCounters& counters);

/// `otherwise` for 0, and at most `most`.
Nanos DecodeTime(std::uint32_t milliseconds, Nanos otherwise, Nanos most) noexcept;

/// For how long a get's frames are to be lent, kLeaseDefault when it does not say and at most
/// kLeaseMax; 0: they are not to be.
inline constexpr Nanos kLeaseDefault = 10 * kSecond;
inline constexpr Nanos kLeaseMax = 60 * kSecond;
Nanos DecodeLease(const wire::Get& get) noexcept;
/// The GPU whose memory may be lent as well; empty: none. kInvalid names the field.
Result<std::string> DecodeLendGpu(const wire::Get& get);

/// The tenant is the connection's, never the message's. What is longer than a namespace can have is
/// cut, but stays too long.
NamespaceSpec DecodeNamespace(const wire::OpenNamespace& open, const std::string& tenant);

/// Keys of all runs together.
std::size_t BlockCount(const ChainSlice& chain) noexcept;

}  // namespace terrace
