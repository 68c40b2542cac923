#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tools/bench/limits/stream_limit.h"
#include "tools/bench/load/cold_memory.h"

namespace terrace::bench {

namespace {

constexpr unsigned kDataMessage = 1;
constexpr int kWindow = 4;
// An eager message and its header must fit one segment; larger ones are reassembled in a copy.
constexpr std::uint64_t kEagerBytesMax = (1 << 20) - 1024;
constexpr auto kRunMax = std::chrono::seconds(20);

struct Command {
  std::uint64_t block_bytes = 0;
  std::uint64_t blocks = 0;
  std::uint64_t rendezvous = 0;
};

/// One process's side: a worker with a single endpoint to the other process.
struct Side {
  ucp_context_h context = nullptr;
  ucp_worker_h worker = nullptr;
  ucp_ep_h endpoint = nullptr;

  bool Open(int socket) {
    ucp_config_t* config = nullptr;
    if (ucp_config_read(nullptr, nullptr, &config) != UCS_OK) return false;
    ucp_config_modify(config, "TLS", "tcp");
    ucp_config_modify(config, "TX_SEG_SIZE", "1m");
    ucp_config_modify(config, "RX_SEG_SIZE", "1m");
    ucp_params_t params{};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_AM;
    const ucs_status_t made = ucp_init(&params, config, &context);
    ucp_config_release(config);
    ucp_worker_params_t worker_params{};
    worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
    worker_params.thread_mode = UCS_THREAD_MODE_SINGLE;
    if (made != UCS_OK || ucp_worker_create(context, &worker_params, &worker) != UCS_OK) {
      return false;
    }
    return Exchange(socket);
  }

  bool Exchange(int socket) {
    ucp_address_t* address = nullptr;
    std::size_t length = 0;
    if (ucp_worker_get_address(worker, &address, &length) != UCS_OK) return false;
    const std::uint64_t own_length = length;
    std::uint64_t peer_length = 0;
    const bool exchanged =
        ::send(socket, &own_length, sizeof own_length, MSG_NOSIGNAL) > 0 &&
        ::send(socket, address, length, MSG_NOSIGNAL) > 0 &&
        ::recv(socket, &peer_length, sizeof peer_length, MSG_WAITALL) == sizeof peer_length;
    ucp_worker_release_address(worker, address);
    if (!exchanged || peer_length > 65536) return false;
    std::vector<char> peer(peer_length);
    if (::recv(socket, peer.data(), peer_length, MSG_WAITALL) !=
        static_cast<ssize_t>(peer_length)) {
      return false;
    }
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
    params.address = reinterpret_cast<const ucp_address_t*>(peer.data());
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    return ucp_ep_create(worker, &params, &endpoint) == UCS_OK;
  }
};

void SendBlocks(Side& side, ColdMemory& memory, const Command& command) {
  const std::uint64_t pieces =
      command.rendezvous != 0 ? 1 : (command.block_bytes + kEagerBytesMax - 1) / kEagerBytesMax;
  const std::uint64_t piece_bytes = (command.block_bytes + pieces - 1) / pieces;
  std::vector<void*> window;
  const auto reap = [&](std::size_t most) {
    while (window.size() > most) {
      ucp_worker_progress(side.worker);
      std::erase_if(window, [](void* request) {
        if (ucp_request_check_status(request) == UCS_INPROGRESS) return false;
        ucp_request_free(request);
        return true;
      });
    }
  };
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = command.rendezvous != 0 ? UCP_AM_SEND_FLAG_RNDV : UCP_AM_SEND_FLAG_EAGER;
  for (std::uint64_t block = 0; block < command.blocks; ++block) {
    const auto bytes = memory.Next(command.block_bytes);
    for (std::uint64_t offset = 0; offset < bytes.size(); offset += piece_bytes) {
      reap(kWindow - 1);
      const std::uint64_t length = std::min<std::uint64_t>(piece_bytes, bytes.size() - offset);
      const std::uint64_t header = (block << 32) | offset;
      void* request = ucp_am_send_nbx(side.endpoint, kDataMessage, &header, sizeof header,
                                      bytes.data() + offset, length, &param);
      if (UCS_PTR_IS_ERR(request)) ::_exit(1);
      if (request != nullptr) window.push_back(request);
    }
  }
  reap(0);
}

[[noreturn]] void Sender(int socket, std::uint64_t cold_bytes) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ColdMemory memory(cold_bytes);
  Side side;
  if (!side.Open(socket)) ::_exit(1);
  Command command;
  for (;;) {
    const ssize_t got = ::recv(socket, &command, sizeof command, MSG_DONTWAIT);
    if (got == 0) ::_exit(0);
    if (got == sizeof command) SendBlocks(side, memory, command);
    ucp_worker_progress(side.worker);
    if (got < 0) ::usleep(50);  // idle between rounds: leave the core to whoever is measured
  }
}

class BareUcxLimit final : public StreamLimit {
 public:
  BareUcxLimit(int socket, pid_t child, std::uint64_t cold_bytes)
      : socket_(socket), child_(child), memory_(cold_bytes) {}
  ~BareUcxLimit() override {
    ::close(socket_);
    ::waitpid(child_, nullptr, 0);
  }

  bool Open() {
    if (!side_.Open(socket_)) return false;
    ucp_am_handler_param_t handler{};
    handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                         UCP_AM_HANDLER_PARAM_FIELD_ARG;
    handler.id = kDataMessage;
    handler.cb = &OnData;
    handler.arg = this;
    return ucp_worker_set_am_recv_handler(side_.worker, &handler) == UCS_OK;
  }

  double Run(std::uint64_t block_bytes, std::uint64_t blocks, bool rendezvous) override {
    const Command command{
        .block_bytes = block_bytes, .blocks = blocks, .rendezvous = rendezvous ? 1U : 0U};
    block_bytes_ = block_bytes;
    received_ = 0;
    const auto started = std::chrono::steady_clock::now();
    if (::send(socket_, &command, sizeof command, MSG_NOSIGNAL) <= 0) return -1;
    while (received_ < block_bytes * blocks) {
      if (ucp_worker_progress(side_.worker) == 0 &&
          std::chrono::steady_clock::now() - started > kRunMax) {
        return -1;
      }
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
    return static_cast<double>(block_bytes * blocks) / took.count() / 1e9;
  }

 private:
  static ucs_status_t OnData(void* self, const void* header, std::size_t /*header_length*/,
                             void* data, std::size_t length, const ucp_am_recv_param_t* param) {
    auto& limit = *static_cast<BareUcxLimit*>(self);
    std::uint64_t place = 0;
    std::memcpy(&place, header, sizeof place);
    std::byte* const destination =
        limit.memory_.bytes().data() +
        ((place >> 32) * limit.block_bytes_ + (place & 0xffffffff)) % limit.memory_.bytes().size();
    if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) {
      std::memcpy(destination, data, length);
      limit.received_ += length;
      return UCS_OK;
    }
    ucp_request_param_t receive{};
    receive.op_attr_mask =
        UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
    receive.cb.recv_am = [](void* request, ucs_status_t /*status*/, std::size_t got, void* user) {
      static_cast<BareUcxLimit*>(user)->received_ += got;
      ucp_request_free(request);
    };
    receive.user_data = self;
    ucp_am_recv_data_nbx(limit.side_.worker, data, destination, length, &receive);
    return UCS_INPROGRESS;
  }

  int socket_;
  pid_t child_;
  ColdMemory memory_;
  Side side_;
  std::uint64_t block_bytes_ = 0;
  std::uint64_t received_ = 0;
};

}  // namespace

std::unique_ptr<StreamLimit> MakeBareUcxLimit(std::uint64_t cold_bytes) {
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) return nullptr;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(sockets[0]);
    Sender(sockets[1], cold_bytes);
  }
  ::close(sockets[1]);
  auto limit = std::make_unique<BareUcxLimit>(sockets[0], child, cold_bytes);
  if (child < 0 || !limit->Open()) return nullptr;
  return limit;
}

}  // namespace terrace::bench
