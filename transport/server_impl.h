// ServerImpl: listeners, the set of peers, and what they share. See server.h.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "transport/rdma/rdma_worker.h"
#include "transport/server.h"
#include "transport/server_peer.h"
#include "transport/shm/ring_hub.h"
#include "transport/socket.h"

namespace terrace {

class ServerImpl final : public Server {
 public:
  ServerImpl(Reactor& reactor, ServerOptions options, RequestHandler& handler, Random& random);
  ~ServerImpl() override;
  Status Listen();

  [[nodiscard]] std::uint16_t port() const noexcept override { return port_; }
  void SetShards(std::vector<Shard> shards, std::uint16_t own_index,
                 std::uint64_t daemon_incarnation) override;
  void AttachDevices(DeviceRegions& devices) override { devices_ = &devices; }
  GpuWire AttachPools(std::span<const DevicePool> pools) override;
  void RecallExtent(std::uint32_t extent, std::uint32_t edition) override;
  void EndLoans(std::uint32_t first, std::uint32_t last) override;
  void EndLoan(const LentPlace& place) override;
  Task<Status> Shutdown() override;
  [[nodiscard]] const ServerCounters& Counters() const noexcept override { return counters_; }

  // For ServerPeer.
  [[nodiscard]] const ServerOptions& options() const noexcept { return options_; }
  [[nodiscard]] ServerCounters& counters() noexcept { return counters_; }
  [[nodiscard]] Scheduler& scheduler() noexcept { return reactor_.scheduler(); }
  [[nodiscard]] SocketPoll& poll() noexcept { return *poll_; }
  [[nodiscard]] RingHub& rings() noexcept { return *rings_; }
  [[nodiscard]] RequestHandler& handler() noexcept { return handler_; }
  [[nodiscard]] Random& random() noexcept { return random_; }
  [[nodiscard]] RdmaWorker& rdma() noexcept { return rdma_; }
  /// Null: the daemon has no GPU.
  [[nodiscard]] DeviceRegions* devices() noexcept { return devices_; }
  /// Tasks that keep the peers that they are of; joined by Shutdown.
  [[nodiscard]] TaskScope& background() noexcept { return background_; }
  /// What data connections share.
  [[nodiscard]] DataStream::Shared data() noexcept { return {*poll_, scheduler(), shelf_}; }
  [[nodiscard]] const std::vector<Shard>& shards() const noexcept { return shards_; }
  [[nodiscard]] std::uint16_t own_index() const noexcept { return own_index_; }
  [[nodiscard]] std::uint64_t daemon_incarnation() const noexcept { return daemon_incarnation_; }
  [[nodiscard]] std::size_t connected() const noexcept { return connected_; }
  void NoteConnected() { ++connected_; }
  /// A token by which the data connection of `peer` will name it.
  std::uint64_t MakeToken(ServerPeer& peer);
  /// Null when no connected peer has it.
  [[nodiscard]] std::shared_ptr<ServerPeer> WithToken(std::uint64_t token);
  void Forget(ServerPeer& peer, bool was_connected);

 private:
  class Listener;
  /// False: nothing more can be accepted for now, for want of descriptors or memory.
  bool Accept(int fd, bool local);
  void Sweep();
  void CloseAll(const Status& reason);

  Reactor& reactor_;
  const ServerOptions options_;
  RequestHandler& handler_;
  Random& random_;
  ServerCounters counters_;
  std::uint16_t port_ = 0;
  std::vector<Shard> shards_;
  std::uint16_t own_index_ = 0;
  std::uint64_t daemon_incarnation_ = 0;

  // In this order: what is below uses what is above, and goes first.
  TaskScope background_;
  DeviceRegions* devices_ = nullptr;
  std::unique_ptr<SocketPoll> poll_;
  std::unique_ptr<RingHub> rings_;
  RdmaWorker rdma_;
  PayloadShelf shelf_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::uint64_t next_id_ = 1;
  std::size_t connected_ = 0;
  std::map<std::uint64_t, std::shared_ptr<ServerPeer>> peers_;  // not kGone
  std::vector<std::weak_ptr<ServerPeer>> leaving_;              // kGone, transfers running
  std::unordered_map<std::uint64_t, ServerPeer*> by_token_;
  std::optional<Scheduler::TimerId> sweep_timer_;
  Nanos sweep_due_ = 0;
};

}  // namespace terrace
