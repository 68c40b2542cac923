// ChannelFactoryImpl: connects channels and hands UCX's messages to them.
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "transport/channel_impl.h"
#include "transport/shm/ring_hub.h"
#include "transport/socket.h"
#include "transport/ucx_workers.h"

namespace terrace {

class ChannelFactoryImpl final : public ChannelFactory, public AmReceiver {
 public:
  explicit ChannelFactoryImpl(Reactor& reactor);
  ~ChannelFactoryImpl() override;
  Status Init();

  Task<Result<std::unique_ptr<Channel>>> Connect(ChannelOptions options, ChannelHandler& handler,
                                                 Nanos deadline) override;

  // For ChannelImpl.
  [[nodiscard]] SocketPoll& poll() noexcept { return *poll_; }
  [[nodiscard]] RingHub& rings() noexcept { return *rings_; }
  [[nodiscard]] Scheduler& scheduler() noexcept { return reactor_.scheduler(); }
  [[nodiscard]] Random& random() noexcept { return random_; }
  /// False when the token is in use.
  bool AddChannel(std::uint64_t token, ChannelImpl& channel);
  void RemoveChannel(std::uint64_t token);

 private:
  using Connected = Result<std::unique_ptr<Channel>>;
  struct Pending {
    std::uint64_t token = 0;
    DataHeader header;
    std::vector<std::byte> control;  // empty: `header` counts
  };
  Task<Connected> ConnectSameHost(ChannelOptions options, ChannelHandler* handler, Nanos deadline);
  /// Over the network, with link `kind`: kTcp or kRdma.
  Task<Connected> ConnectNetwork(ChannelOptions options, SocketAddress address, LinkKind kind,
                                 ChannelHandler* handler, Nanos deadline);
  void OnActiveMessage(unsigned id, std::span<const std::byte> header,
                       std::span<const std::byte> data, ucp_ep_h from) override;
  void Later(Pending pending);
  void DeliverPending();

  Reactor& reactor_;
  SystemRandom random_;
  std::unique_ptr<SocketPoll> poll_;
  std::unique_ptr<RingHub> rings_;
  std::unique_ptr<UcxWorkers> workers_;
  std::unordered_map<std::uint64_t, ChannelImpl*> channels_;  // by token
  std::vector<Pending> pending_;
  std::optional<Scheduler::TimerId> pending_timer_;
};

}  // namespace terrace
