#include "transport/ucx_worker.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/signals_blocked.h"
#include "transport/accepted_sockets.h"

namespace terrace {
namespace {

constexpr int kProgressPerPoll = 64;
constexpr Nanos kFlushAtEnd = 200 * kMillisecond;

struct Setting {
  const char* name;
  const char* value;
};

// Set after the environment was read (U3). Names without UCX_.
constexpr Setting kSettings[] = {
    // The default 8 KiB is 2 to 6 times slower. A data message of 1 MiB with its header fits.
    {"TX_SEG_SIZE", "1064960"},
    {"RX_SEG_SIZE", "1064960"},
    // A host that vanished is found after 2 + 3 x 1 s of silence.
    {"KEEPIDLE", "2s"},
    {"KEEPINTVL", "1s"},
    {"KEEPCNT", "3"},
    // Or a connect to a dead host would block the reactor.
    {"CONN_NB", "y"},
    {"NODELAY", "y"},
    {"PUT_ENABLE", "n"},
    {"MAX_NUM_EPS", "inf"},
    // Every message goes eagerly: data is received straight out of the hot segment.
    {"RNDV_THRESH", "inf"},
    {"ZCOPY_THRESH", "16k"},
    {"SOCKADDR_TLS_PRIORITY", "tcp"},
    {"MAX_EAGER_RAILS", "1"},
    {"PROTO_ENABLE", "n"},
    {"ADDRESS_VERSION", "v1"},
    {"UNIFIED_MODE", "n"},
    // UCX's own keepalive costs a message per endpoint; TCP's does the same in the kernel.
    {"KEEPALIVE_INTERVAL", "3600s"},
};

}  // namespace

Status StatusOfUcx(ucs_status_t status, const std::string& what) {
  if (status == UCS_OK) return {};
  StatusCode code = StatusCode::kPeerDead;
  switch (status) {
    case UCS_ERR_NO_DEVICE:
    case UCS_ERR_UNSUPPORTED:
    case UCS_ERR_NOT_IMPLEMENTED: code = StatusCode::kUnsupported; break;
    case UCS_ERR_INVALID_ADDR:
    case UCS_ERR_INVALID_PARAM: code = StatusCode::kInvalid; break;
    case UCS_ERR_NO_MEMORY:
    case UCS_ERR_EXCEEDS_LIMIT: code = StatusCode::kRetry; break;
    default: break;
  }
  return {code, what + ": " + ucs_status_string(status)};
}

Result<std::unique_ptr<UcxWorker>> UcxWorker::Create(const UcxWorkerOptions& options) {
  std::unique_ptr<UcxWorker> worker(new UcxWorker);
  const SignalsBlocked blocked;  // UCX starts a thread, maybe inside a call of an engine
  if (Status status = worker->Init(options); !status.ok()) return status;
  return worker;
}

Status UcxWorker::Init(const UcxWorkerOptions& options) {
  name_ = options.name;
  ucp_config_t* config = nullptr;
  ucs_status_t status = ucp_config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) return StatusOfUcx(status, "UCX settings");
  Status modified;
  const auto modify = [&](const char* name, const char* value) {
    const ucs_status_t result = ucp_config_modify(config, name, value);
    if (result != UCS_OK && modified.ok()) {
      modified = Status::Internal(std::string("UCX refuses ") + name + "=" + value + ": " +
                                  ucs_status_string(result));
    }
  };
  modify("TLS", options.transports.c_str());
  modify("NET_DEVICES", options.devices.c_str());
  for (const Setting& setting : kSettings) modify(setting.name, setting.value);
  if (!modified.ok()) {
    ucp_config_release(config);
    return modified;
  }

  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  if (options.rma) params.features |= UCP_FEATURE_RMA;
  params.mt_workers_shared = 0;
  status = ucp_init(&params, config, &context_);
  ucp_config_release(config);
  if (status != UCS_OK) {
    context_ = nullptr;
    return StatusOfUcx(status, "UCX context (" + name_ + ")");
  }
  return InitWorker(options.shared);
}

Status UcxWorker::InitWorker(bool shared) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = shared ? UCS_THREAD_MODE_SERIALIZED : UCS_THREAD_MODE_SINGLE;
  ucs_status_t status = ucp_worker_create(context_, &params, &worker_);
  if (status != UCS_OK) {
    worker_ = nullptr;
    return StatusOfUcx(status, "UCX worker (" + name_ + ")");
  }
  status = ucp_worker_get_efd(worker_, &fd_);
  if (status != UCS_OK) return StatusOfUcx(status, "UCX wake-up descriptor (" + name_ + ")");

  ucp_address_t* address = nullptr;
  std::size_t length = 0;
  status = ucp_worker_get_address(worker_, &address, &length);
  if (status != UCS_OK) return StatusOfUcx(status, "UCX address (" + name_ + ")");
  const auto* bytes = reinterpret_cast<const std::byte*>(address);
  address_.assign(bytes, bytes + length);
  ucp_worker_release_address(worker_, address);

  for (unsigned id = 0; id <= kOtherAmIds; ++id) {
    receivers_[id] = ReceiverSlot{this, id, nullptr};
    status = Handle(id, receivers_[id]);
    if (status != UCS_OK) return StatusOfUcx(status, "UCX message handler (" + name_ + ")");
  }
  return {};
}

ucs_status_t UcxWorker::Handle(unsigned id, ReceiverSlot& slot) {
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG | UCP_AM_HANDLER_PARAM_FIELD_FLAGS;
  handler.id = id;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.cb = &UcxWorker::OnAm;
  handler.arg = &slot;
  return ucp_worker_set_am_recv_handler(worker_, &handler);
}

// UCX 1.13.1 looks an id up in its table before it knows that the table is as long as that: a peer
// that names a high one makes it read, and perhaps call, what lies behind. So the table holds every
// id that a message can name (2 MiB).
ucs_status_t UcxWorker::HandleOtherIds() {
  if (handles_other_ids_) return UCS_OK;
  for (unsigned id = std::numeric_limits<std::uint16_t>::max(); id > kOtherAmIds; --id) {
    const ucs_status_t status = Handle(id, receivers_[kOtherAmIds]);
    if (status != UCS_OK) return status;
  }
  handles_other_ids_ = true;
  return UCS_OK;
}

UcxWorker::~UcxWorker() {
  CloseAllListeners();
  unclaimed_.clear();
  TERRACE_CHECK(endpoints_.empty());
  if (worker_ != nullptr) {
    Settle();
    ucp_worker_destroy(worker_);
    Deliver();
  }
  if (context_ != nullptr) ucp_cleanup(context_);
}

void UcxWorker::Settle() {
  // Closes by force end within a few turns; the bound is for a UCX that does not keep that.
  const Nanos end = clock_.Now() + 2 * kSecond;
  while ((in_flight_ > 0 || closing_ > 0 || !done_.empty()) && clock_.Now() < end) Poll();
  // UCX 1.13.1 aborts in ucp_worker_destroy when a connection that a peer has begun still waits to
  // be answered: a flush sends those answers.
  ucp_request_param_t param{};
  const ucs_status_ptr_t flush = ucp_worker_flush_nbx(worker_, &param);
  if (!UCS_PTR_IS_PTR(flush)) return;
  const Nanos flush_end = clock_.Now() + kFlushAtEnd;
  while (ucp_request_check_status(flush) == UCS_INPROGRESS && clock_.Now() < flush_end) Poll();
  ucp_request_free(flush);
}

void UcxWorker::SetReceiver(unsigned id, AmReceiver* receiver) {
  TERRACE_CHECK(id <= kOtherAmIds);
  receivers_[id].receiver = receiver;
}

Result<std::unique_ptr<UcxEndpoint>> UcxWorker::MakeEndpoint(ucp_ep_params_t params,
                                                             UcxEndpointOwner* owner) {
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = &UcxWorker::OnError;
  params.err_handler.arg = this;
  ucp_ep_h endpoint = nullptr;
  const ucs_status_t status = ucp_ep_create(worker_, &params, &endpoint);
  if (status != UCS_OK) return StatusOfUcx(status, "UCX endpoint (" + name_ + ")");
  const std::uint64_t id = next_id_++;
  endpoints_[endpoint] = {id, owner};
  return std::unique_ptr<UcxEndpoint>(new UcxEndpoint(*this, endpoint, id));
}

Result<std::unique_ptr<UcxEndpoint>> UcxWorker::Connect(std::span<const std::byte> address,
                                                        UcxEndpointOwner& owner) {
  if (address.empty()) return Status::Invalid("UCX address is empty");
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  return MakeEndpoint(params, &owner);
}

Result<std::unique_ptr<UcxEndpoint>> UcxWorker::ConnectTo(const SocketAddress& address,
                                                          UcxEndpointOwner& owner) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_FLAGS;
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr.addr = address.get();
  params.sockaddr.addrlen = address.length;
  return MakeEndpoint(params, &owner);
}

Result<std::uint16_t> UcxWorker::Listen(const SocketAddress& address) {
  SocketAddress any_port = address;
  any_port.SetPort(0);
  for (const auto& listener : listeners_) {
    if (listener->address.ToString() != any_port.ToString()) continue;
    ++listener->users;
    listener->quiet = false;
    return listener->port;
  }
  if (const ucs_status_t handled = HandleOtherIds(); handled != UCS_OK) {
    return StatusOfUcx(handled, "UCX message handlers (" + name_ + ")");
  }
  auto listener = std::make_unique<Listener>();
  listener->worker = this;
  listener->address = any_port;
  listener->users = 1;
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr.addr = any_port.get();
  params.sockaddr.addrlen = any_port.length;
  params.conn_handler.cb = &UcxWorker::OnConnectionRequest;
  params.conn_handler.arg = listener.get();
  ucs_status_t status = ucp_listener_create(worker_, &params, &listener->listener);
  if (status != UCS_OK) {
    return Status(StatusCode::kIo,
                  "UCX listener on " + address.ToString() + ": " + ucs_status_string(status));
  }
  ucp_listener_attr_t attributes{};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  status = ucp_listener_query(listener->listener, &attributes);
  if (status != UCS_OK) {
    ucp_listener_destroy(listener->listener);
    return StatusOfUcx(status, "UCX listener (" + name_ + ")");
  }
  SocketAddress bound;
  bound.storage = attributes.sockaddr;
  listener->port = bound.port();
  listeners_.push_back(std::move(listener));
  return listeners_.back()->port;
}

void UcxWorker::StopListening(std::uint16_t port) {
  for (const auto& listener : listeners_) {
    if (listener->port == port && listener->users > 0) --listener->users;
  }
}

void UcxWorker::CloseIdleListeners() {
  std::erase_if(listeners_, [this](const auto& listener) {
    if (listener->users > 0) return false;
    // Nobody of ours is still to come, so what is half accepted was left behind or is a stranger's.
    // Twice, so that a connection that the kernel had ready has been accepted in between.
    const bool quiet = HangUpOnTheUnheard(listener->port, listener->heard) == 0;
    if (!std::exchange(listener->quiet, quiet) || !quiet) return false;
    Close(*listener);
    return true;
  });
}

void UcxWorker::CloseAllListeners() {
  for (const auto& listener : listeners_) listener->users = 0;
  const Nanos end = clock_.Now() + kFlushAtEnd;
  for (;;) {
    CloseIdleListeners();
    if (listeners_.empty() || clock_.Now() > end) break;
    Poll();
  }
  for (const auto& listener : listeners_) Close(*listener);
  listeners_.clear();
}

void UcxWorker::Close(Listener& listener) {
  // A request is void without its listener.
  std::erase_if(requests_, [&](const Request& request) {
    if (request.listener != &listener) return false;
    ucp_listener_reject(listener.listener, request.request);
    return true;
  });
  ucp_listener_destroy(listener.listener);
}

void UcxWorker::OnConnectionRequest(ucp_conn_request_h request, void* listener) {
  auto* from = static_cast<Listener*>(listener);
  ucp_conn_request_attr_t attributes{};
  attributes.field_mask = UCP_CONN_REQUEST_ATTR_FIELD_CLIENT_ADDR;
  if (ucp_conn_request_query(request, &attributes) == UCS_OK) {
    SocketAddress peer;
    peer.storage = attributes.client_address;
    from->heard.insert(peer.ToString());
  }
  from->worker->requests_.push_back({from, request});
}

void UcxWorker::AcceptRequests() {
  const Nanos now = clock_.Now();
  for (const Request& request : std::exchange(requests_, {})) {
    if (unclaimed_.size() >= kUnclaimedMax) {
      std::erase_if(unclaimed_,
                    [&](const auto& entry) { return now - entry.second.since > kClaimPatience; });
    }
    if (unclaimed_.size() >= kUnclaimedMax) {
      ucp_listener_reject(request.listener->listener, request.request);
      continue;
    }
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
    params.conn_request = request.request;
    auto endpoint = MakeEndpoint(params, nullptr);
    if (!endpoint.ok()) continue;  // UCX has let go of the request
    const ucp_ep_h handle = (*endpoint)->endpoint_;
    unclaimed_[handle] = {std::move(endpoint.value()), now};
  }
}

std::unique_ptr<UcxEndpoint> UcxWorker::Claim(ucp_ep_h accepted, UcxEndpointOwner& owner) {
  const auto found = unclaimed_.find(accepted);
  if (found == unclaimed_.end()) return nullptr;
  std::unique_ptr<UcxEndpoint> endpoint = std::move(found->second.endpoint);
  unclaimed_.erase(found);
  endpoints_[accepted].second = &owner;
  return endpoint;
}

void UcxWorker::CloseEndpoint(ucp_ep_h endpoint, std::uint64_t id) {
  endpoints_.erase(endpoint);
  std::erase_if(failed_, [id](const auto& entry) { return entry.first == id; });
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  param.cb.send = &UcxWorker::OnClosed;
  param.user_data = this;
  const ucs_status_ptr_t request = ucp_ep_close_nbx(endpoint, &param);
  if (UCS_PTR_IS_PTR(request)) ++closing_;
}

void UcxWorker::OnClosed(void* request, ucs_status_t /*status*/, void* worker) {
  --static_cast<UcxWorker*>(worker)->closing_;
  ucp_request_free(request);
}

void UcxWorker::OnError(void* worker, ucp_ep_h endpoint, ucs_status_t status) {
  auto* self = static_cast<UcxWorker*>(worker);
  const auto found = self->endpoints_.find(endpoint);
  if (found != self->endpoints_.end()) self->failed_.emplace_back(found->second.first, status);
}

ucs_status_t UcxWorker::OnAm(void* slot, const void* header, std::size_t header_bytes, void* data,
                             std::size_t bytes, const ucp_am_recv_param_t* param) {
  const auto* self = static_cast<const ReceiverSlot*>(slot);
  // A rendezvous message would make us read the sender's memory: nobody of ours sends one.
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) return UCS_OK;
  if (self->receiver != nullptr) {
    self->receiver->OnActiveMessage(
        self->id, {static_cast<const std::byte*>(header), header_bytes},
        {static_cast<const std::byte*>(data), bytes},
        (param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0 ? param->reply_ep : nullptr);
  }
  return UCS_OK;
}

void UcxWorker::OnRequest(void* request, ucs_status_t status, void* operation) {
  auto* op = static_cast<UcxOperation*>(operation);
  op->outcome_ = status;
  --op->worker_->in_flight_;
  op->worker_->done_.push_back(op);
  ucp_request_free(request);
}

ucp_request_param_t UcxWorker::RequestParam(UcxOperation& operation) {
  operation.worker_ = this;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.send = &UcxWorker::OnRequest;
  param.user_data = &operation;
  return param;
}

void UcxWorker::Track(ucs_status_ptr_t request, UcxOperation& operation) {
  if (UCS_PTR_IS_PTR(request)) {
    ++in_flight_;
    return;
  }
  operation.outcome_ = UCS_PTR_STATUS(request);
  done_.push_back(&operation);  // told from Poll all the same: U1
}

unsigned UcxWorker::Deliver() {
  unsigned events = 0;
  if (!requests_.empty()) {
    events += static_cast<unsigned>(requests_.size());
    AcceptRequests();
  }
  // What OnSent starts is told next time, so that one call ends.
  std::vector<UcxOperation*> done;
  done.swap(done_);
  for (UcxOperation* operation : done) {
    ++events;
    operation->OnSent(StatusOfUcx(operation->outcome_, "UCX send"));
  }
  // One at a time: an owner may destroy other endpoints.
  while (!failed_.empty()) {
    const auto [failed_id, status] = failed_.back();
    failed_.pop_back();
    const auto found =
        std::find_if(endpoints_.begin(), endpoints_.end(),
                     [id = failed_id](const auto& entry) { return entry.second.first == id; });
    if (found == endpoints_.end()) continue;
    ++events;
    if (found->second.second == nullptr) {
      const ucp_ep_h unclaimed = found->first;  // erasing it erases *found
      unclaimed_.erase(unclaimed);
    } else {
      found->second.second->OnEndpointFailed(StatusOfUcx(status, "UCX connection"));
    }
  }
  return events;
}

unsigned UcxWorker::Poll() {
  unsigned events = 0;
  for (int i = 0; i < kProgressPerPoll; ++i) {
    const unsigned progressed = ucp_worker_progress(worker_);
    if (progressed == 0) break;
    events += progressed;
    // Completions free the window: hand them over before the next progress, so that the socket
    // never runs dry while there is more to send.
    if (!done_.empty()) events += Deliver();
  }
  return events + Deliver();
}

bool UcxWorker::Arm() {
  if (!done_.empty() || !failed_.empty() || !requests_.empty()) return false;
  return ucp_worker_arm(worker_) == UCS_OK;
}

Result<UcxWorker::Registration> UcxWorker::Register(std::span<std::byte> memory) {
  ucp_mem_map_params_t params{};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  params.address = memory.data();
  params.length = memory.size();
  Registration result;
  ucs_status_t status = ucp_mem_map(context_, &params, &result.memory);
  if (status != UCS_OK) return StatusOfUcx(status, "UCX registration (" + name_ + ")");
  void* key = nullptr;
  std::size_t length = 0;
  status = ucp_rkey_pack(context_, result.memory, &key, &length);
  if (status != UCS_OK) {
    ucp_mem_unmap(context_, result.memory);
    return StatusOfUcx(status, "UCX key (" + name_ + ")");
  }
  const auto* bytes = static_cast<const std::byte*>(key);
  result.packed_key.assign(bytes, bytes + length);
  ucp_rkey_buffer_release(key);
  return result;
}

void UcxWorker::Unregister(ucp_mem_h memory) { ucp_mem_unmap(context_, memory); }

}  // namespace terrace
