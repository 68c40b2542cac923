#include "base/device_uring.h"

#include <liburing.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/wait.h"

namespace terrace {

namespace {

constexpr std::size_t kChunkBytesMax = 1 << 20;
constexpr std::size_t kChunksInFlightMax = 4;
constexpr std::uint32_t kRetriesMax = 8;            // of one call, as Device says
constexpr std::uint32_t kFullQueueWaitsMax = 1000;  // of kFullQueueWait: 1 s
constexpr Nanos kFullQueueWait = kMillisecond;
constexpr Nanos kRetryWait = kMillisecond;

enum class ChunkState : std::uint8_t { kIdle, kToSubmit, kToRetryLater, kInFlight, kCameBack };

}  // namespace

/// A part of a call: it is the completion of its own operation.
struct UringDevice::Chunk final : RingCompletion {
  Event* completed = nullptr;
  std::uint64_t offset = 0;
  std::byte* bytes = nullptr;
  std::size_t length = 0;  ///< still to move
  std::int32_t result = 0;
  ChunkState state = ChunkState::kIdle;

  void OnComplete(std::int32_t outcome) noexcept override {
    result = outcome;
    state = ChunkState::kCameBack;
    completed->Set();
  }
};

/// What is left of one call.
struct UringDevice::Transfer {
  std::uint64_t offset = 0;
  std::byte* bytes = nullptr;
  std::size_t length = 0;
  std::uint32_t retries = 0;

  /// Gives the next part of the call, if any is left, to an idle chunk.
  void Next(Chunk& chunk) {
    if (length == 0) return;
    chunk.offset = offset;
    chunk.bytes = bytes;
    chunk.length = std::min(length, kChunkBytesMax);
    offset += chunk.length;
    bytes += chunk.length;
    length -= chunk.length;
    chunk.state = ChunkState::kToSubmit;
  }
};

Result<std::unique_ptr<UringDevice>> UringDevice::Open(Reactor& reactor,
                                                       const DeviceOptions& options) {
  if (reactor.ring() == nullptr) {
    return Status(StatusCode::kUnsupported,
                  "device " + options.path + ": the reactor has no io_uring");
  }
  Result<DeviceFile> file = DeviceFile::Open(options);
  if (!file.ok()) return file.status();
  return std::unique_ptr<UringDevice>(new UringDevice(reactor, std::move(file).value()));
}

Status UringDevice::Failed(Kind kind, std::uint64_t offset, const std::string& why) const {
  const char* const what = kind == Kind::kRead ? "read" : kind == Kind::kWrite ? "write" : "sync";
  return {StatusCode::kIo,
          "device " + name() + ": " + what + " at " + std::to_string(offset) + ": " + why};
}

Task<Status> UringDevice::Read(std::uint64_t offset, std::span<std::byte> destination) {
  return Move(Kind::kRead, offset, destination.data(), destination.size());
}

Task<Status> UringDevice::Write(std::uint64_t offset, std::span<const std::byte> source) {
  // A write operation only reads its buffer; Chunk holds one kind of pointer.
  return Move(Kind::kWrite, offset, const_cast<std::byte*>(source.data()), source.size());
}

bool UringDevice::TrySubmit(Kind kind, Chunk& chunk) {
  io_uring_sqe* const sqe = io_uring_get_sqe(reactor_.ring());
  if (sqe == nullptr) return false;
  const auto length = static_cast<unsigned>(chunk.length);
  switch (kind) {
    case Kind::kRead:
      io_uring_prep_read(sqe, file_.descriptor(), chunk.bytes, length, chunk.offset);
      break;
    case Kind::kWrite:
      io_uring_prep_write(sqe, file_.descriptor(), chunk.bytes, length, chunk.offset);
      break;
    case Kind::kSync: io_uring_prep_fsync(sqe, file_.descriptor(), IORING_FSYNC_DATASYNC); break;
  }
  io_uring_sqe_set_data(sqe, static_cast<RingCompletion*>(&chunk));
  chunk.state = ChunkState::kInFlight;
  reactor_.RingSubmitted();
  return true;
}

/// False when the ring stayed full.
Task<bool> UringDevice::Submit(Kind kind, Chunk* chunk) {
  for (std::uint32_t waits = 0; waits < kFullQueueWaitsMax; ++waits) {
    // Full: hand over what is queued. When the kernel takes none of it (it is out of memory, or
    // completions wait to be taken), let the loop take its turn.
    io_uring_submit(reactor_.ring());
    if (TrySubmit(kind, *chunk)) co_return true;
    co_await SleepUntil{reactor_.scheduler().Now() + kFullQueueWait};
    if (TrySubmit(kind, *chunk)) co_return true;
  }
  co_return false;
}

/// Looks at what a chunk's operation returned, and decides what the chunk does next. An error ends
/// the call.
Status UringDevice::Settle(Kind kind, Chunk& chunk, Transfer& left) const {
  const std::int32_t result = chunk.result;
  const bool again = result == -EAGAIN || result == -EINTR;
  chunk.state = ChunkState::kIdle;
  if (result == 0) return Failed(kind, chunk.offset, "no bytes moved: has the file been cut?");
  if (result < 0 && !again) return Failed(kind, chunk.offset, std::strerror(-result));
  if (result > 0) {
    const auto moved = std::min(static_cast<std::size_t>(result), chunk.length);
    chunk.offset += moved;
    chunk.bytes += moved;
    chunk.length -= moved;
    if (chunk.length == 0) return Status::Ok();
  }
  if (left.retries++ == kRetriesMax) {
    return Failed(kind, chunk.offset,
                  "given up after " + std::to_string(kRetriesMax) +
                      " retries: " + (again ? std::strerror(-result) : "moved short"));
  }
  chunk.state = again ? ChunkState::kToRetryLater : ChunkState::kToSubmit;
  return Status::Ok();
}

Task<Status> UringDevice::Move(Kind kind, std::uint64_t offset, std::byte* bytes,
                               std::size_t length) {
  TERRACE_CHECK(offset % alignment() == 0 && length % alignment() == 0);
  TERRACE_CHECK(reinterpret_cast<std::uintptr_t>(bytes) % alignment() == 0);
  TERRACE_CHECK(length <= size() && offset <= size() - length);
  Event completed;
  std::array<Chunk, kChunksInFlightMax> chunks;
  Transfer left{.offset = offset, .bytes = bytes, .length = length};
  Status status;
  for (;;) {
    bool any_in_flight = false;
    completed.Reset();
    for (Chunk& chunk : chunks) {
      chunk.completed = &completed;
      if (chunk.state == ChunkState::kCameBack) {
        Status settled = Settle(kind, chunk, left);
        if (status.ok()) status = std::move(settled);
      }
      if (status.ok() && chunk.state == ChunkState::kIdle) left.Next(chunk);
      if (status.ok() && chunk.state == ChunkState::kToRetryLater) {
        co_await SleepUntil{reactor_.scheduler().Now() + kRetryWait};
        chunk.state = ChunkState::kToSubmit;
      }
      if (status.ok() && chunk.state == ChunkState::kToSubmit && !TrySubmit(kind, chunk) &&
          !co_await Submit(kind, &chunk)) {
        status = Failed(kind, chunk.offset, "the ring stayed full");
      }
      any_in_flight |= chunk.state == ChunkState::kInFlight || chunk.state == ChunkState::kCameBack;
    }
    if (!any_in_flight) co_return status;
    // Without a deadline on purpose: the buffer is the kernel's until the operation came back.
    (void)co_await completed.Wait();
  }
}

Task<Status> UringDevice::Sync() {
  Event completed;
  Chunk chunk;
  chunk.completed = &completed;
  if (!TrySubmit(Kind::kSync, chunk) && !co_await Submit(Kind::kSync, &chunk)) {
    co_return Failed(Kind::kSync, 0, "the ring stayed full");
  }
  (void)co_await completed.Wait();
  // Never retried: after a failed sync the kernel may have dropped what it could not write.
  if (chunk.result < 0) co_return Failed(Kind::kSync, 0, std::strerror(-chunk.result));
  co_return Status::Ok();
}

}  // namespace terrace
