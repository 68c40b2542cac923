// TcpLink: blocks as UCX active messages (data_message.h), from frames and into frames.
//
// Push: the block's messages are read by the socket straight from the frame. It answers kOk when
// UCX has taken all bytes; the reply, which follows in order on the same endpoint, is what tells
// the client that everything came, and the checksums in each message are its proof.
// Pull: a kPull message asks the client for the block; what comes is copied from UCX's receive
// segment into the frame and hashed while it is hot. Nothing of UCX keeps the frame, so a Pull
// that ends early leaves nothing in quarantine: late data finds nobody and is dropped.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "transport/data_sender.h"
#include "transport/peer_link.h"

namespace terrace {

class TcpLink final : public PeerLink, private DataSender::Owner {
 public:
  /// `token`: HelloReply.data_token.
  TcpLink(LinkContext& context, std::uint64_t token);
  ~TcpLink() override;

  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kTcp; }
  Task<Status> Push(Hold source, BlockTransfer transfer,
                    std::span<const std::uint64_t> checksums) override;
  Task<Status> Pull(Hold destination, BlockTransfer transfer,
                    std::span<std::uint64_t> checksums) override;
  void WakeTransfers(std::uint64_t request_id) override;

  /// The client's side is reachable: what waited is sent. The link owns the endpoint.
  void SetEndpoint(std::unique_ptr<UcxEndpoint> endpoint);
  [[nodiscard]] bool open() const noexcept { return endpoint_ != nullptr; }
  /// A data message with this link's token. Called inside UCX's progress.
  void OnData(const DataHeader& header, std::span<const std::byte> payload);

 private:
  struct PushState;
  struct PullState;
  using BlockKey = std::pair<std::uint64_t, std::uint32_t>;  // request, block

  void SendMessage(std::vector<std::byte> message) override;
  void OnEnd() override;
  void OnOutgoingQuiet(const std::shared_ptr<Outgoing>& outgoing) override;
  Status FinishPush(const std::shared_ptr<PushState>& state, Nanos deadline);

  std::shared_ptr<DataSender> sender_;
  std::unique_ptr<UcxEndpoint> endpoint_;
  std::set<std::shared_ptr<PushState>> pushes_;
  std::map<BlockKey, PullState*> pulls_;
};

}  // namespace terrace
