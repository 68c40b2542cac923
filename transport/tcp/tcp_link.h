// TcpLink: blocks as data messages (data_message.h), from frames and into frames.
//
// Push: the block's messages are written to the socket straight from the frame. It answers kOk when
// the socket has all bytes; the reply, which follows in order on the same connection, is what tells
// the client that everything came, and the checksum in each message is its proof.
// Pull: a kPull message asks the client for the block; what comes is copied from the receive buffer
// into the frame and hashed while it is hot.
// The socket keeps copies, nothing else keeps a frame: a transfer that ends early leaves nothing in
// quarantine. Late data finds nobody and is dropped.
//
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "transport/peer_link.h"
#include "transport/tcp/data_stream.h"

namespace terrace {

class TcpLink final : public PeerLink, private DataStreamOwner {
 public:
  explicit TcpLink(LinkContext& context) : PeerLink(context) {}
  ~TcpLink() override;

  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kTcp; }
  Task<Status> Push(Hold source, BlockTransfer transfer,
                    std::span<const std::uint64_t> checksums) override;
  Task<Status> Pull(Hold destination, BlockTransfer transfer,
                    std::span<std::uint64_t> checksums) override;
  void WakeTransfers(std::uint64_t request_id) override;

  /// The client's data connection, past its OpenData message; it is told that it works. Must be
  /// called before anything is sent. `token`: HelloReply.data_token. kIo: it cannot be polled.
  Status Open(DataStream::Shared shared, UniqueFd fd, std::uint64_t token);
  [[nodiscard]] bool open() const noexcept { return stream_ != nullptr; }

 private:
  struct PushState;
  struct PullState;
  using BlockKey = std::pair<std::uint64_t, std::uint32_t>;  // request, block

  void OnData(const DataHeader& header, std::span<const std::byte> payload) override;
  void OnControl(std::vector<std::byte> /*message*/) override {}  // the client sends none this way
  void OnBlockSent(const std::shared_ptr<Outgoing>& outgoing) override;
  void OnDataEnd(const Status& reason) override;
  void SendMessage(std::vector<std::byte> message) override;
  void OnEnd() override;
  Status FinishPush(const std::shared_ptr<PushState>& state, Nanos deadline);

  std::unique_ptr<DataStream> stream_;
  std::set<std::shared_ptr<PushState>> pushes_;
  std::map<BlockKey, PullState*> pulls_;
};

}  // namespace terrace
