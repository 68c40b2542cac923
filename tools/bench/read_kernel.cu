#include "tools/bench/read_kernel.h"

namespace terrace::bench {
namespace {

constexpr std::uint32_t kThreads = 512;
constexpr std::uint32_t kInFlight = 8;  // vectors of a thread

struct alignas(16) Vector {
  std::uint32_t word[4];
};
constexpr std::uint32_t kBlockVectors = kThreads * kInFlight;  // of a thread block, 64 KiB

__global__ void __launch_bounds__(kThreads) Read(const Vector* from, std::uint32_t* sink) {
  const Vector* mine = from + std::uint64_t{blockIdx.x} * kBlockVectors + threadIdx.x;
  Vector values[kInFlight];
#pragma unroll
  for (std::uint32_t i = 0; i < kInFlight; ++i) {
    const Vector* at = mine + i * kThreads;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(values[i].word[0]), "=r"(values[i].word[1]), "=r"(values[i].word[2]),
                   "=r"(values[i].word[3])
                 : "l"(at));
  }
  std::uint32_t sum = 0;
#pragma unroll
  for (const Vector& value : values) {
    sum ^= value.word[0] ^ value.word[1] ^ value.word[2] ^ value.word[3];
  }
  // Never so in practice; the compiler cannot know.
  if (sum == 0x9e3779b1 && blockIdx.x == 0xffffffff) *sink = sum;
}

}  // namespace

cudaError_t LaunchRead(const std::byte* from, std::uint64_t bytes, std::uint32_t* sink,
                       cudaStream_t stream) noexcept {
  const auto blocks = static_cast<std::uint32_t>(bytes / (kBlockVectors * sizeof(Vector)));
  Read<<<blocks, kThreads, 0, stream>>>(reinterpret_cast<const Vector*>(from), sink);
  return cudaGetLastError();
}

}  // namespace terrace::bench
