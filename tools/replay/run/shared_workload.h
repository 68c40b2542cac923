// SharedWorkload: what every worker process of a run needs to know, in one sealed memfd that the
// coordinator makes once and the workers map read-only: the parameters of the run and the trace.
// So the messages between them stay small and of fixed size.
//
// Layout: RunParameters, then request_count TraceRequests, then reference_count hash ids, then
// hint_count TraceHints.
// Thread: immutable after it was made; any thread. Lifetime: the mapping lives as long as the
// object, the memfd as long as anybody has it open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/limits.h"
#include "base/result.h"
#include "tools/replay/trace/trace.h"
#include "tools/replay/trace/trace_hints.h"

namespace terrace::replay {

inline constexpr std::size_t kAddressBytesMax = 255;

struct RunParameters {
  std::uint64_t magic = 0;            ///< set by Create
  std::uint64_t request_count = 0;    ///< set by Create
  std::uint64_t reference_count = 0;  ///< set by Create
  std::uint64_t hint_count = 0;       ///< set by Create: 0, or request_count
  std::uint64_t key_seed = 0;         ///< of the chain keys
  std::uint64_t block_bytes = 0;      ///< bytes of a block; a multiple of 8
  std::uint32_t block_tokens = 0;     ///< of the trace
  std::uint32_t bytes_per_token = 0;
  std::uint32_t batch_blocks = 0;  ///< most blocks of one get or put
  std::uint32_t run_blocks = 0;    ///< of the namespace: blocks placed together
  std::uint32_t deadline_ms = 0;   ///< of each call
  std::uint32_t tcp_only = 0;      ///< 1: workers connect over TCP even on the daemon's host
  std::uint32_t durable_puts = 0;  ///< 1: a put ends when its blocks are on NVMe, or never will be
  std::uint32_t outage_pause_ms = 0;  ///< what a worker waits per request while the daemon is gone
  char address[kAddressBytesMax + 1] = {};      ///< HOST:PORT, ends with 0
  char namespace_name[kNameBytesMax + 1] = {};  ///< ends with 0
  char model[kNameBytesMax + 1] = {};           ///< ends with 0
};
static_assert(std::is_trivially_copyable_v<RunParameters>);
static_assert(std::is_trivially_copyable_v<TraceRequest>);

class SharedWorkload {
 public:
  /// Makes and seals the memfd. @return kIo names the call that failed.
  /// hints: one for each request, or none at all.
  static Result<SharedWorkload> Create(const RunParameters& parameters, const Trace& trace,
                                       std::span<const TraceHint> hints);
  /// Maps a memfd that Create made, and takes it over. @return kInvalid when it is something else.
  static Result<SharedWorkload> Attach(int fd);

  SharedWorkload(SharedWorkload&& other) noexcept;
  SharedWorkload& operator=(SharedWorkload&&) = delete;
  SharedWorkload(const SharedWorkload&) = delete;
  SharedWorkload& operator=(const SharedWorkload&) = delete;
  ~SharedWorkload();

  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] const RunParameters& parameters() const noexcept;
  [[nodiscard]] std::span<const TraceRequest> requests() const noexcept;
  [[nodiscard]] std::span<const std::uint64_t> BlocksOf(std::uint64_t request) const noexcept;
  /// Nothing where the run says nothing.
  [[nodiscard]] TraceHint HintOf(std::uint64_t request) const noexcept;

 private:
  SharedWorkload(int fd, const std::byte* memory, std::size_t bytes)
      : fd_(fd), memory_(memory), bytes_(bytes) {}

  int fd_ = -1;
  const std::byte* memory_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace terrace::replay
