#include "transport/rdma/ucx_worker.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/signals_blocked.h"
#include "transport/rdma/ucx_gpu.h"

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
    {"MAX_NUM_EPS", "inf"},
    {"ADDRESS_VERSION", "v1"},
    {"UNIFIED_MODE", "n"},
    // UCX's own keepalive costs a message per endpoint; our heartbeats find the dead.
    {"KEEPALIVE_INTERVAL", "3600s"},
    // Of the emulation over TCP, in tests: a connect to a dead host would block the reactor.
    {"CONN_NB", "y"},
};

constexpr std::size_t kPageBytes = 4096;

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
  // Without cuda_copy UCX takes memory of GPUs for the host's.
  const std::string transports = options.transports + (options.cuda ? ",cuda_copy" : "");
  modify("TLS", transports.c_str());
  // The older protocols copy what is short by the CPU, which cannot read memory of GPUs.
  modify("PROTO_ENABLE", options.cuda ? "y" : "n");
  modify("NET_DEVICES", options.devices.c_str());
  for (const Setting& setting : kSettings) modify(setting.name, setting.value);
  if (!modified.ok()) {
    ucp_config_release(config);
    return modified;
  }

  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  params.features = UCP_FEATURE_RMA | UCP_FEATURE_WAKEUP;
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
  return {};
}

UcxWorker::~UcxWorker() {
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
  const SteadyClock clock;
  const Nanos end = clock.Now() + 2 * kSecond;
  while ((in_flight_ > 0 || closing_ > 0 || !done_.empty()) && clock.Now() < end) Poll();
  // UCX 1.13.1 aborts in ucp_worker_destroy when a connection that a peer has begun still waits to
  // be answered: a flush sends those answers.
  ucp_request_param_t param{};
  const ucs_status_ptr_t flush = ucp_worker_flush_nbx(worker_, &param);
  if (!UCS_PTR_IS_PTR(flush)) return;
  const Nanos flush_end = clock.Now() + kFlushAtEnd;
  while (ucp_request_check_status(flush) == UCS_INPROGRESS && clock.Now() < flush_end) Poll();
  ucp_request_free(flush);
}

Result<std::unique_ptr<UcxEndpoint>> UcxWorker::MakeEndpoint(ucp_ep_params_t params,
                                                             UcxEndpointOwner& owner) {
  params.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = &UcxWorker::OnError;
  params.err_handler.arg = this;
  ucp_ep_h endpoint = nullptr;
  const ucs_status_t status = ucp_ep_create(worker_, &params, &endpoint);
  if (status != UCS_OK) return StatusOfUcx(status, "UCX endpoint (" + name_ + ")");
  const std::uint64_t id = next_id_++;
  endpoints_[endpoint] = {id, &owner};
  return std::unique_ptr<UcxEndpoint>(new UcxEndpoint(*this, endpoint, id));
}

Result<std::unique_ptr<UcxEndpoint>> UcxWorker::Connect(std::span<const std::byte> address,
                                                        UcxEndpointOwner& owner) {
  if (address.empty()) return Status::Invalid("UCX address is empty");
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  return MakeEndpoint(params, owner);
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
  // What OnDone starts is told next time, so that one call ends.
  std::vector<UcxOperation*> done;
  done.swap(done_);
  for (UcxOperation* operation : done) {
    ++events;
    operation->OnDone(StatusOfUcx(operation->outcome_, "UCX operation"));
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
    found->second.second->OnEndpointFailed(StatusOfUcx(status, "UCX connection"));
  }
  return events;
}

unsigned UcxWorker::Poll() {
  unsigned events = 0;
  for (int i = 0; i < kProgressPerPoll; ++i) {
    const unsigned progressed = ucp_worker_progress(worker_);
    if (progressed == 0) break;
    events += progressed;
    // Completions free the window: hand them over before the next progress, so that the NIC never
    // runs dry while there is more to move.
    if (!done_.empty()) events += Deliver();
  }
  return events + Deliver();
}

bool UcxWorker::Arm() {
  if (!done_.empty() || !failed_.empty()) return false;
  return ucp_worker_arm(worker_) == UCS_OK;
}

Result<UcxWorker::Registration> UcxWorker::Map(std::span<std::byte> memory, DeviceMemoryKind kind) {
  ucp_mem_map_params_t params{};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                      UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE;
  params.address = memory.data();
  params.length = memory.size();
  params.memory_type = UcxTypeOf(kind);
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

Result<UcxWorker::Registration> UcxWorker::Register(std::span<std::byte> memory,
                                                    DeviceMemoryKind kind) {
  Result<Registration> made = Map(memory, kind);
  if (!made.ok() || kind == DeviceMemoryKind::kHost) return made;
  // UCX is content when some device knows the memory, be it not the NIC, and would copy it to the
  // host by itself then. The key has a part for every device that knows the memory: memory of the
  // host is known to them all.
  std::vector<std::byte> page(kPageBytes);
  const Result<Registration> host = Map(page, DeviceMemoryKind::kHost);
  const bool reached = host.ok() && made->packed_key.size() >= host->packed_key.size();
  if (host.ok()) Unregister(host->memory);
  if (reached) return made;
  Unregister(made->memory);
  if (!host.ok()) return host.status();
  return Status(StatusCode::kUnsupported,
                "the NIC does not reach memory of GPUs (is the module nvidia_peermem loaded?)");
}

void UcxWorker::Unregister(ucp_mem_h memory) { ucp_mem_unmap(context_, memory); }

}  // namespace terrace
