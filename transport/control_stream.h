// ControlStream: control messages over one connected socket (TCP or unix), in order, framed
// (frame_reader.h). The socket also tells at once that the process at the other end is gone.
//
// Over a unix socket descriptors may come along with a message; its owner takes them in the
// message's OnFrame. Whoever does not want them must receive them all the same: the system closes
// what was not taken, on the thread that reads, and that can last (elsewhere.h). So a stream that
// hears strangers is told so.
//
// Thread: the reactor's. Callbacks come from SocketPoll only, never from inside Send or Close.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "base/status.h"
#include "transport/frame_reader.h"
#include "transport/socket.h"

namespace terrace {

class ControlStreamOwner {
 public:
  /// One message, not verified. The stream may be closed, and destroyed, in here.
  virtual void OnFrame(std::vector<std::byte> message) = 0;
  /// The stream is about to end by itself, and to close its socket: Release keeps that open.
  virtual void OnStreamEnding() {}
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
  void SetFrameLimit(std::size_t frame_bytes_max) noexcept { reader_.SetLimit(frame_bytes_max); }
  /// Queues a message; dropped after the end. A peer that lets more than kQueuedBytesMax pile up
  /// is ended. `descriptors` go along, over unix sockets only; at most kDescriptorsMax.
  void Send(std::vector<std::byte> message, std::vector<UniqueFd> descriptors = {});
  /// Sends a message with a copy of `descriptor`. Ok: the peer can take both from the socket now.
  /// kRetry: there is no descriptor left, or the peer lets messages pile up; seldom it comes later
  /// all the same. Nothing is kept for a peer that takes nothing.
  Status SendCopyOf(int descriptor, std::vector<std::byte> message);
  /// OnStreamEnd comes from the socket's next event.
  void EndSoon();
  /// Everything that was sent has left this process.
  [[nodiscard]] bool sent_all() const noexcept { return out_.empty() && failure_.ok(); }
  /// From now on descriptors that come are kept for TakeDescriptors, so many at once.
  void AcceptDescriptors(std::size_t kept_max) noexcept { kept_max_ = kept_max; }
  /// Anybody may be at the other end, with any descriptors. Before Start.
  void HearsStrangers() noexcept { strangers_ = true; }
  /// Those that came since the last call, oldest first.
  [[nodiscard]] std::vector<UniqueFd> TakeDescriptors() { return std::exchange(descriptors_, {}); }
  /// Hands over all that has arrived already, without waiting for the socket's event; not what
  /// comes meanwhile, or a peer that never stops would hold the thread. The stream may be gone
  /// afterwards, as in OnFrame. Inside of this stream's OnFrame it does nothing: what has arrived
  /// comes after that, in its order, and not one call deeper for each message.
  void ReadNow();
  /// Sends nothing more and hears nothing more; no callback.
  void Close();
  /// The same, but the socket lives on. What came behind the message whose OnFrame this is called
  /// in is lost.
  [[nodiscard]] UniqueFd Release();
  /// Stops listening, sends what is queued as far as the socket takes it, then closes.
  void CloseAfterSending();
  [[nodiscard]] bool open() const noexcept { return static_cast<bool>(fd_); }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  static constexpr std::size_t kQueuedBytesMax = 64 << 20;
  static constexpr std::size_t kControlFrameMax = 8 << 20;
  static constexpr std::size_t kDescriptorsMax = 4;

 private:
  struct Outgoing {
    std::vector<std::byte> message;
    std::vector<UniqueFd> descriptors;
  };
  void OnSocket(bool readable, bool writable) override;
  /// Reads until nothing is there, or one of the limits is reached. False: the stream ended or was
  /// closed.
  bool Read(int reads_max, std::size_t bytes_max);
  ssize_t Receive(std::span<std::byte> room);
  /// Sends on, up to so many bytes of the message.
  ssize_t Transmit(const Outgoing& out, std::size_t message_bytes);
  void KeepDescriptors(msghdr& received);
  /// Closes what the other end passed: elsewhere, where that may be a stranger.
  void LetGo(UniqueFd fd) const;
  bool Take(std::span<const std::byte> bytes);
  void Write();
  void End(Status reason);

  SocketPoll& poll_;
  UniqueFd fd_;
  ControlStreamOwner& owner_;
  FrameReader reader_;
  std::size_t kept_max_ = 0;  // of descriptors_
  bool strangers_ = false;
  std::vector<UniqueFd> descriptors_;

  std::deque<Outgoing> out_;
  std::size_t out_front_sent_ = 0;  // bytes of out_.front() that are gone, its header included
  std::size_t out_bytes_ = 0;
  bool* destroyed_ = nullptr;  // set by the destructor while the owner is being called
  Status failure_;             // found while sending; told from the next OnSocket
};

}  // namespace terrace
