#include "transport/rdma/rdma_link.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/checksum.h"
#include "base/wait.h"
#include "transport/rdma/device_check.h"
#include "transport/rdma/rdma_transports.h"

namespace terrace {
namespace {

RdmaTransports& Transports() {
  static RdmaTransports transports;
  return transports;
}

}  // namespace

const RdmaTransports& CurrentRdmaTransports() { return Transports(); }
void SetRdmaTransportsForTest(RdmaTransports transports) { Transports() = std::move(transports); }

/// A region's key, unpacked for the link's endpoint.
struct RdmaLink::Key {
  Key(ucp_rkey_h the_key, std::uint64_t the_generation)
      : key(the_key), generation(the_generation) {}
  ~Key() { ucp_rkey_destroy(key); }
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;
  const ucp_rkey_h key;
  const std::uint64_t generation;  // RemoteRegions::Region::generation
};

struct RdmaLink::Transfer {
  explicit Transfer(ServerCounters& the_counters) : counters(the_counters) {}
  ~Transfer() {
    if (quarantined) counters.quarantined.fetch_sub(1, std::memory_order_relaxed);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  ServerCounters& counters;
  Direction direction = Direction::kPut;
  std::uint64_t request_id = 0;
  Bytes bytes;
  std::optional<RangeView> view;  // what of the bytes moves
  std::vector<RemoteRegions::RemotePiece> places;
  std::vector<std::shared_ptr<Key>> keys;  // one per place

  std::size_t place = 0;       // index of the next one
  std::uint64_t in_place = 0;  // bytes of it that were posted
  std::uint64_t posted = 0;    // bytes of the range that were posted
  std::size_t in_flight = 0;
  bool flushed = false;  // the flush was posted
  bool ended = false;    // nothing is posted any more
  bool quarantined = false;
  Status status;
  Event wake;
};

struct RdmaLink::Operation final : UcxOperation {
  std::shared_ptr<RdmaLink*> link;
  std::shared_ptr<Transfer> transfer;

  void OnDone(Status outcome) override {
    const std::unique_ptr<Operation> self(this);
    Transfer& state = *transfer;
    --state.in_flight;
    if (!outcome.ok() && state.status.ok()) {
      state.status = std::move(outcome);
      state.ended = true;
    }
    if (*link != nullptr) (*link)->Pump(transfer);
    if (!state.ended || state.in_flight > 0) return;
    // Puts that have completed may still be on their way: one that was given up is flushed, too.
    if (state.direction == Direction::kPut && !state.flushed && *link != nullptr) {
      return (*link)->Flush(transfer);
    }
    state.wake.Set();
    if (!state.quarantined) return;
    state.bytes = Bytes();
    if (*link != nullptr) (*link)->EndQuarantine(transfer);
  }
};

RdmaLink::RdmaLink(LinkContext& context, ControlStream& stream, RdmaWorker& worker,
                   std::unique_ptr<UcxEndpoint> endpoint)
    : PeerLink(context), stream_(stream), worker_(worker), endpoint_(std::move(endpoint)) {}

RdmaLink::~RdmaLink() { End(Status(StatusCode::kPeerDead, "the connection is gone")); }

void RdmaLink::OnEnd() {
  *self_ = nullptr;
  for (const auto& transfer : transfers_) {
    transfer->ended = true;
    transfer->wake.Set();
  }
  for (const auto& transfer : std::exchange(quarantine_, {})) {
    context_.requests.End(transfer->request_id);
  }
  keys_.clear();
  endpoint_.reset();
}

void RdmaLink::WakeTransfers(std::uint64_t request_id) {
  for (const auto& transfer : transfers_) {
    if (transfer->request_id != request_id) continue;
    transfer->ended = true;
    // While the NIC still moves something the request is not quiet: Move waits for that.
    if (transfer->in_flight == 0) transfer->wake.Set();
  }
}

Status RdmaLink::FindKeys(Transfer& transfer) {
  for (const auto& place : transfer.places) {
    const RemoteRegions::Region& region = *context_.regions.Find(place.region);
    std::shared_ptr<Key>& key = keys_[place.region];
    if (key == nullptr || key->generation != region.generation) {
      const auto unpacked = endpoint_->UnpackKey(region.packed_key);
      if (!unpacked.ok()) {
        return Status::Invalid("region " + std::to_string(place.region) + ": " +
                               unpacked.status().message());
      }
      key = std::make_shared<Key>(*unpacked, region.generation);
    }
    transfer.keys.push_back(key);
  }
  return {};
}

void RdmaLink::Pump(const std::shared_ptr<Transfer>& transfer) {
  Transfer& state = *transfer;
  const std::uint64_t bytes = state.view->size();
  while (!state.ended && state.in_flight < kWindow && state.posted < bytes) {
    const auto& place = state.places[state.place];
    const std::span<std::byte> together = state.view->From(state.posted);
    const std::uint64_t length =
        std::min<std::uint64_t>({kPartBytes, place.length - state.in_place, together.size()});
    const std::span<std::byte> part = together.first(length);
    const std::uint64_t remote = place.address + state.in_place;
    const ucp_rkey_h key = state.keys[state.place]->key;
    state.posted += length;
    state.in_place += length;
    if (state.in_place == place.length) {
      state.in_place = 0;
      ++state.place;
    }
    ++state.in_flight;
    auto* operation = new Operation;
    operation->link = self_;
    operation->transfer = transfer;
    if (state.direction == Direction::kPut) {
      endpoint_->Put(part, state.bytes.memory, remote, key, *operation);
    } else {
      endpoint_->Get(part, remote, key, *operation);
    }
  }
  if (state.ended || state.posted < bytes || state.in_flight > 0) return;
  if (state.direction == Direction::kPut && !state.flushed) {
    // A put that has completed only means that the source may be reused.
    return Flush(transfer);
  }
  state.ended = true;
}

void RdmaLink::Flush(const std::shared_ptr<Transfer>& transfer) {
  transfer->flushed = true;
  ++transfer->in_flight;
  auto* operation = new Operation;
  operation->link = self_;
  operation->transfer = transfer;
  endpoint_->Flush(*operation);
}

Task<Status> RdmaLink::Move(Direction direction, Bytes bytes, BlockTransfer transfer, Hold* back) {
  if (!Alive()) co_return end();
  const RangeView view(bytes.device != nullptr ? bytes.device->memory() : bytes.hold.bytes(),
                       transfer.range);
  auto places = context_.regions.Resolve(transfer.pieces, view.size());
  if (!places.ok()) co_return places.status();
  const auto state = std::make_shared<Transfer>(context_.counters);
  state->direction = direction;
  state->view = view;
  state->request_id = transfer.request_id;
  state->places = std::move(places.value());
  if (Status status = FindKeys(*state); !status.ok()) co_return status;
  if (Status status = CheckBegin(transfer); !status.ok()) co_return status;
  state->bytes = std::move(bytes);
  transfers_.insert(state);
  Pump(state);
  (void)co_await state->wake.WaitUntil(transfer.deadline);
  transfers_.erase(state);
  Status status = Finish(state);
  state->ended = true;
  if (state->in_flight == 0) {
    if (back != nullptr) *back = std::move(state->bytes.hold);
    context_.requests.End(transfer.request_id);
  } else {
    state->quarantined = true;
    context_.counters.quarantined.fetch_add(1, std::memory_order_relaxed);
    // The request is quiet when the NIC is, unless the peer is gone altogether.
    if (Alive()) {
      quarantine_.insert(state);
    } else {
      context_.requests.End(transfer.request_id);
    }
  }
  co_return status;
}

Status RdmaLink::Finish(const std::shared_ptr<Transfer>& state) const {
  if (!Alive()) return end();
  if (context_.requests.Cancelled(state->request_id)) {
    return Status(StatusCode::kCancelled, "the client cancelled the request");
  }
  if (!state->status.ok()) {
    const StatusCode code = state->status.code();
    const std::string why = "the NIC: " + state->status.message();
    // While more is under way nobody may try another way.
    const bool other_way = code == StatusCode::kRetry || code == StatusCode::kUnsupported;
    if (other_way && state->in_flight != 0) return Status(StatusCode::kTimeout, why);
    // The peer lives: what was refused is to read the GPU's memory, and DRAM is left.
    const bool on_device = state->bytes.device != nullptr;
    if (on_device && code == StatusCode::kPeerDead && state->in_flight == 0) {
      return Status(StatusCode::kUnsupported, why);
    }
    return state->status;
  }
  const bool whole = state->ended && state->in_flight == 0 && state->posted == state->view->size();
  if (whole && (state->direction == Direction::kGet || state->flushed)) return {};
  return Status(StatusCode::kTimeout, "the NIC did not complete the block before the deadline");
}

void RdmaLink::EndQuarantine(const std::shared_ptr<Transfer>& transfer) {
  if (quarantine_.erase(transfer) > 0) context_.requests.End(transfer->request_id);
}

Task<Status> RdmaLink::Push(Hold source, BlockTransfer transfer,
                            std::span<const std::uint64_t> checksums) {
  const RangeView view(source.bytes(), transfer.range);
  std::vector<std::uint64_t> sums;
  if (!view.whole()) {
    Status sound = co_await ChecksumRange(view, checksums, &sums);
    if (!sound.ok()) co_return sound;
    checksums = sums;
  }
  Bytes moved;
  moved.hold = std::move(source);
  Status status = co_await Move(Direction::kPut, std::move(moved), transfer, nullptr);
  if (status.ok()) {
    context_.counters.bytes_pushed.fetch_add(view.size(), std::memory_order_relaxed);
    if (Alive()) SendChecksums(transfer, checksums);
  }
  co_return status;
}

bool RdmaLink::ReachesDevice(const DeviceCopier& gpu, std::uint64_t /*block_bytes*/,
                             const BlockTransfer& /*transfer*/) const {
  return Alive() && worker_.Reaches(gpu);
}

Task<Status> RdmaLink::PushFromDevice(std::shared_ptr<DeviceSource> source,
                                      BlockTransfer transfer) {
  Bytes bytes;
  bytes.memory = worker_.MemoryAt(source->memory());
  if (bytes.memory == nullptr) {
    co_return Status(StatusCode::kUnsupported, "the NIC does not have that memory of the GPU");
  }
  auto check = DeviceCheck::Make(source, transfer.range);
  if (!check.ok()) co_return check.status();
  const std::uint64_t size = RangeView(source->memory(), transfer.range).size();
  bytes.device = std::move(source);
  context_.background->Spawn(DeviceCheck::Run(*check));
  Status status = co_await Move(Direction::kPut, std::move(bytes), transfer, nullptr);
  // The NIC has read what it was to: what is said to be wrong from here on may go another way.
  if (status.ok()) status = co_await (*check)->Await(transfer.deadline);
  if (!Alive()) co_return end();
  if (context_.requests.Cancelled(transfer.request_id)) {
    co_return Status(StatusCode::kCancelled, "the client cancelled the request");
  }
  if (!status.ok()) co_return status;
  context_.counters.bytes_pushed.fetch_add(size, std::memory_order_relaxed);
  context_.counters.bytes_straight.fetch_add(size, std::memory_order_relaxed);
  SendChecksums(transfer, (*check)->sums());
  co_return status;
}

Task<Status> RdmaLink::Pull(Hold destination, BlockTransfer transfer,
                            std::span<std::uint64_t> checksums) {
  const std::span<std::byte> bytes = destination.bytes();
  TERRACE_CHECK(checksums.size() == ChecksumPieceCount(bytes.size()));
  Hold done;  // keeps the frame while it is hashed
  Bytes moved;
  moved.hold = std::move(destination);
  Status status = co_await Move(Direction::kGet, std::move(moved), transfer, &done);
  if (!status.ok()) co_return status;
  for (std::size_t i = 0; i < checksums.size(); ++i) {
    if (i > 0 && i % 4 == 0) co_await Yield{};
    const std::size_t from = i * kChecksumPieceBytes;
    checksums[i] =
        Checksum64(bytes.subspan(from, std::min(kChecksumPieceBytes, bytes.size() - from)));
  }
  context_.counters.bytes_pulled.fetch_add(bytes.size(), std::memory_order_relaxed);
  co_return status;
}

}  // namespace terrace
