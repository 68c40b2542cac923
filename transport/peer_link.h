// PeerLink: what the Links of a Server share: the client's regions, its requests, the end.
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/link.h"
#include "base/scheduler.h"
#include "transport/codec.h"
#include "transport/remote_regions.h"
#include "transport/request_tracker.h"
#include "transport/server.h"
#include "transport/socket.h"

namespace terrace {

/// The part of a connection that its Link works with. Outlives the link.
struct LinkContext {
  LinkContext(Scheduler& the_scheduler, ServerCounters& the_counters, std::uint64_t regions_max,
              std::function<void(std::uint64_t)> on_quiet)
      : scheduler(the_scheduler),
        counters(the_counters),
        regions(regions_max),
        requests(std::move(on_quiet)) {}
  /// Of the server: tasks that go on when the calls that began them have ended.
  TaskScope* background = nullptr;

  Scheduler& scheduler;
  ServerCounters& counters;
  RemoteRegions regions;
  RequestTracker requests;
  std::uint64_t incarnation = 0;
  Nanos last_heard = 0;  ///< when anything of the client's came
  /// Tells the owner of the connection that it must end; the owner does it later.
  std::function<void(Status)> abort;
  /// Keeps the connection's objects, and with them this, for as long as the answer is held.
  std::function<std::shared_ptr<void>()> keep;
};

class PeerLink : public Link {
 public:
  explicit PeerLink(LinkContext& context) : context_(context) {}

  [[nodiscard]] bool Alive() const noexcept override { return end_.ok(); }

  void Send(std::vector<std::byte> message) final {
    if (!Alive()) return;
    // Ours, so it needs no verification.
    context_.requests.Close(wire::GetMessage(message.data())->request_id());
    SendMessage(std::move(message));
  }

  void Close() final {
    if (!Alive()) return;
    End(Status(StatusCode::kPeerDead, "closed by the daemon"));
    context_.abort(Status(StatusCode::kPeerDead, "closed by the daemon"));
  }

  /// Ends every transfer with `reason` (kPeerDead). The owner calls this when the peer is gone.
  void End(const Status& reason) {
    if (!Alive()) return;
    end_ = reason;
    OnEnd();
  }

  /// True when copies that cannot be called back touch the client's memory: then the socket is
  /// taken and closed when they have ended. To the client its end means that nobody touches the
  /// memory.
  virtual bool CloseWhenQuiet(const std::function<UniqueFd()>& /*take_socket*/) { return false; }

  /// The client is to let go of an extent, if it was shown it.
  virtual void Recall(std::uint32_t /*extent*/, std::uint32_t /*edition*/) {}

  /// The request was cancelled: transfers that wait look at RequestTracker::Cancelled.
  virtual void WakeTransfers(std::uint64_t request_id) = 0;

 protected:
  virtual void SendMessage(std::vector<std::byte> message) = 0;
  virtual void OnEnd() = 0;

  /// Why the link has ended; ok while it lives.
  [[nodiscard]] const Status& end() const noexcept { return end_; }
  [[nodiscard]] Status CheckBegin(const BlockTransfer& transfer) {
    if (!Alive()) return end_;
    if (context_.scheduler.Now() >= transfer.deadline) {
      return {StatusCode::kTimeout, "the deadline passed before the transfer began"};
    }
    if (!context_.requests.Begin(transfer.request_id)) {
      return Status(StatusCode::kCancelled, "the client cancelled the request");
    }
    return {};
  }

  /// Lets the client check a block that it did not receive itself (BlockChecksums).
  void SendChecksums(const BlockTransfer& transfer, std::span<const std::uint64_t> checksums) {
    const MessageHead head{transfer.request_id, context_.incarnation, 0};
    SendMessage(
        BuildMessage<wire::BlockChecksums>(head, [&](flatbuffers::FlatBufferBuilder& builder) {
          const auto sums = builder.CreateVector(checksums.data(), checksums.size());
          return wire::CreateBlockChecksums(builder, transfer.block, sums);
        }));
  }

  LinkContext& context_;

 private:
  Status end_;
};

}  // namespace terrace
