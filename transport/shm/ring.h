// RingWriter, RingReader: the two ends of a ring of shared_page.h. What the other side wrote is
// checked before it is used; an end that is impossible breaks the ring for good.
//
// Sleeping. The reader sets `reader_sleeps`, then looks once more; the writer publishes, then looks
// at `reader_sleeps`. Both sequentially consistent: one of the two sees the other, so a wake-up is
// never lost. `writer_waits` is the same the other way round.
//
// Thread: one for each end.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "transport/shm/shared_page.h"

namespace terrace {

class RingWriter {
 public:
  /// `ends` and `bytes` (kRingBytes of them) outlive the writer.
  RingWriter(RingEnds& ends, std::byte* bytes) : ends_(ends), bytes_(bytes) {}

  /// Copies as much as there is room for; returns how much. Not seen before Publish.
  std::size_t Write(std::span<const std::byte> data) {
    std::size_t done = 0;
    while (done < data.size()) {
      const std::size_t room = Room();
      if (room == 0) break;
      const std::size_t at = head_ & (kRingBytes - 1);
      const std::size_t part = std::min({data.size() - done, room, kRingBytes - at});
      std::memcpy(bytes_ + at, data.data() + done, part);
      head_ += part;
      done += part;
    }
    return done;
  }
  /// Shows what was written. True: the reader sleeps, ring its bell.
  [[nodiscard]] bool Publish() {
    ends_.head.store(head_, std::memory_order_seq_cst);
    return ends_.reader_sleeps.load(std::memory_order_seq_cst) != 0 &&
           ends_.reader_sleeps.exchange(0, std::memory_order_seq_cst) != 0;
  }
  /// Asks the reader to ring when it has read. True: there is room already.
  [[nodiscard]] bool WaitForRoom() {
    ends_.writer_waits.store(1, std::memory_order_seq_cst);
    return Room() > 0;
  }
  [[nodiscard]] bool broken() const noexcept { return broken_; }

 private:
  std::size_t Room() {
    const std::uint64_t taken = head_ - ends_.tail.load(std::memory_order_seq_cst);
    if (taken > kRingBytes) broken_ = true;
    return broken_ ? 0 : kRingBytes - static_cast<std::size_t>(taken);
  }

  RingEnds& ends_;
  std::byte* const bytes_;
  std::uint64_t head_ = 0;
  bool broken_ = false;
};

class RingReader {
 public:
  RingReader(RingEnds& ends, const std::byte* bytes) : ends_(ends), bytes_(bytes) {}

  /// Copies what waits, at most `room` bytes; returns how much.
  std::size_t Read(std::span<std::byte> room) {
    const std::size_t count = std::min(Waiting(), room.size());
    const std::size_t at = tail_ & (kRingBytes - 1);
    const std::size_t first = std::min(count, kRingBytes - at);
    std::memcpy(room.data(), bytes_ + at, first);
    std::memcpy(room.data() + first, bytes_, count - first);
    tail_ += count;
    return count;
  }
  /// Gives the room back. True: the writer waits for it, ring its bell.
  [[nodiscard]] bool Free() {
    ends_.tail.store(tail_, std::memory_order_seq_cst);
    return ends_.writer_waits.load(std::memory_order_seq_cst) != 0 &&
           ends_.writer_waits.exchange(0, std::memory_order_seq_cst) != 0;
  }
  [[nodiscard]] std::size_t Waiting() {
    const std::uint64_t waiting = ends_.head.load(std::memory_order_seq_cst) - tail_;
    if (waiting > kRingBytes) broken_ = true;
    return broken_ ? 0 : static_cast<std::size_t>(waiting);
  }
  /// Before sleeping: asks the writer to ring. False: something waits already.
  [[nodiscard]] bool Sleep() {
    ends_.reader_sleeps.store(1, std::memory_order_seq_cst);
    if (Waiting() == 0 && !broken_) return true;
    ends_.reader_sleeps.store(0, std::memory_order_seq_cst);
    return false;
  }
  /// Takes that back: the reader looks by itself again, and the writer need not ring.
  void Awake() { ends_.reader_sleeps.store(0, std::memory_order_relaxed); }
  [[nodiscard]] bool broken() const noexcept { return broken_; }

 private:
  RingEnds& ends_;
  const std::byte* const bytes_;
  std::uint64_t tail_ = 0;
  bool broken_ = false;
};

}  // namespace terrace
