#include "transport/data_sender.h"

#include <algorithm>

#include "base/check.h"

namespace terrace {

struct DataSender::DataOperation final : UcxOperation {
  std::shared_ptr<DataSender> sender;
  std::shared_ptr<Outgoing> outgoing;  // null: a message without payload
  DataHeader header;
  std::unique_ptr<std::byte[]> stage;  // the payload, when it was gathered

  void OnSent(Status status) override {
    const std::unique_ptr<DataOperation> self(this);
    if (stage != nullptr && !sender->closed_) sender->stages_.push_back(std::move(stage));
    if (outgoing != nullptr) sender->OnMessageSent(outgoing, std::move(status));
  }
};

struct DataSender::ControlOperation final : UcxOperation {
  std::shared_ptr<DataSender> sender;
  std::vector<std::byte> message;

  void OnSent(Status /*status*/) override {
    const std::unique_ptr<ControlOperation> self(this);
    sender->control_bytes_ -= message.size();
  }
};

DataSender::~DataSender() {
  for (ControlOperation* operation : waiting_) delete operation;
}

void DataSender::SetEndpoint(UcxEndpoint* endpoint) {
  TERRACE_CHECK(endpoint_ == nullptr && !closed_);
  endpoint_ = endpoint;
  for (ControlOperation* operation : std::exchange(waiting_, {})) {
    operation->sender = shared_from_this();
    endpoint_->SendAm(kControlAmId, std::as_bytes(std::span(&token_, 1)), operation->message,
                      *operation);
  }
  Pump();
}

void DataSender::Send(std::shared_ptr<Outgoing> outgoing) {
  TERRACE_CHECK(!closed_);
  queue_.push_back(std::move(outgoing));
  Pump();
}

void DataSender::Abandon(const std::shared_ptr<Outgoing>& outgoing) {
  outgoing->ended = true;
  std::erase(queue_, outgoing);
}

void DataSender::SendHeader(const DataHeader& header) {
  if (closed_ || endpoint_ == nullptr) return;
  auto* operation = new DataOperation;
  operation->sender = shared_from_this();
  operation->header = header;
  operation->header.token = token_;
  operation->header.incarnation = incarnation_;
  endpoint_->SendAm(kDataAmId, DataHeaderBytes(operation->header), {}, *operation,
                    header.kind == DataKind::kOpen);
}

bool DataSender::SendControl(std::vector<std::byte> message) {
  if (closed_) return true;
  if (control_bytes_ + message.size() > kControlQueuedMax) return false;
  auto* operation = new ControlOperation;
  operation->message = std::move(message);
  control_bytes_ += operation->message.size();
  if (endpoint_ == nullptr) {
    waiting_.push_back(operation);
    return true;
  }
  operation->sender = shared_from_this();
  endpoint_->SendAm(kControlAmId, std::as_bytes(std::span(&token_, 1)), operation->message,
                    *operation);
  return true;
}

void DataSender::Pump() {
  while (endpoint_ != nullptr && in_flight_ < kWindow && !queue_.empty()) {
    const std::shared_ptr<Outgoing> outgoing = queue_.front();
    PostNext(outgoing);
    if (outgoing->posted == outgoing->size) queue_.pop_front();
  }
}

void DataSender::PostNext(const std::shared_ptr<Outgoing>& outgoing) {
  const std::size_t offset = outgoing->posted;
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(kDataPayloadMax, outgoing->size - offset));
  auto* operation = new DataOperation;
  operation->sender = shared_from_this();
  operation->outgoing = outgoing;
  DataHeader& header = operation->header;
  header.token = token_;
  header.incarnation = incarnation_;
  header.request_id = outgoing->request_id;
  header.offset = offset;
  header.block_bytes = outgoing->size;
  header.block = outgoing->block;
  header.length = static_cast<std::uint32_t>(length);
  header.kind = DataKind::kBlock;
  header.pieces = static_cast<std::uint32_t>(ChecksumPieceCount(length));
  const std::span<std::uint64_t> sums = std::span(header.checksums).first(header.pieces);
  if (!outgoing->checksums.empty()) {
    const auto from =
        outgoing->checksums.begin() + static_cast<std::ptrdiff_t>(offset / kChecksumPieceBytes);
    std::copy_n(from, sums.size(), sums.begin());
  }
  std::span<const std::byte> payload;
  if (!outgoing->bytes.empty()) {
    payload = outgoing->bytes.subspan(offset, length);
    // Just before the socket copies the same bytes: one walk through cold memory, not two.
    if (outgoing->checksums.empty()) ChecksumBlock(payload, sums);
  } else {
    operation->stage = TakeStage();
    const std::span<std::byte> stage(operation->stage.get(), length);
    payload = stage;
    if (!outgoing->checksums.empty()) outgoing->scattered.Gather(stage);
    for (std::size_t i = 0; outgoing->checksums.empty() && i < sums.size(); ++i) {
      const std::size_t from = i * kChecksumPieceBytes;
      sums[i] = outgoing->scattered.GatherAndChecksum(
          stage.subspan(from, std::min(kChecksumPieceBytes, length - from)));
    }
  }
  outgoing->posted += length;
  ++outgoing->in_flight;
  ++in_flight_;
  endpoint_->SendAm(kDataAmId, DataHeaderBytes(header), payload, *operation);
}

std::unique_ptr<std::byte[]> DataSender::TakeStage() {
  if (stages_.empty()) return std::make_unique_for_overwrite<std::byte[]>(kDataPayloadMax);
  std::unique_ptr<std::byte[]> stage = std::move(stages_.back());
  stages_.pop_back();
  return stage;
}

void DataSender::OnMessageSent(const std::shared_ptr<Outgoing>& outgoing, Status status) {
  --in_flight_;
  --outgoing->in_flight;
  if (!status.ok() && !outgoing->ended) {
    outgoing->status = std::move(status);
    Abandon(outgoing);
  }
  if (outgoing->posted == outgoing->size) outgoing->ended = true;
  if (outgoing->ended && outgoing->in_flight == 0) {
    if (owner_ != nullptr) owner_->OnOutgoingQuiet(outgoing);
    outgoing->hold = Hold();
  }
  Pump();
}

void DataSender::Close(const Status& reason) {
  closed_ = true;
  owner_ = nullptr;
  endpoint_ = nullptr;
  stages_.clear();
  for (const auto& outgoing : std::exchange(queue_, {})) {
    outgoing->ended = true;
    if (outgoing->status.ok()) outgoing->status = reason;
    if (outgoing->in_flight == 0) outgoing->hold = Hold();
  }
}

}  // namespace terrace
