// ChannelFactoryImpl: connects channels, and what they share.
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>

#include "transport/channel_impl.h"
#include "transport/rdma/rdma_worker.h"
#include "transport/shm/ring_hub.h"
#include "transport/socket.h"

namespace terrace {

class ChannelFactoryImpl final : public ChannelFactory {
 public:
  explicit ChannelFactoryImpl(Reactor& reactor);
  Status Init();

  Task<Result<std::unique_ptr<Channel>>> Connect(ChannelOptions options, ChannelHandler& handler,
                                                 Nanos deadline) override;

  // For ChannelImpl.
  [[nodiscard]] SocketPoll& poll() noexcept { return *poll_; }
  [[nodiscard]] RingHub& rings() noexcept { return *rings_; }
  [[nodiscard]] Scheduler& scheduler() noexcept { return reactor_.scheduler(); }
  [[nodiscard]] Random& random() noexcept { return random_; }
  /// What data connections share.
  [[nodiscard]] DataStream::Shared data() noexcept { return {*poll_, scheduler(), shelf_}; }
  /// kPeerDead when nobody answers there before the deadline.
  Task<Result<UniqueFd>> ConnectTcp(SocketAddress address, Nanos deadline);

 private:
  using Connected = Result<std::unique_ptr<Channel>>;
  Task<Connected> ConnectSameHost(ChannelOptions options, ChannelHandler* handler, Nanos deadline);
  /// Over the network, with link `kind`: kTcp or kRdma.
  Task<Connected> ConnectNetwork(ChannelOptions options, SocketAddress address, LinkKind kind,
                                 ChannelHandler* handler, Nanos deadline);

  Reactor& reactor_;
  SystemRandom random_;
  std::unique_ptr<SocketPoll> poll_;
  std::unique_ptr<RingHub> rings_;
  RdmaWorker rdma_;
  PayloadShelf shelf_;
};

}  // namespace terrace
