#include "transport/data_sender.h"

#include <algorithm>

#include "base/check.h"

namespace terrace {

struct DataSender::DataOperation final : UcxOperation {
  std::shared_ptr<DataSender> sender;
  std::shared_ptr<Outgoing> outgoing;  // null: a message without payload
  DataHeader header;

  void OnSent(Status status) override {
    const std::unique_ptr<DataOperation> self(this);
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
    if (outgoing->posted == outgoing->bytes.size()) queue_.pop_front();
  }
}

void DataSender::PostNext(const std::shared_ptr<Outgoing>& outgoing) {
  const std::size_t offset = outgoing->posted;
  const std::size_t length = std::min(kDataPayloadMax, outgoing->bytes.size() - offset);
  const std::span<const std::byte> payload = outgoing->bytes.subspan(offset, length);
  auto* operation = new DataOperation;
  operation->sender = shared_from_this();
  operation->outgoing = outgoing;
  DataHeader& header = operation->header;
  header.token = token_;
  header.incarnation = incarnation_;
  header.request_id = outgoing->request_id;
  header.offset = offset;
  header.block_bytes = outgoing->bytes.size();
  header.block = outgoing->block;
  header.length = static_cast<std::uint32_t>(length);
  header.kind = DataKind::kBlock;
  header.pieces = static_cast<std::uint32_t>(ChecksumPieceCount(length));
  const std::span<std::uint64_t> sums = std::span(header.checksums).first(header.pieces);
  if (outgoing->checksums.empty()) {
    // Just before the socket copies the same bytes: one walk through cold memory, not two.
    ChecksumBlock(payload, sums);
  } else {
    const auto from =
        outgoing->checksums.begin() + static_cast<std::ptrdiff_t>(offset / kChecksumPieceBytes);
    std::copy_n(from, sums.size(), sums.begin());
  }
  outgoing->posted += length;
  ++outgoing->in_flight;
  ++in_flight_;
  endpoint_->SendAm(kDataAmId, DataHeaderBytes(header), payload, *operation);
}

void DataSender::OnMessageSent(const std::shared_ptr<Outgoing>& outgoing, Status status) {
  --in_flight_;
  --outgoing->in_flight;
  if (!status.ok() && !outgoing->ended) {
    outgoing->status = std::move(status);
    Abandon(outgoing);
  }
  if (outgoing->posted == outgoing->bytes.size()) outgoing->ended = true;
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
  for (const auto& outgoing : std::exchange(queue_, {})) {
    outgoing->ended = true;
    if (outgoing->status.ok()) outgoing->status = reason;
    if (outgoing->in_flight == 0) outgoing->hold = Hold();
  }
}

}  // namespace terrace
