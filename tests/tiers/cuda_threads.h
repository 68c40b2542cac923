// The words of CUDA that the kernels of tiers/hbm use, for threads of the host: a thread block is
// as many std::threads, which meet where a GPU's would. So a kernel's arithmetic, its places and
// its barriers are tried without a GPU; what it does with memory models and speed is not.
//
// Included after everything else, for it defines words. One thread block runs at a time.
#pragma once

#include <array>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace terrace::testing {

/// The thread block that runs.
class ThreadBlock {
 public:
  /// Runs `work(thread)` on so many threads, whole warps of 32.
  template <typename Work>
  static void Run(std::uint32_t threads, Work work) {
    ThreadBlock block(threads);
    running = &block;
    std::vector<std::thread> all;
    for (std::uint32_t i = 0; i < threads; ++i) {
      all.emplace_back([i, &work] {
        thread = i;
        work(i);
      });
    }
    for (std::thread& one : all) one.join();
    running = nullptr;
  }
  static ThreadBlock& Running() { return *running; }

  void MeetWarp() { warps_[thread / 32]->meeting.arrive_and_wait(); }
  /// Barrier `number` of the block, of all its threads; without waiting, and with.
  void Arrive(std::uint32_t number) { static_cast<void>(named_.at(number)->arrive()); }
  void Await(std::uint32_t number) { named_.at(number)->arrive_and_wait(); }
  std::uint64_t OfThread(std::uint64_t value, std::uint32_t lane_mask) {
    Warp& warp = *warps_[thread / 32];
    warp.values[thread % 32] = value;
    MeetWarp();
    const std::uint64_t other = warp.values[thread % 32 ^ lane_mask];
    MeetWarp();
    return other;
  }

 private:
  struct Warp {
    std::barrier<> meeting{32};
    std::array<std::uint64_t, 32> values{};
  };
  explicit ThreadBlock(std::uint32_t threads) {
    for (std::uint32_t i = 0; i < threads; i += 32) warps_.push_back(std::make_unique<Warp>());
    for (auto& barrier : named_) barrier = std::make_unique<std::barrier<>>(threads);
  }
  static inline ThreadBlock* running = nullptr;
  static inline thread_local std::uint32_t thread = 0;

  std::vector<std::unique_ptr<Warp>> warps_;
  std::array<std::unique_ptr<std::barrier<>>, 16> named_;
};

}  // namespace terrace::testing

// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): CUDA's names.
#define __device__
struct ulonglong2 {
  std::uint64_t x, y;
};
inline ulonglong2 __ldcs(const ulonglong2* at) {
  ulonglong2 words{};
  std::memcpy(&words, at, sizeof words);
  return words;
}
inline void __stcs(ulonglong2* at, const ulonglong2& words) {
  std::memcpy(at, &words, sizeof words);
}
inline void __threadfence_block() {}
inline void __syncwarp() { terrace::testing::ThreadBlock::Running().MeetWarp(); }
inline std::uint64_t __shfl_xor_sync(std::uint32_t /*mask*/, std::uint64_t value,
                                     std::uint32_t lane_mask) {
  return terrace::testing::ThreadBlock::Running().OfThread(value, lane_mask);
}
// NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)

namespace terrace {
inline void ArriveAtRound(std::uint32_t round) {
  testing::ThreadBlock::Running().Arrive(round + 1);
}
inline void AwaitRound(std::uint32_t round) { testing::ThreadBlock::Running().Await(round + 1); }
}  // namespace terrace
