// ChannelImpl: see channel.h.
//
//   connecting: Greet opens the control stream, says Hello, waits for the answer and, over TCP,
//               opens the data connection (OpenData, kOpened); then it is a Channel.
//
// Thread: the reactor's. Callbacks to the handler come from the events of its sockets, its ring
// and the NIC only, never inside a call of the owner.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/random.h"
#include "base/wait.h"
#include "transport/channel.h"
#include "transport/channel_request.h"
#include "transport/codec.h"
#include "transport/control_stream.h"
#include "transport/rdma/ucx_worker.h"
#include "transport/shm/daemon_life.h"
#include "transport/shm/lent_extents.h"
#include "transport/shm/ring_stream.h"
#include "transport/tcp/data_stream.h"

namespace terrace {

class ChannelFactoryImpl;

class ChannelImpl final : public Channel, public ControlStreamOwner, public DataStreamOwner {
 public:
  /// `factory` and `handler` outlive the channel.
  ChannelImpl(ChannelFactoryImpl& factory, ChannelOptions options, ChannelHandler& handler);
  ~ChannelImpl() override;

  /// Over a connected socket, with the one link `kind`. `worker`: for kRdma. Once.
  Task<Status> Greet(UniqueFd fd, LinkKind kind, UcxWorker* worker, Nanos deadline);

  [[nodiscard]] const ChannelHello& hello() const noexcept override { return hello_; }
  [[nodiscard]] bool Alive() const noexcept override { return state_ == State::kOpen; }
  void Send(std::vector<std::byte> message) override;
  void AddRegion(std::uint32_t region, ClientMemory memory) override;
  void RemoveRegion(std::uint32_t region) override;
  void Expect(std::uint64_t request_id, PieceMemory destinations) override;
  void Offer(std::uint64_t request_id, PieceMemory sources) override;
  [[nodiscard]] StatusCode Arrived(std::uint64_t request_id, std::uint32_t index) const override;
  StatusCode Withdraw(std::uint64_t request_id) override;
  [[nodiscard]] std::unique_ptr<LentMemory> TakeLoan(const wire::Loan& loan) override;
  Result<std::shared_ptr<const DaemonProcess>> Daemon() override;
  void Close() override;

 private:
  enum class State : std::uint8_t { kGreeting, kOpening, kOpen, kEnded };

  void OnFrame(std::vector<std::byte> message) override;
  void OnStreamEnd(const Status& reason) override;
  void OnData(const DataHeader& header, std::span<const std::byte> payload) override;
  void OnControl(std::vector<std::byte> message) override;
  void OnBlockSent(const std::shared_ptr<Outgoing>& outgoing) override;
  void OnDataEnd(const Status& reason) override;

  void SendHello(LinkKind kind);
  void OnHelloAnswer(const wire::Message& message);
  /// Maps what came with HelloReply; from then on messages go over the ring.
  Status OpenRing();
  void OnExtentOffer(const wire::Message& message);
  /// Maps memory of a GPU; `held` tells the daemon for how long.
  void OnDeviceOffer(const wire::ExtentOffer& offer, UniqueFd held);
  void OnExtentRecall(const wire::ExtentRecall& recall);
  [[nodiscard]] bool Knows(const wire::Loan& loan) const;
  /// Connects to the daemon once more, for data messages.
  Task<Status> OpenDataPlane(Nanos deadline);
  void OnSessionMessage(const wire::Message& message);
  void OnBlockChecksums(const wire::Message& message);
  [[nodiscard]] bool ChecksArrivals() const noexcept {
    return hello_.link == LinkKind::kRdma || options_.verify_same_host;
  }
  /// The daemon touches nothing of this request any more.
  void Answered(std::uint64_t request_id, const wire::Message& message);
  void StartSending(const DataHeader& header);
  /// Passes the region's memory over the socket. True: the daemon can take it from there now.
  bool ShareRegion(std::uint32_t region, std::uint64_t length, const UniqueFd& file);
  void RemoveRegistration(std::uint32_t region);
  void FinishWithdrawn(std::uint64_t request_id);
  /// True when the daemon is dying, and its GPU may still touch memory of requests: the channel
  /// ends with its process, for `reason`.
  bool AwaitsDaemonExit(const Status& reason);
  /// It is memory of a GPU, as the owner's regions say.
  [[nodiscard]] bool IsOnDevice(const std::byte* at) const;
  void End(const Status& reason);
  void TearDown(const Status& reason);
  /// Waits until the daemon let go of this process's memory.
  void WaitForDaemonToLetGo();
  void AwaitStreamEnd(const Clock& clock, Nanos end);
  [[nodiscard]] bool DaemonTouchesMemory() const noexcept {
    return hello_.link == LinkKind::kShm || hello_.link == LinkKind::kRdma;
  }

  ChannelFactoryImpl& factory_;
  const ChannelOptions options_;
  ChannelHandler& handler_;
  State state_ = State::kGreeting;
  ChannelHello hello_;
  std::unique_ptr<ControlStream> stream_;
  std::shared_ptr<SharedPage> page_;  // link kShm, with all of these
  std::unique_ptr<RingStream> ring_;
  LentExtents extents_;
  Status session_error_;  // what an ErrorReply without a request said

  // Only while connecting.
  Event decided_;  // HelloReply, ErrorReply or the end came; later: the data plane is open
  Status decision_;
  UcxWorker* worker_ = nullptr;  // link kRdma
  // Read and written by the daemon at Hello: the first word proves whose memory it reads.
  struct alignas(16) Probe {
    std::uint64_t value = 0;
    std::uint64_t written = 0;
  };
  std::unique_ptr<Probe> probe_;

  std::uint64_t token_ = 0;
  std::unique_ptr<DataStream> data_;  // link kTcp
  std::unordered_map<std::uint64_t, ChannelRequest> requests_;
  std::unordered_map<std::uint32_t, std::span<std::byte>> device_memory_;  // by region
  std::unique_ptr<DaemonLife> daemon_life_;  // once there is device memory, and it can be seen
  bool awaits_exit_ = false;
  std::unordered_map<std::uint32_t, ucp_mem_h> registered_;  // by region; only over RDMA
};

}  // namespace terrace
