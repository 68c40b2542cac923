// Input: makes decisions out of the bytes of a fuzzer. Output: the same bytes, for seeds.
//
// Where the bytes have ended every number is 0, so each input is a whole story. Thread: one.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_target.h"

namespace terrace::fuzz {

class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) : rest_(bytes) {}
  [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }

  template <std::unsigned_integral Number>
  Number Take() {
    Number number = 0;
    const std::size_t count = std::min(sizeof number, rest_.size());
    if (count > 0) std::memcpy(&number, rest_.data(), count);
    rest_ = rest_.subspan(count);
    return number;
  }
  std::uint8_t Byte() { return Take<std::uint8_t>(); }
  bool Flag() { return (Byte() & 1) != 0; }
  /// A number of 64 bits that is often a small or a special one.
  std::uint64_t Wild() {
    const std::uint8_t kind = Byte();
    if (kind < 128) return kind;
    if (kind < 160) return ~std::uint64_t{0} - (kind - 128U);
    if (kind < 224) return std::uint64_t{1} << (kind - 160U);
    return Take<std::uint64_t>();
  }
  /// The next bytes: how many stands in one byte before them.
  std::span<const std::byte> Chunk() { return First(Byte()); }
  std::string_view Text() {
    const auto chunk = Chunk();
    return {reinterpret_cast<const char*>(chunk.data()), chunk.size()};
  }
  /// At most `count` of what is left.
  std::span<const std::byte> First(std::size_t count) {
    const auto chunk = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(chunk.size());
    return chunk;
  }
  [[nodiscard]] std::span<const std::byte> Rest() { return First(rest_.size()); }
  [[nodiscard]] std::string_view RestText() {
    const auto rest = Rest();
    return {reinterpret_cast<const char*>(rest.data()), rest.size()};
  }

 private:
  std::span<const std::byte> rest_;
};

class Output {
 public:
  template <std::unsigned_integral Number>
  Output& Put(Number number) {
    const auto bytes = std::as_bytes(std::span(&number, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Output& Byte(unsigned byte) { return Put(static_cast<std::uint8_t>(byte)); }
  Output& Raw(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Output& Raw(std::string_view text) { return Raw(std::as_bytes(std::span(text))); }
  /// As Input::Chunk and Input::Text take it; at most 255 bytes.
  Output& Chunk(std::span<const std::byte> bytes) {
    const auto part = bytes.first(std::min<std::size_t>(bytes.size(), 255));
    return Byte(static_cast<unsigned>(part.size())).Raw(part);
  }
  Output& Chunk(std::string_view text) { return Chunk(std::as_bytes(std::span(text))); }
  [[nodiscard]] Bytes Take() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace terrace::fuzz
