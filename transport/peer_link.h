// PeerLink: what the Links of a Server share: the client's regions, its requests, the end.
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
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
  explicit PeerLink(LinkContext& context) : context_(context) {
    context_.requests.OnStill([this](std::uint64_t request_id) { SendHeld(request_id); });
  }
  ~PeerLink() override { context_.requests.OnStill({}); }
  PeerLink(const PeerLink&) = delete;
  PeerLink& operator=(const PeerLink&) = delete;

  [[nodiscard]] bool Alive() const noexcept override { return end_.ok(); }

  /// To the client a reply means that nothing touches the memory of its request any more: it is
  /// held while transfers of the request, whose calls have ended, still run (quarantine, L2).
  void Send(std::vector<std::byte> message) final {
    if (!Alive()) return;
    // Ours, so it needs no verification.
    const std::uint64_t request_id = wire::GetMessage(message.data())->request_id();
    context_.requests.Close(request_id);
    if (!context_.requests.Moves(request_id)) return SendMessage(std::move(message));
    std::vector<std::vector<std::byte>>& held = held_[request_id];
    held.push_back(std::move(message));
    if (held.size() > kHeldMax) {
      context_.abort(Status::Invalid("many messages bear the number of request " +
                                     std::to_string(request_id)));
    }
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
    held_.clear();
    OnEnd();
  }

  /// True when copies that cannot be called back touch the client's memory: then the socket is
  /// taken and closed when they have ended. To the client its end means that nobody touches the
  /// memory.
  virtual bool CloseWhenQuiet(const std::function<UniqueFd()>& /*take_socket*/) { return false; }

  /// The client is to let go of an extent, if it was shown it.
  virtual void Recall(std::uint32_t /*extent*/, std::uint32_t /*edition*/) {}
  /// As of Server.
  virtual void EndLoans(std::uint32_t /*first*/, std::uint32_t /*last*/) {}
  virtual void EndLoan(const LentPlace& /*place*/) {}

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
  /// Of one request; a client whose requests have numbers of their own has one.
  static constexpr std::size_t kHeldMax = 16;

  void SendHeld(std::uint64_t request_id) {
    if (held_.empty()) return;
    auto held = held_.extract(request_id);
    if (!held || !Alive()) return;
    for (std::vector<std::byte>& message : held.mapped()) SendMessage(std::move(message));
  }

  std::unordered_map<std::uint64_t, std::vector<std::vector<std::byte>>> held_;  // by request
  Status end_;
};

}  // namespace terrace
