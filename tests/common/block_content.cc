#include "tests/common/block_content.h"

#include <array>
#include <cstring>
#include <utility>

namespace terrace::crash {

namespace {

constexpr std::uint64_t kMagic = 0x6b636f6c62657375;
constexpr std::size_t kNameWords = 5;
using NameWords = std::array<std::uint64_t, kNameWords>;

/// splitmix64's mixing of a word.
std::uint64_t Mix(std::uint64_t word) {
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9U;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebU;
  return word ^ (word >> 31);
}

NameWords WordsOf(const BlockName& name, std::uint32_t version) {
  return {kMagic, name.store, name.space,
          (static_cast<std::uint64_t>(name.chain) << 32) | name.position, version};
}

std::uint64_t StreamOf(const NameWords& words) {
  std::uint64_t stream = 0;
  for (const std::uint64_t word : words) stream = Mix(stream + word + 0x9e3779b97f4a7c15U);
  return stream;
}

std::uint64_t WordAt(std::uint64_t stream, std::size_t position) {
  return Mix(stream + position * 0x9e3779b97f4a7c15U);
}

std::uint64_t Read(std::span<const std::byte> bytes, std::size_t word) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data() + word * sizeof value, sizeof value);
  return value;
}

void Write(std::span<std::byte> bytes, std::size_t word, std::uint64_t value) {
  std::memcpy(bytes.data() + word * sizeof value, &value, sizeof value);
}

}  // namespace

void FillBlock(const BlockName& name, std::uint32_t version, std::span<std::byte> bytes) {
  const NameWords words = WordsOf(name, version);
  const std::uint64_t stream = StreamOf(words);
  for (std::size_t word = 0; word < bytes.size() / sizeof(std::uint64_t); ++word) {
    Write(bytes, word, word < kNameWords ? words[word] : WordAt(stream, word));
  }
}

Result<std::uint32_t> VersionOf(const BlockName& name, std::span<const std::byte> bytes) {
  NameWords found{};
  for (std::size_t word = 0; word < kNameWords; ++word) found[word] = Read(bytes, word);
  const auto version = static_cast<std::uint32_t>(found[4]);
  const NameWords wanted = WordsOf(name, version);
  if (found[0] != kMagic) return Status(StatusCode::kCorrupt, "it holds no block at all");
  if (found != wanted) {
    return Status(StatusCode::kCorrupt,
                  "it holds another block: store " + std::to_string(found[1]) + ", space " +
                      std::to_string(found[2]) + ", chain " + std::to_string(found[3] >> 32) +
                      ", position " + std::to_string(static_cast<std::uint32_t>(found[3])) +
                      ", version " + std::to_string(found[4]));
  }
  const std::uint64_t stream = StreamOf(wanted);
  for (std::size_t word = kNameWords; word < bytes.size() / sizeof(std::uint64_t); ++word) {
    if (Read(bytes, word) == WordAt(stream, word)) continue;
    return Status(StatusCode::kCorrupt, "version " + std::to_string(version) + " up to byte " +
                                            std::to_string(word * 8) +
                                            ", and something else there");
  }
  return version;
}

std::string KeyOf(std::uint32_t chain, std::uint32_t position) {
  return "chain " + std::to_string(chain) + " block " + std::to_string(position);
}

}  // namespace terrace::crash
