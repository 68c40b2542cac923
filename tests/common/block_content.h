// The bytes of a block, made from its name: whoever reads a block can check every one of them, and
// sees which put they came from.
//
// Layout: 8-byte words, little endian: magic, store, space, chain and position, version; then
// numbers that follow from all of these. Sizes are bytes, multiples of 8, at least
// kContentBytesMin.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace terrace::crash {

/// Which block of which namespace of a store. `store` is a random number of its own.
struct BlockName {
  std::uint64_t store = 0;
  std::uint32_t space = 0;
  std::uint32_t chain = 0;
  std::uint32_t position = 0;
};

inline constexpr std::size_t kContentBytesMin = 64;

/// What the put number `version` of that block stores.
void FillBlock(const BlockName& name, std::uint32_t version, std::span<std::byte> bytes);

/// The version of a block that was read. kCorrupt: the bytes are of no put of that block; the
/// message says what they are, or where they begin to differ.
Result<std::uint32_t> VersionOf(const BlockName& name, std::span<const std::byte> bytes);

/// The key of a block: unique in its namespace.
std::string KeyOf(std::uint32_t chain, std::uint32_t position);

}  // namespace terrace::crash
