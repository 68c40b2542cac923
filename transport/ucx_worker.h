// UcxWorker: one UCX context with one worker, used by one thread at a time, as a Poller of the
// reactor.
//
//   U1. UCX's callbacks only record: an active message is copied to its destination (AmReceiver),
//       everything else is noted and told from Poll, after ucp_worker_progress returned. So nothing
//       is ever sent, closed or resumed inside UCX, and sends of one endpoint keep their order.
//   U2. Every Send ends with exactly one OnSent, from Poll, when UCX no longer touches the bytes:
//       after success, after failure, and after the endpoint was closed.
//   U3. What the user's environment says about UCX (UCX_*) cannot break this: every setting that
//       matters is set after the environment was read.
//   U4. A worker that accepts peers over TCP never asks for UCP_FEATURE_RMA: UCX's emulated RMA
//       obeys any address that a peer names (docs/protocol.md, security).
//
// Thread: the reactor's.
#pragma once

#include <ucp/api/ucp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/reactor.h"
#include "base/result.h"
#include "base/status.h"
#include "transport/socket.h"

namespace terrace {

class UcxWorker;

/// One operation given to UCX. Derive, allocate, and hand to an endpoint; OnSent may delete it.
class UcxOperation {
 public:
  virtual void OnSent(Status status) = 0;

 protected:
  UcxOperation() = default;
  ~UcxOperation() = default;

 private:
  friend class UcxWorker;
  friend class UcxEndpoint;
  UcxWorker* worker_ = nullptr;
  ucs_status_t outcome_ = UCS_OK;
};

/// Receives active messages, inside ucp_worker_progress: copy what is needed and note the rest.
class AmReceiver {
 public:
  /// `from`: the endpoint it came by, when the sender asked for replies; else null.
  virtual void OnActiveMessage(unsigned id, std::span<const std::byte> header,
                               std::span<const std::byte> data, ucp_ep_h from) = 0;

 protected:
  ~AmReceiver() = default;
};

class UcxEndpointOwner {
 public:
  /// UCX gave the endpoint up; comes once, from Poll. The endpoint may be destroyed in here.
  virtual void OnEndpointFailed(const Status& reason) = 0;

 protected:
  ~UcxEndpointOwner() = default;
};

/// A connection to another worker. Destroying it closes by force: sends in flight end soon, with
/// their OnSent, and never later than the worker.
class UcxEndpoint {
 public:
  ~UcxEndpoint();
  UcxEndpoint(const UcxEndpoint&) = delete;
  UcxEndpoint& operator=(const UcxEndpoint&) = delete;

  /// Sends an active message eagerly; `header` and `data` stay until OnSent.
  /// `name_sender`: the receiver learns which endpoint it came by.
  void SendAm(unsigned id, std::span<const std::byte> header, std::span<const std::byte> data,
              UcxOperation& operation, bool name_sender = false);
  /// Remote memory access, on workers made with it. `key` as from UnpackKey.
  void Put(std::span<const std::byte> source, std::uint64_t remote, ucp_rkey_h key,
           UcxOperation& operation);
  void Get(std::span<std::byte> destination, std::uint64_t remote, ucp_rkey_h key,
           UcxOperation& operation);
  /// OnSent when everything before it has reached the other side's memory.
  void Flush(UcxOperation& operation);
  /// The caller destroys the key with ucp_rkey_destroy. kInvalid when it does not fit this
  /// endpoint.
  Result<ucp_rkey_h> UnpackKey(std::span<const std::byte> packed);
  [[nodiscard]] UcxWorker& worker() noexcept { return worker_; }

 private:
  friend class UcxWorker;
  UcxEndpoint(UcxWorker& worker, ucp_ep_h endpoint, std::uint64_t id)
      : worker_(worker), endpoint_(endpoint), id_(id) {}
  UcxWorker& worker_;
  ucp_ep_h endpoint_;
  std::uint64_t id_;
};

struct UcxWorkerOptions {
  std::string name;                ///< for messages, e.g. "tcp lo"
  std::string transports = "tcp";  ///< UCX_TLS
  std::string devices = "all";     ///< UCX_NET_DEVICES
  bool rma = false;                ///< see U4
  bool shared = false;             ///< of a reactor that several threads run, one after the other
};

class UcxWorker final : public Poller {
 public:
  /// kUnsupported when UCX has none of `transports` here, kInternal with UCX's words otherwise.
  static Result<std::unique_ptr<UcxWorker>> Create(const UcxWorkerOptions& options);
  /// Finishes what is in flight, for at most 2 s. REQUIRES: every endpoint was destroyed.
  ~UcxWorker() override;
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  /// Messages with `id` (below kAmIds) go to `receiver`; null: they are dropped.
  void SetReceiver(unsigned id, AmReceiver* receiver);
  static constexpr unsigned kAmIds = 4;
  /// Stands for all ids from kAmIds on, which only peers that were accepted can send.
  static constexpr unsigned kOtherAmIds = kAmIds;

  /// What another worker connects to.
  [[nodiscard]] std::span<const std::byte> address() const noexcept { return address_; }
  /// Accepts endpoints on a port of `address` that the system picks; returns the port. Callers of
  /// one address share it until each has called StopListening; CloseIdleListeners then closes it,
  /// at the second of two calls that find nothing half accepted (transport/accepted_sockets.h).
  /// Kept open for as short as that because UCX 1.13.1 aborts the process when a stranger sends a
  /// listener more bytes than the length in front of them says.
  Result<std::uint16_t> Listen(const SocketAddress& address);
  void StopListening(std::uint16_t port);
  void CloseIdleListeners();
  /// Connects to a listening worker; returns at once, failure comes to `owner`, which outlives the
  /// endpoint.
  Result<std::unique_ptr<UcxEndpoint>> ConnectTo(const SocketAddress& address,
                                                 UcxEndpointOwner& owner);
  /// Takes over the accepted endpoint by which a message came (AmReceiver). Null when it has
  /// failed meanwhile, or is taken. Endpoints that nobody claims within kClaimPatience are closed.
  std::unique_ptr<UcxEndpoint> Claim(ucp_ep_h accepted, UcxEndpointOwner& owner);
  static constexpr Nanos kClaimPatience = 5 * kSecond;
  static constexpr std::size_t kUnclaimedMax = 256;

  /// Connects to another worker's address; returns at once, failure comes to `owner`, which
  /// outlives the endpoint. kInvalid for bytes that are no address.
  Result<std::unique_ptr<UcxEndpoint>> Connect(std::span<const std::byte> address,
                                               UcxEndpointOwner& owner);
  /// Operations that UCX has not ended yet.
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_ + done_.size(); }

  /// Makes `memory` known to the NIC and packs its key. Only with options.rma.
  struct Registration {
    ucp_mem_h memory = nullptr;
    std::vector<std::byte> packed_key;
  };
  Result<Registration> Register(std::span<std::byte> memory);
  void Unregister(ucp_mem_h memory);

  unsigned Poll() override;
  [[nodiscard]] int Fd() const noexcept override { return fd_; }
  bool Arm() override;
  [[nodiscard]] bool Expecting() const noexcept override { return in_flight_ + awaited_ > 0; }

  /// Counts a request whose bytes are to come over this worker, until it is dropped.
  class Awaited {
   public:
    Awaited() noexcept = default;
    explicit Awaited(UcxWorker* worker) noexcept : worker_(worker) {
      if (worker_ != nullptr) ++worker_->awaited_;
    }
    Awaited(Awaited&& other) noexcept : worker_(std::exchange(other.worker_, nullptr)) {}
    Awaited& operator=(Awaited&& other) noexcept {
      std::swap(worker_, other.worker_);
      return *this;
    }
    Awaited(const Awaited&) = delete;
    Awaited& operator=(const Awaited&) = delete;
    ~Awaited() {
      if (worker_ != nullptr) --worker_->awaited_;
    }

   private:
    UcxWorker* worker_ = nullptr;
  };

 private:
  friend class UcxEndpoint;
  struct ReceiverSlot {
    UcxWorker* worker = nullptr;
    unsigned id = 0;
    AmReceiver* receiver = nullptr;
  };
  struct Listener;
  UcxWorker() = default;
  Status Init(const UcxWorkerOptions& options);
  Status InitWorker(bool shared);
  ucs_status_t Handle(unsigned id, ReceiverSlot& slot);
  ucs_status_t HandleOtherIds();
  void Settle();
  Result<std::unique_ptr<UcxEndpoint>> MakeEndpoint(ucp_ep_params_t params,
                                                    UcxEndpointOwner* owner);
  void AcceptRequests();
  void Close(Listener& listener);
  void CloseAllListeners();
  void Track(ucs_status_ptr_t request, UcxOperation& operation);
  ucp_request_param_t RequestParam(UcxOperation& operation);
  void CloseEndpoint(ucp_ep_h endpoint, std::uint64_t id);
  unsigned Deliver();

  static ucs_status_t OnAm(void* slot, const void* header, std::size_t header_bytes, void* data,
                           std::size_t bytes, const ucp_am_recv_param_t* param);
  static void OnRequest(void* request, ucs_status_t status, void* operation);
  static void OnClosed(void* request, ucs_status_t status, void* worker);
  static void OnConnectionRequest(ucp_conn_request_h request, void* listener);
  static void OnError(void* worker, ucp_ep_h endpoint, ucs_status_t status);

  std::string name_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int fd_ = -1;
  std::vector<std::byte> address_;
  std::array<ReceiverSlot, kAmIds + 1> receivers_;
  bool handles_other_ids_ = false;
  std::uint64_t next_id_ = 1;
  std::unordered_map<ucp_ep_h, std::pair<std::uint64_t, UcxEndpointOwner*>> endpoints_;
  struct Listener {
    UcxWorker* worker = nullptr;
    SocketAddress address;  // with port 0
    ucp_listener_h listener = nullptr;
    std::uint16_t port = 0;
    std::size_t users = 0;
    std::set<std::string> heard;  // addresses whose connection requests have come
    bool quiet = false;           // no user, and nothing half accepted when last looked
  };
  struct Request {
    Listener* listener = nullptr;
    ucp_conn_request_h request = nullptr;
  };
  struct Unclaimed {
    std::unique_ptr<UcxEndpoint> endpoint;
    Nanos since = 0;
  };
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<Request> requests_;  // not accepted yet
  std::unordered_map<ucp_ep_h, Unclaimed> unclaimed_;
  SteadyClock clock_;                                           // of kClaimPatience alone
  std::vector<UcxOperation*> done_;                             // waiting for Deliver
  std::vector<std::pair<std::uint64_t, ucs_status_t>> failed_;  // endpoint ids
  std::size_t in_flight_ = 0;                                   // operations inside UCX
  std::size_t awaited_ = 0;                                     // Awaited that live
  std::size_t closing_ = 0;                                     // endpoint closes inside UCX
};

/// "Connection reset by remote peer" and the like, as a Status with the reaction it asks for.
Status StatusOfUcx(ucs_status_t status, const std::string& what);

}  // namespace terrace
