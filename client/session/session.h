// Session: the connections to every reactor of one incarnation of a daemon.
//
// Open connects to the address, reads from HelloReply where the other reactors listen, connects to
// those, registers the regions and opens the namespaces again; only then callers see the session.
// One timer sends heartbeats: often while something waits, a ping's answer among it, rarely when
// idle. A session is lost as a whole: when one connection ends, or kMissesMax heartbeats were not
// answered. So silence is found after at most heartbeat_idle + kMissesMax x heartbeat.
//
// Thread: the library's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/task.h"
#include "base/wait.h"
#include "client/regions/region_table.h"
#include "client/request/namespace_table.h"
#include "client/session/address.h"
#include "client/session/request_builder.h"
#include "client/session/request_flow.h"
#include "client/session/shard_connection.h"

namespace terrace {

/// Heartbeats without any sign of life after which the daemon counts as dead.
inline constexpr std::uint32_t kMissesMax = 3;

class Session {
 public:
  struct Shared {
    ChannelFactory& factory;
    Scheduler& scheduler;
    RequestFlow& flow;
    RegionTable& regions;
    NamespaceTable& namespaces;
    std::atomic<std::uint64_t>& ids;
    const ChannelOptions& channel;  ///< of the first connection; the others differ in host and port
  };
  /// Everything in `shared` outlives the session. `epoch` is not 0 and not used before.
  Session(const Shared& shared, std::uint64_t epoch) : shared_(shared), epoch_(epoch) {}
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Everything above; once. kPeerDead when a reactor does not answer by `deadline`; kRetry when
  /// the daemon changed in between; kIncompatible and others as the daemon said. After a failure
  /// the session is of no use but to be destroyed.
  Task<Status> Open(Nanos deadline);

  [[nodiscard]] std::uint64_t epoch() const noexcept { return epoch_; }
  [[nodiscard]] SessionView View() const noexcept;
  [[nodiscard]] std::uint32_t shards() const noexcept {
    return static_cast<std::uint32_t>(connections_.size());
  }
  [[nodiscard]] LinkKind link() const { return connections_.front()->hello().link; }

  /// Sends a request, or refuses it when the session is lost already.
  void Start(const RequestRef& request);
  /// Sends a message that nobody waits for the answer of.
  void Post(std::uint32_t shard, std::vector<std::byte> message);
  /// Also while Open is under way.
  void AddRegion(std::uint32_t region, ClientMemory memory);
  void RemoveRegion(std::uint32_t region);

  /// Set when the session is lost, or interrupted.
  Event ended;
  /// Ends every part with `status` and sets `ended`; also while Open is under way, which then ends
  /// soon (not before a connection that is being made answers or gives up).
  void Interrupt(const Status& status);
  [[nodiscard]] Status EndReason() const;

  /// Stops heartbeats, ends every part with `status`, and hands over the connections that still
  /// have parts whose memory is not quiet. The others are closed.
  std::vector<std::unique_ptr<ShardConnection>> End(const Status& status);

 private:
  Task<Status> ConnectOthers(Nanos deadline);
  Task<Status> OpenNamespaces(Nanos deadline);
  /// Those of GPUs are answered, and waited for; the others are told.
  Task<Status> RegisterRegions(Nanos deadline);
  /// At most kDevicesAtOnce regions of GPUs. kPeerDead: the connection is gone.
  Task<Status> RegisterDevices(std::span<const RegionTable::Region> regions, Nanos deadline);
  /// The daemon is about to be told of memory of a GPU, or to forget it. kUnsupported: it must not
  /// be, or its answer would say nothing.
  Status NoteDaemonOf(std::uint32_t region, bool forget);
  [[nodiscard]] bool Lost() const noexcept;
  void ScheduleHeartbeat(Nanos interval);
  void Heartbeat();
  [[nodiscard]] bool Waits() const noexcept;

  /// A daemon maps one after the other, and takes 64 requests of a client meanwhile.
  static constexpr std::size_t kDevicesAtOnce = 32;
  /// For so many, and for the namespaces: a daemon that answered until now is not given up for a
  /// driver that needs longer than an attempt to connect may take. Less than the silence after
  /// which a daemon closes the connection (2.5 s).
  static constexpr Nanos kMapWithin = 2 * kSecond;
  static constexpr Nanos kOpenWithin = 800 * kMillisecond;

  const Shared shared_;
  const std::uint64_t epoch_;
  std::vector<std::unique_ptr<ShardConnection>> connections_;  // by shard
  std::shared_ptr<const DaemonProcess> daemon_;  // once it was told of memory of a GPU
  std::optional<Scheduler::TimerId> timer_;
  Nanos next_heartbeat_ = 0;
  bool connected_ = false;   // to every reactor
  bool silent_ = false;      // heartbeats were missed
  bool looks_back_ = false;  // the timer looks for answers before it sends pings
};

}  // namespace terrace
