#include "transport/tcp/data_sender.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"

namespace terrace {

void DataSender::Send(std::shared_ptr<Outgoing> outgoing) {
  TERRACE_CHECK(!closed_ && outgoing->size > 0);
  queue_.push_back(std::move(outgoing));
}

void DataSender::Abandon(const std::shared_ptr<Outgoing>& outgoing) {
  std::erase(queue_, outgoing);
  if (writing_ && message_.outgoing == outgoing) {
    message_.outgoing = nullptr;
    if (sent_ == 0) {
      writing_ = false;
    } else if (message_.payload.data() != stage_.get()) {
      // The rest is owed to the stream: finished from here.
      if (stage_ == nullptr) stage_ = std::make_unique_for_overwrite<std::byte[]>(kDataPayloadMax);
      const std::size_t done = std::max(sent_, sizeof(DataHeader)) - sizeof(DataHeader);
      const auto rest = message_.payload.subspan(done);
      std::memcpy(stage_.get() + done, rest.data(), rest.size());
      message_.payload = {stage_.get(), message_.payload.size()};
    }
  }
  outgoing->End();
}

void DataSender::SendHeader(const DataHeader& header) {
  if (closed_) return;
  small_.push_back({header, {}, {}, nullptr});
}

bool DataSender::SendControl(std::vector<std::byte> control) {
  if (closed_) return true;
  TERRACE_CHECK(!control.empty() && control.size() <= kControlBytesMax);
  if (control_bytes_ + control.size() > kControlQueuedMax) return false;
  control_bytes_ += control.size();
  Message message;
  message.header.kind = DataKind::kControl;
  message.header.length = static_cast<std::uint32_t>(control.size());
  message.header.checksum = Checksum64(control);
  message.control = std::move(control);
  small_.push_back(std::move(message));
  return true;
}

bool DataSender::Next() {
  if (!small_.empty()) {
    message_ = std::move(small_.front());
    small_.pop_front();
    message_.payload = message_.control;
  } else if (!queue_.empty()) {
    const std::shared_ptr<Outgoing> outgoing = queue_.front();
    MakeBlockMessage(outgoing);
    if (outgoing->taken == outgoing->size) queue_.pop_front();
  } else {
    return false;
  }
  message_.header.token = identity_.token;
  message_.header.incarnation = identity_.incarnation;
  writing_ = true;
  sent_ = 0;
  return true;
}

void DataSender::MakeBlockMessage(const std::shared_ptr<Outgoing>& outgoing) {
  const std::uint64_t offset = outgoing->taken;
  const auto length =
      static_cast<std::size_t>(std::min<std::uint64_t>(kDataPayloadMax, outgoing->size - offset));
  message_ = Message{};
  DataHeader& header = message_.header;
  header.request_id = outgoing->request_id;
  header.offset = offset;
  header.block_bytes = outgoing->size;
  header.block = outgoing->block;
  header.length = static_cast<std::uint32_t>(length);
  header.kind = DataKind::kBlock;
  const bool known = !outgoing->checksums.empty();
  if (known) header.checksum = outgoing->checksums[offset / kChecksumPieceBytes];
  if (!outgoing->bytes.empty()) {
    message_.payload = outgoing->bytes.subspan(offset, length);
    // Just before the socket copies the same bytes: one walk through cold memory, not two.
    if (!known) header.checksum = Checksum64(message_.payload);
  } else {
    if (stage_ == nullptr) stage_ = std::make_unique_for_overwrite<std::byte[]>(kDataPayloadMax);
    const std::span<std::byte> stage(stage_.get(), length);
    message_.payload = stage;
    if (known) {
      outgoing->scattered.Gather(stage);
    } else {
      header.checksum = outgoing->scattered.GatherAndChecksum(stage);
    }
  }
  outgoing->taken += length;
  message_.outgoing = outgoing;
}

void DataSender::FinishMessage() {
  writing_ = false;
  control_bytes_ -= message_.control.size();
  const std::shared_ptr<Outgoing> outgoing = std::move(message_.outgoing);
  message_ = Message{};
  if (outgoing == nullptr || outgoing->taken < outgoing->size) return;
  outgoing->End();
  ended_.push_back(outgoing);
}

Result<DataSender::Left> DataSender::Write(int fd, std::size_t bytes_max) {
  std::size_t written = 0;
  while (writing_ || Next()) {
    if (written >= bytes_max) return Left::kMore;
    const std::size_t in_header = std::min(sent_, sizeof(DataHeader));
    const auto header = DataHeaderBytes(message_.header).subspan(in_header);
    const auto payload = message_.payload.subspan(sent_ - in_header);
    std::array<iovec, 2> parts;
    parts[0] = {const_cast<std::byte*>(header.data()), header.size()};
    parts[1] = {const_cast<std::byte*>(payload.data()), payload.size()};
    msghdr request{};
    request.msg_iov = parts.data();
    request.msg_iovlen = payload.empty() ? 1 : 2;
    const ssize_t sent = ::sendmsg(fd, &request, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return Left::kBlocked;
      return Status(StatusCode::kPeerDead, std::string("send: ") + std::strerror(errno));
    }
    written += static_cast<std::size_t>(sent);
    sent_ += static_cast<std::size_t>(sent);
    if (static_cast<std::size_t>(sent) == header.size() + payload.size()) FinishMessage();
  }
  return Left::kNothing;
}

void DataSender::Close(const Status& reason) {
  closed_ = true;
  if (writing_ && message_.outgoing != nullptr) queue_.push_back(std::move(message_.outgoing));
  writing_ = false;
  message_ = Message{};
  small_.clear();
  control_bytes_ = 0;
  stage_.reset();
  for (const auto& outgoing : std::exchange(queue_, {})) outgoing->End(reason);
}

}  // namespace terrace
