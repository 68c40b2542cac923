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

constexpr std::size_t kChunksInFlightMax = 4;
/// Nobody waits for the end of a write as a get waits for a read, and a write that sits in the
/// drive's queue delays the reads behind it; two keep the drive busy between two completions.
constexpr std::size_t kWriteChunksInFlightMax = 2;
constexpr std::uint32_t kRetriesMax = 8;            // of one call, as Device says
constexpr std::uint32_t kFullQueueWaitsMax = 1000;  // of kFullQueueWait: 1 s
constexpr Nanos kFullQueueWait = kMillisecond;
constexpr Nanos kRetryWait = kMillisecond;

enum class ChunkState : std::uint8_t { kIdle, kToSubmit, kToRetryLater, kInFlight, kCameBack };

}  // namespace

/// A part of a call: it is the completion of its own operation.
struct UringDevice::Chunk final : RingCompletion {
  Event* completed = nullptr;
  std::uint64_t offset = 0;  ///< on the descriptor, not in a slice
  DeviceBuffers buffers;     ///< still to move
  std::array<iovec, 2> vectors{};
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
  std::uint64_t offset = 0;  ///< on the descriptor, not in a slice
  DeviceBuffers buffers;
  std::uint32_t retries = 0;

  /// Gives the next part of the call, if any is left, to an idle chunk.
  void Next(Chunk& chunk) {
    if (buffers.size() == 0) return;
    chunk.offset = offset;
    chunk.buffers = buffers.Take(DeviceOperationBytes(buffers.size()));
    offset += chunk.buffers.size();
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
  return Open(reactor, std::move(file).value());
}

Result<std::unique_ptr<UringDevice>> UringDevice::Open(Reactor& reactor, DeviceFile file) {
  if (reactor.ring() == nullptr) {
    return Status(StatusCode::kUnsupported,
                  "device " + file.name() + ": the reactor has no io_uring");
  }
  return std::unique_ptr<UringDevice>(new UringDevice(reactor, std::move(file)));
}

Status UringDevice::Failed(Kind kind, std::uint64_t offset, const std::string& why) const {
  const char* const what = kind == Kind::kRead ? "read" : kind == Kind::kWrite ? "write" : "sync";
  return {StatusCode::kIo,
          "device " + name() + ": " + what + " at " + std::to_string(offset) + ": " + why};
}

Task<Status> UringDevice::Read(std::uint64_t offset, std::span<std::byte> first,
                               std::span<std::byte> second) {
  return Move(Kind::kRead, offset, {.first = first, .second = second});
}

Task<Status> UringDevice::Write(std::uint64_t offset, std::span<const std::byte> first,
                                std::span<const std::byte> second) {
  return Move(Kind::kWrite, offset, DeviceBuffers::OfWrite(first, second));
}

bool UringDevice::TrySubmit(Kind kind, Chunk& chunk) {
  io_uring_sqe* const sqe = io_uring_get_sqe(reactor_.ring());
  if (sqe == nullptr) return false;
  const int descriptor = file_.descriptor();
  const unsigned count = chunk.buffers.ToVectors(chunk.vectors);
  const iovec* const vectors = chunk.vectors.data();
  const auto length = static_cast<unsigned>(vectors[0].iov_len);
  switch (kind) {
    case Kind::kRead:
      if (count == 1) {
        io_uring_prep_read(sqe, descriptor, vectors[0].iov_base, length, chunk.offset);
      } else {
        io_uring_prep_readv(sqe, descriptor, vectors, count, chunk.offset);
      }
      break;
    case Kind::kWrite:
      if (count == 1) {
        io_uring_prep_write(sqe, descriptor, vectors[0].iov_base, length, chunk.offset);
      } else {
        io_uring_prep_writev(sqe, descriptor, vectors, count, chunk.offset);
      }
      break;
    case Kind::kSync: io_uring_prep_fsync(sqe, descriptor, IORING_FSYNC_DATASYNC); break;
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
    const auto moved = std::min(static_cast<std::size_t>(result), chunk.buffers.size());
    chunk.offset += moved;
    (void)chunk.buffers.Take(moved);
    if (chunk.buffers.size() == 0) return Status::Ok();
  }
  if (left.retries++ == kRetriesMax) {
    return Failed(kind, chunk.offset,
                  "given up after " + std::to_string(kRetriesMax) +
                      " retries: " + (again ? std::strerror(-result) : "moved short"));
  }
  chunk.state = again ? ChunkState::kToRetryLater : ChunkState::kToSubmit;
  return Status::Ok();
}

Task<Status> UringDevice::Move(Kind kind, std::uint64_t offset, DeviceBuffers buffers) {
  TERRACE_CHECK(buffers.Fit(offset, size(), alignment()));
  Event completed;
  std::array<Chunk, kChunksInFlightMax> places;
  const auto chunks =
      std::span(places).first(kind == Kind::kRead ? kChunksInFlightMax : kWriteChunksInFlightMax);
  Transfer left{.offset = file_.start() + offset, .buffers = buffers};
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
