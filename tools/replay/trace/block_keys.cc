#include "tools/replay/trace/block_keys.h"

#include <cstring>
#include <unordered_map>

#include "base/checksum.h"

namespace terrace::replay {
namespace {

/// What is hashed for one half of a key; `half` keeps the two halves independent.
struct KeyMaterial {
  BlockKey previous;
  std::uint64_t hash_id;
  std::uint64_t half;
};
static_assert(sizeof(KeyMaterial) == 48, "hashed as bytes, so it must have no padding");

}  // namespace

BlockKey RootKey(std::uint64_t seed) noexcept { return NextKey(BlockKey{}, seed); }

BlockKey NextKey(const BlockKey& previous, std::uint64_t hash_id) noexcept {
  BlockKey key;
  for (std::uint64_t half = 0; half < 2; ++half) {
    const KeyMaterial material{previous, hash_id, half};
    const Hash128 hash = HashBytes128(std::as_bytes(std::span(&material, 1)));
    std::memcpy(key.data() + half * sizeof hash, &hash, sizeof hash);
  }
  return key;
}

std::string ToHex(std::span<const std::byte> key) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(key.size() * 2);
  for (const std::byte byte : key) {
    text.push_back(kDigits[std::to_integer<unsigned>(byte) >> 4]);
    text.push_back(kDigits[std::to_integer<unsigned>(byte) & 15]);
  }
  return text;
}

BlockNumbers NumberBlocks(const Trace& trace) {
  BlockNumbers result;
  result.numbers.reserve(trace.hash_ids.size());
  std::unordered_map<BlockKey, std::uint32_t, BlockKeyHash> known;
  known.reserve(trace.hash_ids.size());
  const BlockKey root = RootKey(0);
  for (std::size_t request = 0; request < trace.requests.size(); ++request) {
    BlockKey key = root;
    for (const std::uint64_t id : trace.BlocksOf(request)) {
      key = NextKey(key, id);
      const auto [entry, added] = known.try_emplace(key, result.distinct);
      if (added) ++result.distinct;
      result.numbers.push_back(entry->second);
    }
  }
  return result;
}

}  // namespace terrace::replay
