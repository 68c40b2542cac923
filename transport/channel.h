// Channel: the client's side of the transport, one connection to one reactor of a daemon.
//
// Control messages go out by Send and come in by ChannelHandler::OnMessage. Blocks land in, and are
// taken from, memory that the owner names per request:
//
//   get: Expect(request, destinations) -> Send(Get) -> ... OnMessage(BlocksReply): Arrived(...)
//   put: Offer(request, sources)       -> Send(Put) -> ... OnMessage(BlocksReply)
//
//   H1. Data of a request comes before the request's reply. When the reply says kOk for a block
//       but Arrived says otherwise, the block is kCorrupt.
//   H2. After Withdraw(request) returned kOk nothing touches that request's memory any more.
//       kPending: the daemon may still write or read it (same-host copies); OnQuiet(request) comes
//       when it cannot any more (it confirmed a Cancel, or it died).
//   H3. A channel that has ended calls OnClosed once and nothing after it; everything else on it
//       is then a no-op, and no memory of any request is touched any more.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/device_export.h"
#include "base/device_mapping.h"
#include "base/link.h"
#include "base/reactor.h"
#include "base/result.h"
#include "base/task.h"
#include "transport/piece_memory.h"
#include "transport/shm/lent_memory.h"

namespace terrace {

namespace wire {
struct Loan;
struct Message;
}  // namespace wire

class DaemonProcess;

class ChannelHandler {
 public:
  virtual ~ChannelHandler() = default;
  /// `message` was verified; it is valid during the call.
  virtual void OnMessage(const wire::Message& message) = 0;
  virtual void OnQuiet(std::uint64_t request_id) = 0;
  virtual void OnClosed(const Status& reason) = 0;
};

struct ChannelOptions {
  std::string host = "127.0.0.1";  ///< numeric, or a name (looked up on a thread of its own)
  std::uint16_t port = 7420;
  std::string tenant = "default";
  std::string name = "client";
  std::uint64_t incarnation = 0;           ///< repeated in every message
  bool tcp_only = false;                   ///< LinkChoice::kTcp
  bool verify_same_host = false;           ///< have same-host copies hashed on arrival as well
  std::shared_ptr<DeviceMapper> mapper{};  ///< of memory of GPUs that is lent; null: none is taken
};

struct ShardInfo {
  std::string host;
  std::uint16_t port = 0;
};

/// What HelloReply said.
struct ChannelHello {
  std::uint16_t version = 0;
  std::uint64_t daemon_incarnation = 0;
  LinkKind link = LinkKind::kNone;
  std::uint16_t shard_index = 0;
  std::vector<ShardInfo> shards;
  Nanos heartbeat = 0;
  Nanos heartbeat_idle = 0;
  std::string server;
};

/// Memory that the daemon may read and write.
struct ClientMemory {
  std::span<std::byte> bytes;
  /// The sealed memfd whose first bytes these are, for a daemon of this host to map; or null.
  std::shared_ptr<const UniqueFd> file;
  /// `bytes` is memory of a GPU, which this process does not touch itself; null: it is its own.
  std::shared_ptr<const DeviceExport> device{};
};

class Channel {
 public:
  virtual ~Channel() = default;  ///< closes by force; see H3

  [[nodiscard]] virtual const ChannelHello& hello() const noexcept = 0;
  [[nodiscard]] virtual bool Alive() const noexcept = 0;

  /// Sends a control message (built by transport/codec.h). Dropped when the channel has ended.
  virtual void Send(std::vector<std::byte> message) = 0;

  /// Tells the daemon of a region. Requests may name it in messages sent later. Of memory of a GPU
  /// nothing is told: a RegisterDevice of the owner's is, and its answer waited for.
  virtual void AddRegion(std::uint32_t region, ClientMemory memory) = 0;
  virtual void RemoveRegion(std::uint32_t region) = 0;

  virtual void Expect(std::uint64_t request_id, PieceMemory destinations) = 0;
  virtual void Offer(std::uint64_t request_id, PieceMemory sources) = 0;
  /// kOk when block `index` arrived whole and its checksums matched (or need not be checked:
  /// same-host copies); kCorrupt or kMiss otherwise.
  [[nodiscard]] virtual StatusCode Arrived(std::uint64_t request_id, std::uint32_t index) const = 0;
  /// Ends a request's use of its memory; see H2. Must be called for every Expect and Offer.
  virtual StatusCode Withdraw(std::uint64_t request_id) = 0;

  /// The memory that a BlocksReply lends; to be taken once, else the daemon keeps the frame until
  /// the lease is too old. Null when the loan makes no sense.
  [[nodiscard]] virtual std::unique_ptr<LentMemory> TakeLoan(const wire::Loan& loan) = 0;

  /// The process of the daemon, over shm. kUnsupported: it cannot be watched, or is elsewhere; then
  /// it must be given no memory of a GPU, as nobody would know when it has stopped to use it.
  [[nodiscard]] virtual Result<std::shared_ptr<const DaemonProcess>> Daemon() = 0;

  virtual void Close() = 0;
};

/// What all channels of one client share: sockets, rings, and the NIC if there is one.
/// Created on, and owned by, one reactor.
class ChannelFactory {
 public:
  static Result<std::unique_ptr<ChannelFactory>> Create(Reactor& reactor);
  virtual ~ChannelFactory() = default;
  /// Connects and says Hello. kPeerDead when nobody answers by `deadline`; kIncompatible, kRetry
  /// or kInvalid as the daemon's ErrorReply said. `handler` outlives the channel.
  virtual Task<Result<std::unique_ptr<Channel>>> Connect(ChannelOptions options,
                                                         ChannelHandler& handler,
                                                         Nanos deadline) = 0;
};

}  // namespace terrace
