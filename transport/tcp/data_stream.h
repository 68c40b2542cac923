// DataStream: one data connection of a TCP link, from its OpenData message on: data messages
// (data_message.h) both ways over one connected socket.
//
// A payload is received into one buffer of 256 KiB, which stays in the L2 cache, and handed over
// when it is whole; the owner copies it on to where it belongs and hashes it on the way. Straight
// into place would save that copy and cost a walk through cold memory for the hash, which takes
// longer. The buffers are shared: a stream has one only while a payload is under way.
//
// Thread: the reactor's. Callbacks come from the socket's event or a timer, never inside a call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/scheduler.h"
#include "base/status.h"
#include "transport/socket.h"
#include "transport/tcp/data_message.h"
#include "transport/tcp/data_sender.h"

namespace terrace {

class DataStreamOwner {
 public:
  /// One message, but kControl; `payload`: of kBlock, whole, its checksum not compared yet. Only
  /// kinds that the other side may send. The stream may be closed, and destroyed, in here, and
  /// likewise below.
  virtual void OnData(const DataHeader& header, std::span<const std::byte> payload) = 0;
  /// The message of a kControl, as it was sent. On the client only.
  virtual void OnControl(std::vector<std::byte> message) = 0;
  /// The socket has all of a block. Not told of those that were abandoned.
  virtual void OnBlockSent(const std::shared_ptr<Outgoing>& outgoing) = 0;
  /// The stream ended by itself; nothing comes after it. kPeerDead: the other end closed it or does
  /// not take what is sent. kInvalid: what it sent is no data message. kCorrupt: not what it was.
  virtual void OnDataEnd(const Status& reason) = 0;

 protected:
  ~DataStreamOwner() = default;
};

/// Buffers for payloads under way, used again while they are warm. Thread: one.
class PayloadShelf {
 public:
  using Buffer = std::unique_ptr<std::byte[]>;  ///< kDataPayloadMax bytes
  Buffer Take();
  void Put(Buffer buffer);

 private:
  static constexpr std::size_t kKept = 4;
  std::vector<Buffer> free_;
};

class DataStream final : private SocketEvents {
 public:
  enum class Side : std::uint8_t { kDaemon, kClient };
  /// What several streams of a reactor share; outlives them.
  struct Shared {
    SocketPoll& poll;
    Scheduler& scheduler;
    PayloadShelf& shelf;
  };
  /// `fd`: connected. `owner` outlives the stream.
  DataStream(Shared shared, UniqueFd fd, Side side, DataSender::Identity identity,
             DataStreamOwner& owner);
  ~DataStream();
  DataStream(const DataStream&) = delete;
  DataStream& operator=(const DataStream&) = delete;

  /// kIo when the socket cannot be polled. Must be called once, before anything else.
  Status Start();
  [[nodiscard]] bool open() const noexcept { return static_cast<bool>(fd_); }

  /// As DataSender's; written soon, not in here. Without effect once the stream is closed, where
  /// the block ends at once.
  void Send(const std::shared_ptr<Outgoing>& outgoing);
  void Abandon(const std::shared_ptr<Outgoing>& outgoing) { sender_.Abandon(outgoing); }
  void SendHeader(const DataHeader& header);
  [[nodiscard]] bool SendControl(std::vector<std::byte> message);
  /// Counts a request whose bytes are to come over this stream.
  [[nodiscard]] SocketPoll::Awaited Await() { return SocketPoll::Awaited(&shared_.poll); }
  /// Blocks that wait fail with `reason`; no callback comes any more.
  void Close(const Status& reason);

 private:
  void OnSocket(bool readable, bool writable) override;
  /// Writes what waits, soon.
  void Kick();
  /// False, here and below: the stream was closed or destroyed.
  bool Write();
  bool Read();
  ssize_t Receive();
  /// So many bytes came to where Receive said.
  bool Take(std::size_t bytes);
  bool TakeHeader();
  bool DeliverPayload();
  [[nodiscard]] bool May(DataKind kind) const noexcept;
  /// Calls the owner.
  template <typename Call>
  bool Tell(Call&& call);
  void End(const Status& reason);

  Shared shared_;
  UniqueFd fd_;
  const Side side_;
  const DataSender::Identity identity_;
  DataStreamOwner& owner_;
  DataSender sender_;
  Status end_;  // why it was closed
  std::optional<Scheduler::TimerId> write_timer_;
  bool blocked_ = false;          // the socket tells when it takes more
  SocketPoll::Awaited to_write_;  // while it does
  bool* destroyed_ = nullptr;     // set by the destructor while the owner is being called

  // What is being received: a header, or the payload of header_ and the header after it.
  std::array<std::byte, sizeof(DataHeader)> raw_{};
  std::size_t raw_bytes_ = 0;  // of raw_ received so far
  DataHeader header_;
  bool in_payload_ = false;
  std::size_t payload_bytes_ = 0;   // received so far
  PayloadShelf::Buffer payload_;    // of kBlock
  std::vector<std::byte> control_;  // of kControl, grown as it comes
};

}  // namespace terrace
