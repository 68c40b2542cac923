// terracectl explain: the story of a block, or of the blocks of a request.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/explain.hpp"
#include "tools/terracectl/commands.h"

namespace terrace {

struct ExplainOptions {
  std::string space;              ///< SpaceOf tells what it means
  std::vector<std::string> keys;  ///< hexadecimal, in prefix order
  std::string file;               ///< of keys, one a line; "-": standard input
  std::uint32_t group = 0;
  std::uint32_t shard = 0;
};

/// Keys of one question at most.
inline constexpr std::size_t kExplainKeysAsked = 65'536;

/// Asks, prints; 0 a get of all would be answered, 3 it would not, 1 failed, 2 a usage error.
int RunExplain(const CommandOptions& options, const ExplainOptions& explain);

struct SpaceName {
  std::string tenant;
  std::string name;
};
/// TENANT/NAME, up to the first slash; NAME alone, with all its slashes, beside --tenant.
SpaceName SpaceOf(const CommandOptions& options, const std::string& text);

/// The bytes of a key in hexadecimal; kInvalid says what is wrong with `text`.
Result<std::vector<std::byte>> ParseKey(const std::string& text);

/// A block's story, in a sentence without its end.
std::string StoryText(const BlockStoryInfo& story);
/// What a get of the blocks, in prefix order, would answer; `keys` as they were asked for.
std::string StoriesText(std::span<const std::string> keys, std::span<const BlockStoryInfo> stories);
std::string StoriesJson(std::span<const std::string> keys, std::span<const BlockStoryInfo> stories);

}  // namespace terrace
