// Parts of messages, made from the bytes of an input: for wire_story.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/limits.h"
#include "tests/fuzz/fuzz_input.h"
#include "transport/codec.h"

namespace terrace::fuzz {

using Builder = flatbuffers::FlatBufferBuilder;
template <typename T>
using Vector = flatbuffers::Offset<flatbuffers::Vector<T>>;

inline Vector<std::uint8_t> MakeBytes(Builder& builder, Input& input) {
  return BuildBytes(builder, input.Chunk());
}

/// Absent for one byte in 8.
template <typename Number>
inline Vector<Number> MakeNumbers(Builder& builder, Input& input) {
  const std::uint8_t kind = input.Byte();
  if (kind % 8 == 7) return 0;
  std::vector<Number> numbers(kind % 8);
  for (Number& number : numbers) number = static_cast<Number>(input.Wild());
  return builder.CreateVector(numbers);
}

inline flatbuffers::Offset<flatbuffers::String> MakeText(Builder& builder, Input& input) {
  const std::string_view text = input.Text();
  return builder.CreateString(text.data(), text.size());
}

inline Vector<flatbuffers::Offset<wire::Run>> MakeRuns(Builder& builder, Input& input) {
  const std::uint8_t kind = input.Byte();
  if (kind % 8 == 7) return 0;
  std::vector<flatbuffers::Offset<wire::Run>> runs;
  for (int run = 0; run < kind % 4; ++run) {
    const auto placement = MakeBytes(builder, input);
    const auto parent = MakeBytes(builder, input);
    const auto keys = MakeBytes(builder, input);
    const auto lengths = MakeBytes(builder, input);
    runs.push_back(
        wire::CreateRun(builder, placement, input.Take<std::uint32_t>(), parent, keys, lengths));
  }
  return builder.CreateVector(runs);
}

inline Vector<const wire::Piece*> MakePieces(Builder& builder, Input& input) {
  const std::uint8_t kind = input.Byte();
  if (kind % 8 == 7) return 0;
  std::vector<wire::Piece> pieces;
  for (int piece = 0; piece < kind % 8; ++piece) {
    const std::uint32_t region = input.Byte() % 4U;
    const std::uint64_t offset = input.Wild();
    pieces.emplace_back(region, 0, offset, input.Wild());
  }
  return builder.CreateVectorOfStructs(pieces);
}

inline Vector<const wire::LoadSource*> MakeLoadFrom(Builder& builder, Input& input) {
  const std::uint8_t kind = input.Byte();
  if (kind % 8 == 0) return 0;
  std::vector<wire::LoadSource> sources;
  for (int source = 1; source < kind % 8; ++source) {
    const std::uint64_t rate = input.Wild();
    const auto queue = static_cast<std::uint32_t>(input.Wild());
    const auto latency = static_cast<std::uint32_t>(input.Wild());
    sources.emplace_back(rate, queue, latency, source == 1 ? 2U : input.Byte() % 4U, 0);
  }
  return builder.CreateVectorOfStructs(sources);
}

inline Vector<const wire::Range*> MakeRanges(Builder& builder, Input& input) {
  const std::uint8_t kind = input.Byte();
  if (kind % 8 == 0) return 0;
  std::vector<wire::Range> ranges;
  for (int range = 1; range < kind % 8; ++range) {
    const std::uint64_t offset = input.Wild();
    const std::uint64_t bytes = input.Wild();
    const std::uint64_t stride = input.Wild();
    ranges.emplace_back(offset, bytes, stride, static_cast<std::uint32_t>(input.Wild()), 0);
  }
  return builder.CreateVectorOfStructs(ranges);
}

inline Vector<flatbuffers::Offset<wire::Group>> MakeGroups(Builder& builder, Input& input) {
  std::vector<flatbuffers::Offset<wire::Group>> groups;
  const std::uint8_t count = input.Byte();
  const auto shared = MakeText(builder, input);  // one text may stand in many groups
  for (unsigned group = 0; group < count; ++group) {
    groups.push_back(wire::CreateGroup(builder, group, shared, 4096U * (count % 8U)));
  }
  return builder.CreateVector(groups);
}

}  // namespace terrace::fuzz
