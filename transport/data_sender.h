// DataSender: sends blocks over one UCX endpoint as data messages, a few at a time, in order.
//
// A block's bytes are read by UCX until its messages have completed; whoever gives up early
// (Abandon) leaves them in quarantine: the Outgoing, with its Hold, lives until then.
// Thread: the reactor's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/link.h"
#include "base/status.h"
#include "base/wait.h"
#include "transport/data_message.h"
#include "transport/piece_memory.h"
#include "transport/ucx_worker.h"

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

  std::size_t posted = 0;     ///< bytes given to UCX
  std::size_t in_flight = 0;  ///< messages that UCX has not completed
  bool ended = false;         ///< everything was sent, or it failed or was abandoned
  Status status;              ///< why it failed
};

class DataSender final : public std::enable_shared_from_this<DataSender> {
 public:
  class Owner {
   public:
    /// `outgoing` has ended and UCX does not touch its bytes any more. Not inside a call to the
    /// sender.
    virtual void OnOutgoingQuiet(const std::shared_ptr<Outgoing>& outgoing) = 0;

   protected:
    ~Owner() = default;
  };

  /// `owner` is told until Close.
  static std::shared_ptr<DataSender> Create(std::uint64_t token, std::uint64_t incarnation,
                                            Owner* owner) {
    return std::shared_ptr<DataSender>(new DataSender(token, incarnation, owner));
  }
  ~DataSender();

  /// `endpoint` stays until Close.
  void SetEndpoint(UcxEndpoint* endpoint);
  /// Queues a block. REQUIRES: not closed.
  void Send(std::shared_ptr<Outgoing> outgoing);
  /// Sends no more of it; what is in flight ends by itself.
  void Abandon(const std::shared_ptr<Outgoing>& outgoing);
  /// Sends a message without payload. kOpen also names the endpoint it comes by.
  void SendHeader(const DataHeader& header);
  /// Sends a control message (kControlAmId). False when too much is queued already.
  bool SendControl(std::vector<std::byte> message);
  /// Everything queued fails with `reason`, nothing is told to the owner any more. The endpoint
  /// must be destroyed next, so that what is in flight ends.
  void Close(const Status& reason);
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }

  /// Data messages given to UCX at a time: more gain nothing (measured), fewer leave gaps.
  static constexpr std::size_t kWindow = 4;
  static constexpr std::size_t kControlQueuedMax = 64 << 20;  ///< bytes

 private:
  struct DataOperation;
  struct ControlOperation;
  DataSender(std::uint64_t token, std::uint64_t incarnation, Owner* owner)
      : token_(token), incarnation_(incarnation), owner_(owner) {}
  void Pump();
  void PostNext(const std::shared_ptr<Outgoing>& outgoing);
  /// Memory for the payload of a message that is gathered.
  std::unique_ptr<std::byte[]> TakeStage();
  void OnMessageSent(const std::shared_ptr<Outgoing>& outgoing, Status status);

  const std::uint64_t token_;
  const std::uint64_t incarnation_;
  Owner* owner_;
  UcxEndpoint* endpoint_ = nullptr;
  std::deque<std::shared_ptr<Outgoing>> queue_;  // not wholly posted
  std::vector<ControlOperation*> waiting_;       // control messages from before SetEndpoint
  std::size_t in_flight_ = 0;                    // data messages inside UCX
  // kDataPayloadMax bytes each; at most kWindow of them, used again while they are warm.
  std::vector<std::unique_ptr<std::byte[]>> stages_;
  std::size_t control_bytes_ = 0;  // queued or inside UCX
  bool closed_ = false;
};

}  // namespace terrace
