// Quantised gather and scatter: the loops of quantise.h, compiled for three widths of vectors.
//
// Compiled with -ffp-contract=off, and without FMA where the compiler may choose: the bits are
// those of the scalar functions, whatever the width.
#include <array>
#include <cstring>
#include <type_traits>

#include "client/paged/cpu_pages.h"
#include "client/paged/quantise.h"

namespace terrace::paged {
namespace {

#define TERRACE_INLINE [[gnu::always_inline]] inline

/// One group, and how far its rows are apart.
struct Group {
  std::byte* rows = nullptr;  // in the cache; only read by encoders
  std::int64_t stride = 0;    // bytes
  std::uint32_t tokens = 0;
  std::uint32_t width = 0;       // elements of a row
  std::byte* payload = nullptr;  // only read by decoders
};

struct Bf16 {
  using Bits = std::uint16_t;
  static constexpr Bits kMagnitude = 0x7fff;
  TERRACE_INLINE static float ToFloat(Bits bits) { return FromBf16(bits); }
  TERRACE_INLINE static Bits FromFloat(float value) { return ToBf16(value); }
};
struct Fp16 {
  using Bits = std::uint16_t;
  static constexpr Bits kMagnitude = 0x7fff;
  TERRACE_INLINE static float ToFloat(Bits bits) { return FromFp16(bits); }
  TERRACE_INLINE static Bits FromFloat(float value) { return ToFp16(value); }
};
struct Fp32 {
  using Bits = std::uint32_t;
  static constexpr Bits kMagnitude = 0x7fffffff;
  TERRACE_INLINE static float ToFloat(Bits bits) { return FloatOf(bits); }
  TERRACE_INLINE static Bits FromFloat(float value) { return BitsOf(value); }
};

struct E4m3 {
  using Byte = std::uint8_t;
  static constexpr float kMost = kE4m3Max;
  TERRACE_INLINE static Byte Encode(float x) { return ToE4m3(x); }
  TERRACE_INLINE static float Decode(Byte byte) { return FromE4m3(byte); }
};
struct Int8 {
  using Byte = std::int8_t;
  static constexpr float kMost = kInt8Max;
  TERRACE_INLINE static Byte Encode(float x) { return ToInt8(x); }
  TERRACE_INLINE static float Decode(Byte byte) { return FromInt8(byte); }
};

/// The largest |x|, as the bits of a float. Bits order as magnitudes do, and NaN above all.
template <typename Element>
TERRACE_INLINE std::uint32_t AmaxBits(const Group& group) {
  using Bits = typename Element::Bits;
  Bits most = 0;
  for (std::uint32_t token = 0; token < group.tokens; ++token) {
    const auto* row = reinterpret_cast<const Bits*>(group.rows + token * group.stride);
    for (std::uint32_t i = 0; i < group.width; ++i) {
      const Bits magnitude = row[i] & Element::kMagnitude;
      most = most < magnitude ? magnitude : most;
    }
  }
  return BitsOf(Element::ToFloat(most));
}

// Rows have their lengths by value: bytes that are written could else be the length itself.
template <typename Element, typename Stored>
TERRACE_INLINE void EncodeRow(const typename Element::Bits* from, typename Stored::Byte* to,
                              std::uint32_t width, float inverse) {
  for (std::uint32_t i = 0; i < width; ++i) {
    to[i] = Stored::Encode(Multiply(Element::ToFloat(from[i]), inverse));
  }
}

template <typename Element, typename Stored>
TERRACE_INLINE void DecodeRow(const typename Stored::Byte* from, typename Element::Bits* to,
                              std::uint32_t width, float scale) {
  for (std::uint32_t i = 0; i < width; ++i) {
    to[i] = Element::FromFloat(Dequantise(Stored::Decode(from[i]), scale));
  }
}

/// @return the scale.
template <typename Element, typename Stored>
TERRACE_INLINE float EncodeGroup(const Group& group) {
  const GroupScale scale = ScaleOf(AmaxBits<Element>(group), Stored::kMost);
  if (scale.inverse == 0) {
    std::memset(group.payload, 0, std::size_t{group.tokens} * group.width);
    return scale.scale;
  }
  for (std::uint32_t token = 0; token < group.tokens; ++token) {
    EncodeRow<Element, Stored>(
        reinterpret_cast<const typename Element::Bits*>(group.rows + token * group.stride),
        reinterpret_cast<typename Stored::Byte*>(group.payload) + std::size_t{token} * group.width,
        group.width, scale.inverse);
  }
  return scale.scale;
}

template <typename Element, typename Stored>
TERRACE_INLINE float DecodeGroup(const Group& group, float scale) {
  for (std::uint32_t token = 0; token < group.tokens; ++token) {
    DecodeRow<Element, Stored>(
        reinterpret_cast<const typename Stored::Byte*>(group.payload) +
            std::size_t{token} * group.width,
        reinterpret_cast<typename Element::Bits*>(group.rows + token * group.stride), group.width,
        scale);
  }
  return scale;
}

// Of a group: `scale` is what decoders multiply with; encoders return theirs.
using GroupFunction = float (*)(const Group& group, float scale);

template <typename Element, typename Stored>
struct Baseline {
  static float Encode(const Group& group, float) { return EncodeGroup<Element, Stored>(group); }
  static float Decode(const Group& group, float scale) {
    return DecodeGroup<Element, Stored>(group, scale);
  }
};

#if defined(__x86_64__)
template <typename Element, typename Stored>
struct Avx2 {
  [[gnu::target("avx2")]] static float Encode(const Group& group, float) {
    return EncodeGroup<Element, Stored>(group);
  }
  [[gnu::target("avx2")]] static float Decode(const Group& group, float scale) {
    return DecodeGroup<Element, Stored>(group, scale);
  }
};
#define TERRACE_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]]
template <typename Element, typename Stored>
struct Avx512 {
  TERRACE_AVX512 static float Encode(const Group& group, float) {
    return EncodeGroup<Element, Stored>(group);
  }
  TERRACE_AVX512 static float Decode(const Group& group, float scale) {
    return DecodeGroup<Element, Stored>(group, scale);
  }
};
#else
template <typename Element, typename Stored>
using Avx2 = Baseline<Element, Stored>;
template <typename Element, typename Stored>
using Avx512 = Baseline<Element, Stored>;
#endif

struct Functions {
  GroupFunction encode;
  GroupFunction decode;
};

template <template <typename, typename> typename Width, typename Element>
Functions ForStored(std::uint32_t stored) {
  if (stored == kStoredInt8) return {Width<Element, Int8>::Encode, Width<Element, Int8>::Decode};
  return {Width<Element, E4m3>::Encode, Width<Element, E4m3>::Decode};
}

template <template <typename, typename> typename Width>
Functions ForMap(const QuantMap& map) {
  if (map.element == kElementBf16) return ForStored<Width, Bf16>(map.stored);
  if (map.element == kElementFp16) return ForStored<Width, Fp16>(map.stored);
  return ForStored<Width, Fp32>(map.stored);
}

Functions FunctionsOf(const QuantMap& map, CpuWidth width) {
  switch (width) {
    case CpuWidth::kAvx512: return ForMap<Avx512>(map);
    case CpuWidth::kAvx2: return ForMap<Avx2>(map);
    case CpuWidth::kBaseline: break;
  }
  return ForMap<Baseline>(map);
}

Group GroupAt(const QuantMap& map, const GroupPlace& place, std::byte* frame) {
  return {.rows = AddressOf(place.paged),
          .stride = map.token_stride,
          .tokens = map.group_tokens,
          .width = map.head_dim,
          .payload = frame + place.payload};
}

}  // namespace

CpuWidth WidthOfCpu() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return CpuWidth::kAvx512;
  }
  if (__builtin_cpu_supports("avx2")) return CpuWidth::kAvx2;
#endif
  return CpuWidth::kBaseline;
}

void GatherQuantised(const QuantMap& map, const PageTables& tables, std::byte* frame,
                     CpuWidth width) noexcept {
  const GroupFunction encode = FunctionsOf(map, width).encode;
  for (std::uint32_t item = 0; item < map.items; ++item) {
    const GroupPlace place = PlaceOfGroup(map, tables, item);
    const float scale = encode(GroupAt(map, place, frame), 0);
    std::memcpy(frame + place.scale, &scale, sizeof(scale));
    if (place.pads) std::memset(frame + place.scale + sizeof(scale), 0, map.padding);
  }
}

void ScatterQuantised(const QuantMap& map, const PageTables& tables, const std::byte* frame,
                      CpuWidth width) noexcept {
  const GroupFunction decode = FunctionsOf(map, width).decode;
  for (std::uint32_t item = 0; item < map.items; ++item) {
    const GroupPlace place = PlaceOfGroup(map, tables, item);
    float scale = 0;
    std::memcpy(&scale, frame + place.scale, sizeof(scale));
    decode(GroupAt(map, place, const_cast<std::byte*>(frame)), scale);
  }
}

void GatherQuantised(const QuantMap& map, const PageTables& tables, std::byte* frame) noexcept {
  GatherQuantised(map, tables, frame, WidthOfCpu());
}

void ScatterQuantised(const QuantMap& map, const PageTables& tables,
                      const std::byte* frame) noexcept {
  ScatterQuantised(map, tables, frame, WidthOfCpu());
}

}  // namespace terrace::paged
