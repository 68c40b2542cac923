// DataSender: what waits to be sent over one data connection, cut into data messages.
//
// Headers and control messages go before blocks, each in the order in which it was queued; a block
// goes whole before the next one begins. Bytes are read during Write alone: between two calls
// nothing refers to a block that was abandoned, whose message, if the socket has a part of it
// already, is finished from a copy.
//
// Thread: one. It knows of the socket only that it is written to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/link.h"
#include "base/result.h"
#include "base/status.h"
#include "transport/piece_memory.h"
#include "transport/tcp/data_message.h"

namespace terrace {

/// One block on its way.
struct Outgoing {
  std::uint64_t request_id = 0;
  std::uint32_t block = 0;
  std::uint64_t size = 0;            ///< bytes of it
  std::span<const std::byte> bytes;  ///< where they lie, when they lie together
  /// Else: they are gathered into memory of the sender's, a message at a time. What it walks over
  /// stays as long as this.
  PieceWalk scattered;
  Hold hold;                             ///< empty on the client
  std::vector<std::uint64_t> checksums;  ///< empty: computed as the bytes are sent

  std::uint64_t taken = 0;  ///< bytes that were made into messages
  bool ended = false;       ///< the socket has all of it, or it failed or was abandoned
  Status status;            ///< why it failed

  /// Nothing reads its bytes any more.
  void End(const Status& how = {}) {
    ended = true;
    if (status.ok()) status = how;
    hold = Hold();
  }
};

class DataSender {
 public:
  /// What stands in every header.
  struct Identity {
    std::uint64_t token = 0;
    std::uint64_t incarnation = 0;
  };
  explicit DataSender(Identity identity) : identity_(identity) {}
  DataSender(const DataSender&) = delete;
  DataSender& operator=(const DataSender&) = delete;

  /// Queues a block. REQUIRES: not closed.
  void Send(std::shared_ptr<Outgoing> outgoing);
  /// Sends no more of it than the message that has begun. Nothing reads its bytes any more.
  void Abandon(const std::shared_ptr<Outgoing>& outgoing);
  /// Queues a message without payload.
  void SendHeader(const DataHeader& header);
  /// Queues a kControl message. False when too much is queued already.
  [[nodiscard]] bool SendControl(std::vector<std::byte> message);
  /// Everything queued fails with `reason`; nothing can be sent any more.
  void Close(const Status& reason);

  enum class Left : std::uint8_t { kNothing, kBlocked, kMore };
  /// Writes to a non-blocking socket until it takes no more, nothing is left, or about `bytes_max`
  /// were written. kPeerDead: the connection is broken.
  Result<Left> Write(int fd, std::size_t bytes_max);
  /// The blocks that Write has ended since the last call.
  [[nodiscard]] std::vector<std::shared_ptr<Outgoing>> TakeEnded() {
    return std::exchange(ended_, {});
  }

  static constexpr std::size_t kControlQueuedMax = 64 << 20;  ///< bytes

 private:
  /// A message that the socket has a part of, or is to get next.
  struct Message {
    DataHeader header;
    std::vector<std::byte> control;      // the payload of kControl
    std::span<const std::byte> payload;  // of kBlock: of a block, or of stage_
    std::shared_ptr<Outgoing> outgoing;  // whose payload it is; null once abandoned
  };
  bool Next();
  void MakeBlockMessage(const std::shared_ptr<Outgoing>& outgoing);
  void FinishMessage();

  const Identity identity_;
  std::deque<Message> small_;                    // headers and control messages
  std::deque<std::shared_ptr<Outgoing>> queue_;  // not wholly made into messages
  Message message_;
  bool writing_ = false;                // message_ counts
  std::size_t sent_ = 0;                // bytes of message_, its header included
  std::unique_ptr<std::byte[]> stage_;  // kDataPayloadMax bytes: payload that was gathered
  std::size_t control_bytes_ = 0;       // queued
  std::vector<std::shared_ptr<Outgoing>> ended_;
  bool closed_ = false;
};

}  // namespace terrace
