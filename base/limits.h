// Limits that client, wire and daemon share. Units are in the names or beside them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace terrace {

inline constexpr std::size_t kKeyBytesMax = 64;            ///< longest key; the shortest is 1
inline constexpr std::uint64_t kBlockBytesMin = 4096;      ///< smallest block, bytes
inline constexpr std::uint64_t kBlockBytesMax = 64 << 20;  ///< largest block, bytes
inline constexpr std::uint32_t kChainBlocksMax = 65536;    ///< most keys in one chain or call
/// Most groups x shards x keys of one match over groups.
inline constexpr std::uint32_t kMatchBlocksMax = 1 << 20;
inline constexpr std::uint32_t kLeaseMsDefault = 10'000;  ///< a lease on a match, ms
inline constexpr std::uint32_t kLeaseMsMax = 60'000;      ///< likewise, at most; it can be renewed
inline constexpr std::uint32_t kRunBlocksMax = 4096;      ///< most blocks placed together
inline constexpr std::uint32_t kGroupsMax = 64;           ///< most groups of a namespace
inline constexpr std::uint32_t kShardsMax = 4096;         ///< most shards of a namespace
inline constexpr std::size_t kNameBytesMax = 128;         ///< longest tenant or namespace name
inline constexpr std::size_t kDescriptorTextBytesMax = 1024;  ///< longest other descriptor text
inline constexpr std::size_t kHintBytesMax = 64;              ///< longest session or category
inline constexpr std::uint32_t kHintTurnMax = 65'535;         ///< highest turn of a session
inline constexpr std::uint32_t kEventTokensMax = 16'384;      ///< most token ids of one block's put
inline constexpr std::uint32_t kExplainKeysMax = 4096;  ///< most keys of one question for stories
inline constexpr std::uint32_t kEventsMax = 4096;       ///< most events in one answer

}  // namespace terrace
