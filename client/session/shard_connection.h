// ShardConnection: the connection to one reactor of the daemon, and the parts that wait on it.
//
//   S1. A part is known here from Send until Forget; a late or foreign reply meets nothing.
//   S2. What the channel says inside one of our calls into it is told to the flow later, on the
//       same thread: no callback of ours ever runs inside RequestFlow::Start.
//   S3. Destroyed only when no part is known any more, or after the channel has ended.
//
// Thread: the library's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/scheduler.h"
#include "client/request/request.h"
#include "client/wire/reply.h"
#include "transport/channel.h"

namespace terrace {

/// Who is told what happens on a connection.
class ShardEvents {
 public:
  virtual void OnReply(const RequestRef& request, std::uint32_t part, const wire::Message& message,
                       const ArrivalCheck& arrivals) = 0;
  /// Nothing touches the part's memory any more.
  virtual void OnPartQuiet(const RequestRef& request, std::uint32_t part) = 0;
  /// The channel has ended, and OnPartQuiet came for every part that is left; they get no reply.
  virtual void OnPartLost(const RequestRef& request, std::uint32_t part, const Status& reason) = 0;

 protected:
  ~ShardEvents() = default;
};

class ShardConnection final : private ChannelHandler, private ArrivalCheck {
 public:
  /// `events` and `scheduler` outlive the connection. `lost` is set when the channel has ended;
  /// it may be taken away by Retire.
  ShardConnection(ShardEvents& events, Scheduler& scheduler, Event& lost)
      : events_(events), scheduler_(scheduler), lost_(&lost) {}
  ~ShardConnection() override;
  ShardConnection(const ShardConnection&) = delete;
  ShardConnection& operator=(const ShardConnection&) = delete;

  /// Connects; once. A message may come as soon as this has answered ok.
  Task<Status> Connect(ChannelFactory& factory, ChannelOptions options, Nanos deadline);
  /// REQUIRES: Connect answered ok; likewise below.
  [[nodiscard]] const ChannelHello& hello() const { return channel_->hello(); }

  /// Sends a part and waits for its reply.
  void Send(const RequestRef& request, std::uint32_t part);
  /// Sends a message whose reply, if there is one, is dropped.
  void Post(std::vector<std::byte> message);
  /// Ends a part's use of its memory: kOk, or kPending until OnPartQuiet.
  StatusCode Withdraw(const RequestPart& part);
  /// Asks the daemon to stop working on a request.
  void Cancel(std::uint64_t request_id, const MessageHead& head);
  /// The part needs nothing of this connection any more.
  void Forget(std::uint64_t request_id) { parts_.erase(request_id); }

  void AddRegion(std::uint32_t region, ClientMemory memory);
  void RemoveRegion(std::uint32_t region);
  /// As of Channel.
  [[nodiscard]] Result<std::shared_ptr<const DaemonProcess>> Daemon() { return channel_->Daemon(); }

  /// Sends a ping and counts a miss when nothing at all came since the last one.
  void Heartbeat(const MessageHead& head);
  [[nodiscard]] std::uint32_t heartbeats_missed() const noexcept { return missed_; }
  /// Nothing came since the last ping.
  [[nodiscard]] bool awaits_pong() const noexcept { return pinged_ && !heard_; }

  /// The channel has ended, and every part was told.
  [[nodiscard]] bool ended() const noexcept { return told_; }
  [[nodiscard]] const Status& end_reason() const noexcept { return end_reason_; }
  /// Ends the channel; the parts that are left are told before this returns.
  void Close(const Status& reason);
  /// From now on nobody is told that the channel ends, except the parts that are left.
  void Retire() noexcept { lost_ = nullptr; }

  struct Waiting {
    RequestRef request;
    std::uint32_t part = 0;
  };
  /// A copy, because what is done with it changes the original.
  [[nodiscard]] std::vector<Waiting> Parts() const;
  [[nodiscard]] bool idle() const noexcept { return parts_.empty(); }

 private:
  void OnMessage(const wire::Message& message) override;
  void OnQuiet(std::uint64_t request_id) override;
  void OnClosed(const Status& reason) override;
  [[nodiscard]] StatusCode Arrived(std::uint64_t request_id, std::uint32_t index) const override;
  [[nodiscard]] std::unique_ptr<LentMemory> TakeLoan(const wire::Loan& loan) const override;
  /// An answer that came too late: nobody will use what it lends or leases.
  void GiveBack(const wire::Message& message) const;
  void TellEnd();

  ShardEvents& events_;
  Scheduler& scheduler_;
  Event* lost_;
  std::unique_ptr<Channel> channel_;
  std::uint64_t incarnation_ = 0;  // the client's
  std::unordered_map<std::uint64_t, Waiting> parts_;
  std::unordered_set<std::uint32_t> regions_;  // that the daemon was told of
  bool heard_ = true;                          // since the last heartbeat
  bool pinged_ = false;                        // a heartbeat was sent
  std::uint32_t missed_ = 0;
  bool closed_ = false;  // OnClosed came, or Close was called
  bool told_ = false;
  Status end_reason_;
  std::optional<Scheduler::TimerId> tell_timer_;
};

}  // namespace terrace
