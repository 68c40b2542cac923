// ControlStream: control messages over one connected socket (TCP or unix), in order, framed.
//
//   frame = magic "TRRF" (4 bytes), length of the message (4 bytes, little-endian), the message
//
// A frame with another magic, or longer than the limit of the moment, ends the stream. Memory is
// taken as bytes arrive, never by what a length claims. The socket also tells at once that the
// process at the other end is gone.
//
// Thread: the reactor's. Callbacks come from SocketPoll only, never from inside Send or Close.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "base/status.h"
#include "transport/socket.h"

namespace terrace {

class ControlStreamOwner {
 public:
  /// One message, not verified. The stream may be closed, and destroyed, in here.
  virtual void OnFrame(std::vector<std::byte> message) = 0;
  /// The stream ended by itself; comes once, nothing after it. kPeerDead: the other end closed it.
  /// kInvalid: it sent no frame. The stream may be destroyed in here.
  virtual void OnStreamEnd(const Status& reason) = 0;

 protected:
  ~ControlStreamOwner() = default;
};

class ControlStream final : private SocketEvents {
 public:
  /// `poll` and `owner` outlive the stream. `frame_bytes_max`: of incoming frames.
  ControlStream(SocketPoll& poll, UniqueFd fd, std::size_t frame_bytes_max,
                ControlStreamOwner& owner);
  ~ControlStream();
  ControlStream(const ControlStream&) = delete;
  ControlStream& operator=(const ControlStream&) = delete;

  /// kIo when the socket cannot be polled. Must be called once, before anything else.
  Status Start();
  void SetFrameLimit(std::size_t frame_bytes_max) noexcept { frame_bytes_max_ = frame_bytes_max; }
  /// Queues a message; dropped after the end. A peer that lets more than kQueuedBytesMax pile up
  /// is ended.
  void Send(std::vector<std::byte> message);
  /// Sends nothing more and hears nothing more; no callback.
  void Close();
  /// Stops listening, sends what is queued as far as the socket takes it, then closes.
  void CloseAfterSending();
  [[nodiscard]] bool open() const noexcept { return static_cast<bool>(fd_); }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  static constexpr std::size_t kQueuedBytesMax = 64 << 20;
  static constexpr std::size_t kControlFrameMax = 8 << 20;

 private:
  void OnSocket(bool readable, bool writable) override;
  /// False: the stream ended or was closed.
  bool Read();
  bool Take(const std::byte* data, std::size_t size);
  void Write();
  void End(Status reason);

  SocketPoll& poll_;
  UniqueFd fd_;
  std::size_t frame_bytes_max_;
  ControlStreamOwner& owner_;

  std::byte header_[8] = {};
  std::size_t header_bytes_ = 0;  // of header_ received so far
  std::uint32_t frame_bytes_ = 0;
  std::vector<std::byte> frame_;

  std::deque<std::vector<std::byte>> out_;
  std::size_t out_front_sent_ = 0;  // bytes of out_.front() that are gone, its header included
  std::size_t out_bytes_ = 0;
  bool* destroyed_ = nullptr;  // set by the destructor while the owner is being called
  Status failure_;             // found while sending; told from the next OnSocket
};

}  // namespace terrace
