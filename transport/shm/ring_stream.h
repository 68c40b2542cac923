// RingStream: control messages between a client and a reactor of the daemon on its host, over the
// rings of a SharedPage, in order, framed (frame_reader.h).
//
// A message may be longer than a ring: it goes through in parts. What the ring has no room for
// waits here. That the other side is gone shows on its socket, not here.
//
// Thread: the reactor's. Callbacks come from the hub only, never from inside Send or Close.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "transport/control_stream.h"
#include "transport/shm/bell.h"
#include "transport/shm/ring.h"
#include "transport/shm/ring_hub.h"

namespace terrace {

class RingStream {
 public:
  enum class Side : std::uint8_t { kDaemon, kClient };
  /// `hub` and `owner` outlive the stream. `bell`: this side's.
  /// `frame_bytes_max`: of incoming frames.
  RingStream(RingHub& hub, std::shared_ptr<SharedPage> page, Side side, Bell bell,
             std::size_t frame_bytes_max, ControlStreamOwner& owner);
  ~RingStream();
  RingStream(const RingStream&) = delete;
  RingStream& operator=(const RingStream&) = delete;

  /// Queues a message; dropped after the end. A peer that lets more than
  /// ControlStream::kQueuedBytesMax pile up is ended.
  void Send(std::vector<std::byte> message);
  /// Sends nothing more and hears nothing more; no callback.
  void Close();

  /// Counts the calls of Drain: in one of them the owner hears a bounded part of what has come.
  [[nodiscard]] std::uint64_t turns() const noexcept { return turns_; }

  // For the hub.
  void OnBell();
  /// Handles what has come, a bounded part of it; returns how many messages. The stream may be
  /// gone afterwards.
  unsigned Drain();
  /// False: something has come already.
  [[nodiscard]] bool FallAsleep();
  /// From now on until FallAsleep it is looked at on every turn.
  void Awake();

 private:
  void Flush();
  void End(const Status& reason);

  RingHub& hub_;
  const std::shared_ptr<SharedPage> page_;
  const Bell bell_;
  ControlStreamOwner& owner_;
  FrameReader reader_;
  RingWriter to_peer_;
  RingReader from_peer_;
  bool open_ = true;
  bool asleep_ = false;  // and so not among those that the hub looks at
  std::uint64_t turns_ = 0;
  std::deque<std::vector<std::byte>> out_;  // with their frame headers
  std::size_t out_front_sent_ = 0;          // bytes of out_.front() that are gone
  std::size_t out_bytes_ = 0;
  bool* destroyed_ = nullptr;  // set by the destructor while the owner is being called
  Status failure_;             // found while sending; told from the next Drain
};

}  // namespace terrace
