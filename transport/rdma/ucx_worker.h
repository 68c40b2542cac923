// UcxWorker: one UCX context with one worker for remote memory access, used by one thread at a
// time, as a Poller of the reactor.
//
//   U1. UCX's callbacks only record; everything is told from Poll, after ucp_worker_progress
//       returned. So nothing is ever started, closed or resumed inside UCX.
//   U2. Every operation ends with exactly one OnDone, from Poll, when UCX no longer touches the
//       bytes: after success, after failure, and after the endpoint was closed.
//   U3. What the user's environment says about UCX (UCX_*) cannot break this: every setting that
//       matters is set after the environment was read.
//   U4. No UCX transport of production obeys a stranger: verbs check a key. UCX over TCP does not
//       (docs/protocol.md, security), and only tests use it (rdma_transports.h).
//
// Thread: the reactor's.
#pragma once

#include <ucp/api/ucp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/device_region.h"
#include "base/reactor.h"
#include "base/result.h"
#include "base/status.h"

namespace terrace {

class UcxWorker;

/// One operation given to UCX. Derive, allocate, and hand to an endpoint; OnDone may delete it.
class UcxOperation {
 public:
  virtual void OnDone(Status status) = 0;

 protected:
  UcxOperation() = default;
  ~UcxOperation() = default;

 private:
  friend class UcxWorker;
  friend class UcxEndpoint;
  UcxWorker* worker_ = nullptr;
  ucs_status_t outcome_ = UCS_OK;
};

class UcxEndpointOwner {
 public:
  /// UCX gave the endpoint up; comes once, from Poll. The endpoint may be destroyed in here.
  virtual void OnEndpointFailed(const Status& reason) = 0;

 protected:
  ~UcxEndpointOwner() = default;
};

/// Memory that was registered, which operations then need not look up.
struct UcxMemory {
  std::span<std::byte> bytes;
  DeviceMemoryKind kind = DeviceMemoryKind::kHost;
  ucp_mem_h handle = nullptr;
};

/// A connection to another worker. Destroying it closes by force: operations in flight end soon,
/// with their OnDone, and never later than the worker.
class UcxEndpoint {
 public:
  ~UcxEndpoint();
  UcxEndpoint(const UcxEndpoint&) = delete;
  UcxEndpoint& operator=(const UcxEndpoint&) = delete;

  /// `source` and `destination` stay until OnDone. `key` as from UnpackKey. `of`: what the source
  /// is a part of, which stays as long; null: memory of the host that was not registered.
  void Put(std::span<const std::byte> source, const UcxMemory* of, std::uint64_t remote,
           ucp_rkey_h key, UcxOperation& operation);
  void Get(std::span<std::byte> destination, std::uint64_t remote, ucp_rkey_h key,
           UcxOperation& operation);
  /// OnDone when everything before it has reached the other side's memory.
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
  std::string name;             ///< for messages, e.g. "rdma"
  std::string transports;       ///< UCX_TLS
  std::string devices = "all";  ///< UCX_NET_DEVICES
  bool shared = false;          ///< several threads use it, one after the other
  bool cuda = false;            ///< memory of GPUs moves, too. REQUIRES: FindUcxCuda is kUsable
};

class UcxWorker final : public Poller {
 public:
  /// kUnsupported when UCX has none of `transports` here, kInternal with UCX's words otherwise.
  static Result<std::unique_ptr<UcxWorker>> Create(const UcxWorkerOptions& options);
  /// Settles. REQUIRES: every endpoint was destroyed.
  ~UcxWorker() override;
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  /// Finishes what is in flight, for at most 2 s: what it uses may go then.
  void Settle();
  /// What another worker connects to.
  [[nodiscard]] std::span<const std::byte> address() const noexcept { return address_; }
  /// Connects to another worker's address; returns at once, failure comes to `owner`, which
  /// outlives the endpoint. kInvalid for bytes that are no address.
  Result<std::unique_ptr<UcxEndpoint>> Connect(std::span<const std::byte> address,
                                               UcxEndpointOwner& owner);
  /// Operations that UCX has not ended yet.
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_ + done_.size(); }

  /// Makes `memory` known to the NIC and packs its key. `kind`: kCuda only of a worker made for it.
  /// kUnsupported: the NIC cannot reach memory of that kind.
  struct Registration {
    ucp_mem_h memory = nullptr;
    std::vector<std::byte> packed_key;
  };
  Result<Registration> Register(std::span<std::byte> memory,
                                DeviceMemoryKind kind = DeviceMemoryKind::kHost);
  void Unregister(ucp_mem_h memory);

  unsigned Poll() override;
  [[nodiscard]] int Fd() const noexcept override { return fd_; }
  bool Arm() override;
  [[nodiscard]] bool Expecting() const noexcept override { return in_flight_ > 0; }

 private:
  friend class UcxEndpoint;
  UcxWorker() = default;
  Status Init(const UcxWorkerOptions& options);
  Status InitWorker(bool shared);
  Result<Registration> Map(std::span<std::byte> memory, DeviceMemoryKind kind);
  Result<std::unique_ptr<UcxEndpoint>> MakeEndpoint(ucp_ep_params_t params,
                                                    UcxEndpointOwner& owner);
  void Track(ucs_status_ptr_t request, UcxOperation& operation);
  ucp_request_param_t RequestParam(UcxOperation& operation);
  void CloseEndpoint(ucp_ep_h endpoint, std::uint64_t id);
  unsigned Deliver();

  static void OnRequest(void* request, ucs_status_t status, void* operation);
  static void OnClosed(void* request, ucs_status_t status, void* worker);
  static void OnError(void* worker, ucp_ep_h endpoint, ucs_status_t status);

  std::string name_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int fd_ = -1;
  std::vector<std::byte> address_;
  std::uint64_t next_id_ = 1;
  std::unordered_map<ucp_ep_h, std::pair<std::uint64_t, UcxEndpointOwner*>> endpoints_;
  std::vector<UcxOperation*> done_;                             // waiting for Deliver
  std::vector<std::pair<std::uint64_t, ucs_status_t>> failed_;  // endpoint ids
  std::size_t in_flight_ = 0;                                   // operations inside UCX
  std::size_t closing_ = 0;                                     // endpoint closes inside UCX
};

/// "Connection reset by remote peer" and the like, as a Status with the reaction it asks for.
Status StatusOfUcx(ucs_status_t status, const std::string& what);

}  // namespace terrace
