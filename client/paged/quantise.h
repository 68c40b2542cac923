// The numbers of quantised blocks, defined once for CPU and GPU so that both make the same bits.
//
// Rule, of one group (head x group of tokens): amax = the largest |x|, and M = 448 (fp8 e4m3) or
// 127 (int8). Each step is one IEEE operation on floats, rounded to nearest even:
//   amax above kAmaxMax, infinite or NaN: scale = NaN, payload 0; all of it decodes to NaN.
//   amax below kAmaxMin:                  scale = 0, payload 0; all of it decodes to 0.
//   else  inverse = M / amax, scale = amax / M,
//         q = Convert(x * inverse), decoded = Convert(float(q) * scale) to the element type.
// No step may be fused with another one: Multiply below keeps a compiler from that.
//
// Error, of a group that is neither of the first two (tests/client/paged/quantise_test.cc tries all
// elements): with r half a unit in the last place of the element type, 2^-8 (bf16), 2^-11 (fp16,
// from 2^-14 on; below it 2^-25 itself is added) or 2^-24 (fp32),
//   e4m3: |decoded - x| <= (1 + 2^-17) * max(|x| / 16, amax / 448 / 1024) + r * |decoded|
//   int8: |decoded - x| <= (1 + 2^-13) * amax / 254                       + r * |decoded|
#pragma once

#include <cstdint>

#include "client/paged/page_map.h"

namespace terrace::paged {

inline constexpr float kAmaxMin = 0x1p-100F;
/// The largest finite bf16: a float above it could decode to infinity.
inline constexpr float kAmaxMax = 0x1.fep127F;
inline constexpr float kE4m3Max = 448.0F;
inline constexpr float kInt8Max = 127.0F;
inline constexpr std::uint32_t kNanBits = 0x7fc00000;  // the one that is written

TERRACE_HOST_DEVICE std::uint32_t BitsOf(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  return __builtin_bit_cast(std::uint32_t, value);
#endif
}

TERRACE_HOST_DEVICE float FloatOf(std::uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return __builtin_bit_cast(float, bits);
#endif
}

// One rounding each, never fused with a neighbour, never flushed to zero.
TERRACE_HOST_DEVICE float Multiply(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;  // the sources that use it are compiled with -ffp-contract=off
#endif
}

TERRACE_HOST_DEVICE float Add(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

TERRACE_HOST_DEVICE float Divide(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

TERRACE_HOST_DEVICE float FromBf16(std::uint16_t bits) {
  return FloatOf(std::uint32_t{bits} << 16);
}

/// Rounded to nearest even; any NaN becomes 0x7fc0.
TERRACE_HOST_DEVICE std::uint16_t ToBf16(float value) {
  const std::uint32_t bits = BitsOf(value);
  if ((bits & 0x7fffffff) > 0x7f800000) {
    return 0x7fc0;
  }
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The following compute all cases and choose, so that a compiler makes vectors of them.

TERRACE_HOST_DEVICE float FromFp16(std::uint16_t half) {
  const std::uint32_t sign = (std::uint32_t{half} & 0x8000) << 16;
  const std::uint32_t magnitude = std::uint32_t{half} & 0x7fff;
  // Below 2^-14, magnitude x 2^-24, exactly: as the last bits of a number whose unit that is, less
  // that number.
  const std::uint32_t small = BitsOf(Add(FloatOf(0x3f000000 | (magnitude & 0x3ff)), -0.5F));
  const std::uint32_t exponent = magnitude >= 0x7c00 ? 0x70000000 : 0x38000000;  // infinite, NaN
  const std::uint32_t normal = (magnitude << 13) + exponent;
  return FloatOf(sign | (magnitude < 0x400 ? small : normal));
}

/// Rounded to nearest even, beyond 65,504 to infinity; any NaN becomes 0x7e00.
TERRACE_HOST_DEVICE std::uint16_t ToFp16(float value) {
  const std::uint32_t bits = BitsOf(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  // Below 2^-14 the unit of the sum is that of subnormal halves.
  const std::uint32_t small = BitsOf(Add(FloatOf(magnitude), 0.5F)) - 0x3f000000;
  const std::uint32_t normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
  const std::uint32_t finite = magnitude < 0x38800000 ? small : normal;
  const std::uint32_t half = sign | (magnitude >= 0x47800000 ? 0x7c00 : finite);  // 2^16
  return static_cast<std::uint16_t>(magnitude > 0x7f800000 ? 0x7e00 : half);
}

/// fp8 e4m3 (1.4.3, no infinity): rounded to nearest even, beyond 448 to 448; NaN becomes 0x7f.
TERRACE_HOST_DEVICE std::uint8_t ToE4m3(float value) {
  const std::uint32_t bits = BitsOf(value);
  const std::uint32_t sign = (bits >> 24) & 0x80;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  // Below 2^-6 the unit of the sum is that of subnormals, 2^-9.
  const std::uint32_t small = BitsOf(Add(FloatOf(magnitude), 16384.0F)) - 0x46800000;
  const std::uint32_t normal = (magnitude + 0x7ffff + ((magnitude >> 20) & 1) - 0x3c000000) >> 20;
  const std::uint32_t finite = magnitude < 0x3c800000 ? small : normal;
  const std::uint32_t byte = sign | (magnitude >= 0x43e00000 ? 0x7e : finite);  // 448
  return static_cast<std::uint8_t>(magnitude > 0x7f800000 ? 0x7f : byte);
}

TERRACE_HOST_DEVICE float FromE4m3(std::uint8_t bits) {
  const std::uint32_t sign = (std::uint32_t{bits} & 0x80) << 24;
  const std::uint32_t magnitude = std::uint32_t{bits} & 0x7f;
  // Below 2^-6, magnitude x 2^-9, exactly, as in FromFp16.
  const std::uint32_t small = BitsOf(Add(FloatOf(0x46800000 | (magnitude & 7)), -16384.0F));
  const std::uint32_t normal = (magnitude << 20) + 0x3c000000;
  const std::uint32_t finite = sign | (magnitude < 8 ? small : normal);
  return FloatOf(magnitude == 0x7f ? kNanBits : finite);
}

/// Rounded to nearest even, to -127 to 127. REQUIRES: no NaN.
TERRACE_HOST_DEVICE std::int8_t ToInt8(float value) {
  const float low = value < -kInt8Max ? -kInt8Max : value;
  const float clamped = low > kInt8Max ? kInt8Max : low;
  // 1.5 x 2^23: the unit of the sum is 1, also for negative values.
  return static_cast<std::int8_t>(
      static_cast<std::int32_t>(BitsOf(Add(clamped, 12582912.0F)) - 0x4b400000));
}

TERRACE_HOST_DEVICE float FromInt8(std::int8_t value) { return static_cast<float>(value); }

/// What a group is scaled with. Both 0: its payload is 0.
struct GroupScale {
  float inverse = 0;  ///< What elements are multiplied with.
  float scale = 0;    ///< What is stored.
};

/// amax_bits: of the largest |x| as a float; of NaN bits above those of infinity. As integers they
/// order as the floats do, with NaN above all: who reduces a group takes the largest bits.
TERRACE_HOST_DEVICE GroupScale ScaleOf(std::uint32_t amax_bits, float most) {
  GroupScale made;
  if (amax_bits > BitsOf(kAmaxMax)) {
    made.scale = FloatOf(kNanBits);
  } else if (amax_bits >= BitsOf(kAmaxMin)) {
    made.inverse = Divide(most, FloatOf(amax_bits));
    made.scale = Divide(FloatOf(amax_bits), most);
  }
  return made;
}

/// REQUIRES: inverse of ScaleOf with kE4m3Max, and x of its group. 0 where the inverse is 0, also
/// for NaN and infinity.
TERRACE_HOST_DEVICE std::uint8_t QuantiseE4m3(float x, float inverse) {
  return inverse == 0 ? 0 : ToE4m3(Multiply(x, inverse));
}

/// The same with kInt8Max.
TERRACE_HOST_DEVICE std::int8_t QuantiseInt8(float x, float inverse) {
  return inverse == 0 ? std::int8_t{0} : ToInt8(Multiply(x, inverse));
}

/// A decoded float whose NaN is the one that is written.
TERRACE_HOST_DEVICE float Dequantise(float q, float scale) {
  const float value = Multiply(q, scale);
  return value != value ? FloatOf(kNanBits) : value;
}

}  // namespace terrace::paged
