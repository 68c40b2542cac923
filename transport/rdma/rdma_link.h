// RdmaLink: blocks written to, and read from, a client's registered memory by the NIC.
//
// The daemon makes the endpoint and starts every operation; the client only registers memory and
// keeps its worker progressing. Push puts the pieces one by one, flushes the endpoint, and sends
// the block's checksums over the control stream (BlockChecksums); Pull gets the pieces and hashes
// what came. A transfer that ends early stays in quarantine, Hold and keys included, until the NIC
// has completed what was posted; so long the reply is held (PeerLink::Send).
//
// PushFromDevice is a Push whose bytes the NIC takes from memory of a GPU of this daemon, where
// that is registered (RdmaWorker::AttachPools); the GPU sums them meanwhile (device_check.h).
//
// Not measured on a NIC yet; its logic is tested over UCX's emulated RMA (rdma_transports.h).
// Thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "transport/control_stream.h"
#include "transport/peer_link.h"
#include "transport/rdma/rdma_worker.h"
#include "transport/rdma/ucx_worker.h"

namespace terrace {

class RdmaLink final : public PeerLink {
 public:
  /// `stream` and `worker` outlive the link; `endpoint` is of that worker.
  RdmaLink(LinkContext& context, ControlStream& stream, RdmaWorker& worker,
           std::unique_ptr<UcxEndpoint> endpoint);
  ~RdmaLink() override;

  [[nodiscard]] LinkKind kind() const noexcept override { return LinkKind::kRdma; }
  Task<Status> Push(Hold source, BlockTransfer transfer,
                    std::span<const std::uint64_t> checksums) override;
  Task<Status> Pull(Hold destination, BlockTransfer transfer,
                    std::span<std::uint64_t> checksums) override;
  [[nodiscard]] bool ReachesDevice(const DeviceCopier& gpu, std::uint64_t block_bytes,
                                   const BlockTransfer& transfer) const override;
  Task<Status> PushFromDevice(std::shared_ptr<DeviceSource> source,
                              BlockTransfer transfer) override;
  void WakeTransfers(std::uint64_t request_id) override;

  static constexpr std::size_t kWindow = 16;          ///< operations of one transfer at a time
  static constexpr std::size_t kPartBytes = 1 << 20;  ///< most bytes of one operation

 private:
  struct Key;
  struct Transfer;
  struct Operation;
  enum class Direction : std::uint8_t { kPut, kGet };

  void SendMessage(std::vector<std::byte> message) override { stream_.Send(std::move(message)); }
  void OnEnd() override;

  /// What moves: a frame, or a block on a GPU in `memory`.
  struct Bytes {
    Hold hold;
    std::shared_ptr<DeviceSource> device;
    const UcxMemory* memory = nullptr;
  };
  /// `back` gets the Hold when the call ends with nothing in flight.
  Task<Status> Move(Direction direction, Bytes bytes, BlockTransfer transfer, Hold* back);
  Status FindKeys(Transfer& transfer);
  /// Posts what the window allows; after the last part of a put, the flush.
  void Pump(const std::shared_ptr<Transfer>& transfer);
  /// After the last put that was posted.
  void Flush(const std::shared_ptr<Transfer>& transfer);
  Status Finish(const std::shared_ptr<Transfer>& transfer) const;
  void EndQuarantine(const std::shared_ptr<Transfer>& transfer);
  ControlStream& stream_;
  RdmaWorker& worker_;
  std::unique_ptr<UcxEndpoint> endpoint_;
  std::set<std::shared_ptr<Transfer>> transfers_;
  std::set<std::shared_ptr<Transfer>> quarantine_;                // their calls have ended
  std::unordered_map<std::uint32_t, std::shared_ptr<Key>> keys_;  // by region
  // Completions outlive the link; they reach it through this, which it empties at its end.
  std::shared_ptr<RdmaLink*> self_ = std::make_shared<RdmaLink*>(this);
};

}  // namespace terrace
