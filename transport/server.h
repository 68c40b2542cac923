// Server: the daemon's side of the transport, one per reactor.
//
// Listens for clients, answers Hello, RegisterRegion, ForgetRegion, Ping and Cancel itself, picks
// each client's Link and hands every other request to a RequestHandler. A peer that sends what does
// not verify is told why when it can be, and dropped; everyone else goes on.
//
//   S1. A request's bytes are verified (flatbuffers verifier, limits of base/limits.h are the
//       handler's) before the handler sees them.
//   S2. A peer that was silent for `peer_timeout` is closed: OnDisconnect is called exactly once
//       per OnConnect, after which the Peer's link answers kPeerDead. The Peer object itself lives
//       until the handler's last PeerRef is gone.
//   S3. Above `peers_max` a newcomer gets an ErrorReply with kRetry.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/device_region.h"
#include "base/link.h"
#include "base/random.h"
#include "base/reactor.h"
#include "base/result.h"
#include "transport/gpu_wire.h"
#include "transport/shm/lease_board.h"

namespace terrace {

namespace wire {
struct Message;
}

/// One connected client, as the handler sees it.
class Peer {
 public:
  virtual ~Peer() = default;
  [[nodiscard]] virtual Link& link() noexcept = 0;
  [[nodiscard]] virtual std::uint64_t id() const noexcept = 0;  ///< unique within the server
  [[nodiscard]] virtual const std::string& tenant() const noexcept = 0;
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  [[nodiscard]] virtual const std::string& address() const noexcept = 0;  ///< HOST:PORT, for logs
};
using PeerRef = std::shared_ptr<Peer>;

class RequestHandler {
 public:
  virtual ~RequestHandler() = default;
  virtual void OnConnect(const PeerRef& peer) = 0;
  /// `message` lies in `bytes`, which the handler owns from here on and must keep while it reads.
  /// `deadline`: on the reactor's clock. The handler answers by peer->link().Send with the same
  /// request id.
  virtual void OnRequest(const PeerRef& peer, std::vector<std::byte> bytes,
                         const wire::Message& message, Nanos deadline) = 0;
  /// A Cancel for a request of this peer came: stop it soon. The server answers CancelReply once
  /// the link moves nothing for that request any more.
  virtual void OnCancel(const PeerRef& peer, std::uint64_t request_id) = 0;
  virtual void OnDisconnect(const PeerRef& peer, const Status& reason) = 0;
};

struct ServerOptions {
  std::string host = "127.0.0.1";  ///< numeric address to listen on
  std::uint16_t port = 0;          ///< 0: the system picks
  std::uint32_t peers_max = 1024;
  Nanos heartbeat = 500 * kMillisecond;  ///< told to clients that wait for something
  Nanos heartbeat_idle = kSecond;        ///< told to clients that wait for nothing
  /// Silence after which a peer is closed; looked at 8 times in that long.
  Nanos peer_timeout = 2500 * kMillisecond;
  std::uint64_t regions_per_peer_max = 4096;
  bool same_host = true;  ///< offer the shared-memory link to clients of this host
  /// Bytes of frames that all clients together may hold lent; 0: nothing is lent.
  std::uint64_t lent_bytes_max = 0;
  std::uint64_t lent_device_bytes_max = 0;  ///< the same of frames in the memory of GPUs
  bool rdma = true;                         ///< offer verbs when there is a NIC
  std::string server_text = "terraced";
  /// Patience of Shutdown with transfers that do not end.
  Nanos shutdown_wait = 2 * kSecond;
};

struct ServerCounters {
  std::atomic<std::uint64_t> connects{0}, disconnects{0}, refused{0};
  std::atomic<std::uint64_t> malformed{0};  ///< messages that did not verify
  std::atomic<std::uint64_t> peers_timed_out{0};
  std::atomic<std::uint64_t> peers{0};  ///< connected now
  std::atomic<std::uint64_t> peers_tcp{0}, peers_shm{0}, peers_rdma{0};
  std::atomic<std::uint64_t> bytes_pushed{0}, bytes_pulled{0};
  std::atomic<std::uint64_t> bytes_of_devices{0};  ///< of both: from or to memory of clients' GPUs
  std::atomic<std::uint64_t> bytes_straight{0};    ///< of pushes: read by a NIC from a GPU's memory
  std::atomic<std::uint64_t> regions_of_devices{0};  ///< regions of GPUs mapped, ever
  std::atomic<std::uint64_t> regions_shared{0};      ///< regions of clients mapped, ever
  std::atomic<std::uint64_t> quarantined{0};         ///< holds waiting for their transport now
  LeaseCounters leases;                              ///< of memory of the host
  LeaseCounters device_leases;                       ///< of memory of GPUs
};

class Server {
 public:
  /// Listens. kInvalid for an address that is not numeric, kIo (with the cause) when it is taken.
  /// `reactor`, `handler` and `random` outlive the server; the reactor does not run yet.
  static Result<std::unique_ptr<Server>> Create(Reactor& reactor, const ServerOptions& options,
                                                RequestHandler& handler, Random& random);
  virtual ~Server() = default;

  /// The port that is listened on.
  [[nodiscard]] virtual std::uint16_t port() const noexcept = 0;
  /// What HelloReply tells clients; called once on every server before the reactors run.
  struct Shard {
    std::string host;
    std::uint16_t port = 0;
  };
  virtual void SetShards(std::vector<Shard> shards, std::uint16_t own_index,
                         std::uint64_t daemon_incarnation) = 0;
  /// Clients may register memory of these GPUs from now on; they outlive the server's Shutdown.
  /// Before the reactor runs.
  virtual void AttachDevices(DeviceRegions& devices) = 0;
  /// Blocks that lie in these GPUs' memory may be read there by a NIC from now on, for clients over
  /// RDMA; says whether they will. The memory outlives the server. Once, before the reactor runs.
  virtual GpuWire AttachPools(std::span<const DevicePool> pools) = 0;
  /// Clients that were shown an extent are to let go of it (FrameArena::OnExtentWanted).
  virtual void RecallExtent(std::uint32_t extent, std::uint32_t edition) = 0;
  /// What is lent of the extents [first, last], or at `place` alone, is of no use any more: the
  /// leases end.
  virtual void EndLoans(std::uint32_t first, std::uint32_t last) = 0;
  virtual void EndLoan(const LentPlace& place) = 0;
  /// Closes listener and peers; ends when every Hold given to a link was released. kIo after
  /// ServerOptions::shutdown_wait: a GPU or a NIC still touches frames and memory of clients, which
  /// stay where they are, as must the server, until the process ends.
  virtual Task<Status> Shutdown() = 0;
  [[nodiscard]] virtual const ServerCounters& Counters() const noexcept = 0;
};

/// Which reactor (and later node) owns a run: index below `shards`. XXH3-64 of the placement key
/// with the namespace id as seed, scaled to [0, shards) by multiplication. Both sides use it.
std::uint32_t ShardOf(std::uint32_t namespace_id, std::span<const std::byte> placement,
                      std::uint32_t shards) noexcept;

}  // namespace terrace
