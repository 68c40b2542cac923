// ServerPeer: one client's connection as the daemon sees it, from accept to the handler's last
// reference.
//
//   greeting -> (Hello) -> opening (tcp: until the data plane works) -> connected -> gone
//
// Thread: the reactor's.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "transport/control_stream.h"
#include "transport/peer_link.h"
#include "transport/rdma/ucx_worker.h"
#include "transport/server.h"
#include "transport/shm/ring_stream.h"
#include "transport/shm/shared_region.h"
#include "transport/tcp/tcp_link.h"

namespace terrace {

class ServerImpl;

class ServerPeer final : public Peer,
                         public std::enable_shared_from_this<ServerPeer>,
                         private ControlStreamOwner,
                         private SocketEvents,
                         private UcxEndpointOwner {
 public:
  enum class State : std::uint8_t { kGreeting, kOpening, kConnected, kGone };

  /// `server` outlives the peer's state kGone.
  ServerPeer(ServerImpl& server, std::uint64_t id, UniqueFd fd, bool local);
  ~ServerPeer() override;

  [[nodiscard]] Link& link() noexcept override { return *link_; }
  [[nodiscard]] std::uint64_t id() const noexcept override { return id_; }
  [[nodiscard]] const std::string& tenant() const noexcept override { return tenant_; }
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] const std::string& address() const noexcept override { return address_; }

  Status Start();
  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] Nanos last_heard() const noexcept { return context_.last_heard; }
  /// `span` of this daemon's own absence, in which it could hear nobody.
  void Excuse(Nanos span, Nanos now) noexcept {
    context_.last_heard = std::min(context_.last_heard + span, now);
  }
  [[nodiscard]] std::uint64_t token() const noexcept { return token_; }
  [[nodiscard]] std::uint64_t incarnation() const noexcept { return context_.incarnation; }
  [[nodiscard]] std::size_t transfers() const noexcept { return context_.requests.transfers(); }
  /// Says why on the control stream (when not ok), ends link and stream, tells the handler.
  void Drop(const Status& reason, bool tell_client);

  void RecallExtent(std::uint32_t extent, std::uint32_t edition) {
    if (state_ == State::kConnected) link_->Recall(extent, edition);
  }
  void EndLoans(std::uint32_t first, std::uint32_t last) {
    if (state_ == State::kConnected) link_->EndLoans(first, last);
  }
  void EndLoan(const LentPlace& place) {
    if (state_ == State::kConnected) link_->EndLoan(place);
  }
  /// The client's data connection has come, past its OpenData message.
  void OpenDataPlane(UniqueFd fd);

 private:
  void OnFrame(std::vector<std::byte> message) override;
  void OnStreamEnding() override { KeepSocketWhileMemoryIsTouched(); }
  void OnStreamEnd(const Status& reason) override;
  void OnSocket(bool readable, bool writable) override;  // the client's process has exited
  void OnEndpointFailed(const Status& reason) override;

  void OnHello(const wire::Message& message);
  /// This is the data connection of another peer.
  void OnOpenData(const wire::Message& message);
  Status CheckHello(const wire::Hello& hello) const;
  /// Picks and makes the link; null with a status when none of the client's works.
  Status ChooseLink(const wire::Hello& hello);
  Status TryShm(const wire::Hello& hello);
  /// The shared page and the ring on it; what the client gets of them goes with HelloReply.
  Result<std::shared_ptr<SharedPage>> MakeRing();
  Status TryTcp();
  Status TryRdma(const wire::Hello& hello);
  void SendHelloReply(const MessageHead& head);
  void Connected();

  void OnSession(std::vector<std::byte> bytes, const wire::Message& message);
  void OnRegister(const wire::Message& message);
  /// Maps a region whose memory the client shares.
  void OnShare(const wire::ShareRegion& body);
  /// Maps memory of a GPU, on another thread, and answers (server_peer_devices.cc).
  void OnRegisterDevice(const wire::Message& message);
  Task<void> OpenDevice(std::shared_ptr<ServerPeer> self, std::uint64_t request_id,
                        std::uint32_t region, DeviceExport exported);
  void OnForgetDevice(const wire::Message& message);
  Task<void> CloseDevice(std::shared_ptr<ServerPeer> self, std::uint64_t request_id,
                         std::weak_ptr<DeviceRegion> mapped);
  void OnCancel(const wire::Message& message);
  void OnRequest(std::vector<std::byte> bytes, const wire::Message& message);
  void OnQuiet(std::uint64_t request_id);
  /// An ErrorReply on whichever way replies go now.
  void Refuse(const wire::Message& message, const Status& status);
  void Reply(std::vector<std::byte> message);
  void Abort(const Status& reason);
  /// The client's socket is closed once nothing touches its memory; false: nothing does now.
  bool KeepSocketWhileMemoryIsTouched() {
    return link_ != nullptr && link_->CloseWhenQuiet([this] { return stream_.Release(); });
  }

  ServerImpl& server_;
  const std::uint64_t id_;
  const bool local_;
  std::string address_;
  State state_ = State::kGreeting;
  LinkContext context_;
  ControlStream stream_;

  std::string tenant_;
  std::string name_;
  std::uint16_t version_ = 0;  // spoken with this client
  std::uint64_t token_ = 0;
  std::uint64_t probe_written_ = 0;
  /// Regions of GPUs that are being mapped, and the request that is to be answered for each.
  std::unordered_map<std::uint32_t, std::uint64_t> devices_opening_;
  std::size_t device_tasks_ = 0;               // Register- and ForgetDevices that are not answered
  std::unordered_set<std::uint32_t> devices_;  // regions of GPUs that were mapped, not forgotten
  UniqueFd life_;                              // pidfd of a client on this host, polled
  std::unique_ptr<RingStream> ring_;
  std::uint64_t read_in_turn_ = 0;  // of the ring: the socket was read for its sake
  const std::shared_ptr<SharedMemoryUse> shared_memory_ = SharedMemoryUse::OfOneClient();
  std::vector<UniqueFd> introduction_;  // descriptors for HelloReply
  std::unique_ptr<PeerLink> link_;
  TcpLink* tcp_ = nullptr;  // link_, when it is one
  Status abort_reason_;
};

}  // namespace terrace
