#include "tests/cache/cache_harness.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/checksum.h"

namespace terrace::testing {

ChainKeys MakeChain(const std::string& name, std::size_t length) {
  ChainKeys keys;
  for (std::size_t i = 0; i < length; ++i) keys.push_back(name + "/" + std::to_string(i));
  return keys;
}

KeyView AsKey(const std::string& key) { return std::as_bytes(std::span(key)); }

ChainSlice SliceOf(const Namespace& space, const ChainKeys& chain, std::size_t first,
                   std::size_t count, std::uint32_t group, std::uint32_t shard) {
  ChainSlice slice{.namespace_id = space.id, .group = group, .shard = shard, .runs = {}};
  const std::size_t run_blocks = space.spec.run_blocks;
  for (std::size_t position = first; position < first + count; ++position) {
    if (position == first || position % run_blocks == 0) {
      slice.runs.push_back({.placement = AsKey(chain[position / run_blocks * run_blocks]),
                            .first_position = static_cast<std::uint32_t>(position),
                            .parent = position == 0 ? KeyView() : AsKey(chain[position - 1]),
                            .keys = {}});
    }
    slice.runs.back().keys.push_back(AsKey(chain[position]));
  }
  return slice;
}

namespace {
/// A word of a block's stream, of its number (the finaliser of MurmurHash3, a bijection): quicker
/// than a generator with a state, since most of a simulation's time is spent on blocks' bytes.
constexpr std::uint64_t Mixed(std::uint64_t word) {
  word = (word ^ (word >> 33)) * 0xff51afd7ed558ccdU;
  word = (word ^ (word >> 33)) * 0xc4ceb9fe1a85ec53U;
  return word ^ (word >> 33);
}
}  // namespace

void FillBlock(std::span<std::byte> bytes, const Namespace& space, std::uint32_t group,
               std::uint32_t shard, KeyView key) {
  std::string seed = space.spec.tenant + '\0' + space.spec.name + '\0' + std::to_string(group) +
                     '\0' + std::to_string(shard) + '\0';
  seed.append(reinterpret_cast<const char*>(key.data()), key.size());
  const std::uint64_t start = Checksum64(std::as_bytes(std::span(seed)));
  for (std::size_t at = 0; at < bytes.size(); at += sizeof start) {
    const std::uint64_t word = Mixed(start + at);
    std::memcpy(&bytes[at], &word, std::min(bytes.size() - at, sizeof word));
  }
}

bool IsBlock(std::span<const std::byte> bytes, const Namespace& space, std::uint32_t group,
             std::uint32_t shard, KeyView key) {
  std::vector<std::byte> expected(bytes.size());
  FillBlock(expected, space, group, shard, key);
  return std::memcmp(expected.data(), bytes.data(), bytes.size()) == 0;
}

ClientMemory::ClientMemory(std::size_t slots, std::uint64_t slot_bytes)
    : slot_bytes_(slot_bytes), bytes_(slots * slot_bytes) {
  memory_.Register(bytes_);
}

std::span<std::byte> ClientMemory::Slot(std::size_t slot, std::uint64_t block_bytes) {
  TERRACE_CHECK(block_bytes <= slot_bytes_ && slot < slots());
  return std::span(bytes_).subspan(slot * slot_bytes_, block_bytes);
}

std::vector<Piece> ClientMemory::Pieces(std::size_t slot, std::uint64_t block_bytes,
                                        std::size_t count) const {
  const std::uint64_t start = slot * slot_bytes_;
  std::vector<Piece> pieces;
  std::uint64_t end = block_bytes;
  for (std::size_t left = count; left > 0; --left) {
    const std::uint64_t length = end / left;
    pieces.push_back({.region = 1, .offset = start + end - length, .length = length});
    end -= length;
  }
  return pieces;
}

void ClientMemory::Scatter(std::size_t slot, std::size_t pieces, std::span<const std::byte> block) {
  for (const Piece& piece : Pieces(slot, block.size(), pieces)) {
    std::memcpy(bytes_.data() + piece.offset, block.data(), piece.length);
    block = block.subspan(piece.length);
  }
}

std::vector<std::byte> ClientMemory::Gather(std::size_t slot, std::uint64_t block_bytes,
                                            std::size_t pieces) {
  std::vector<std::byte> block;
  for (const Piece& piece : Pieces(slot, block_bytes, pieces)) {
    const auto* const from = bytes_.data() + piece.offset;
    block.insert(block.end(), from, from + piece.length);
  }
  return block;
}

void ClientMemory::Poison(std::size_t slot, std::uint64_t block_bytes) {
  std::ranges::fill(Slot(slot, block_bytes), std::byte{0xee});
}

std::vector<KeyView> ClientCall::Keys() const {
  std::vector<KeyView> keys;
  for (const RunSlice& run : request.chain.runs) {
    keys.insert(keys.end(), run.keys.begin(), run.keys.end());
  }
  return keys;
}

ClientCall MakeCall(const Namespace& space, ClientMemory& memory, ChainSlice chain, Nanos deadline,
                    std::size_t first_slot, std::size_t pieces) {
  ClientCall call{.space = &space, .first_slot = first_slot, .pieces = pieces, .request = {}};
  const std::uint64_t block_bytes = space.BlockBytes(chain.group);
  std::size_t slot = first_slot;
  for (const RunSlice& run : chain.runs) {
    for (std::size_t i = 0; i < run.keys.size(); ++i) {
      call.request.places.push_back({.pieces = memory.Pieces(slot++, block_bytes, pieces)});
    }
  }
  call.request.chain = std::move(chain);
  call.request.deadline = deadline;
  return call;
}

void FillSources(const ClientCall& call, ClientMemory& memory) {
  const ChainSlice& chain = call.request.chain;
  std::vector<std::byte> block(call.space->BlockBytes(chain.group));
  std::size_t slot = call.first_slot;
  for (const KeyView key : call.Keys()) {
    FillBlock(block, *call.space, chain.group, chain.shard, key);
    memory.Scatter(slot++, call.pieces, block);
  }
}

void PoisonDestinations(const ClientCall& call, ClientMemory& memory) {
  const std::uint64_t block_bytes = call.space->BlockBytes(call.request.chain.group);
  for (std::size_t i = 0; i < call.request.places.size(); ++i) {
    memory.Poison(call.first_slot + i, block_bytes);
  }
}

std::size_t WrongBlocks(const ClientCall& call, ClientMemory& memory, const BatchAnswer& answer) {
  const ChainSlice& chain = call.request.chain;
  const std::vector<KeyView> keys = call.Keys();
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < answer.blocks.size(); ++i) {
    if (answer.blocks[i].status != StatusCode::kOk) continue;
    const std::vector<std::byte> block =
        memory.Gather(call.first_slot + i, call.space->BlockBytes(chain.group), call.pieces);
    if (!IsBlock(block, *call.space, chain.group, chain.shard, keys[i])) ++wrong;
  }
  return wrong;
}

std::string StatusText(const BatchAnswer& answer) {
  if (!answer.status.ok()) return answer.status.ToString();
  std::string text;
  for (const BlockAnswer& block : answer.blocks) {
    if (!text.empty()) text += ' ';
    text += StatusCodeName(block.status);
  }
  return text;
}

}  // namespace terrace::testing
