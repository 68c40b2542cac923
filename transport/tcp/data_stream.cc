#include "transport/tcp/data_stream.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"

namespace terrace {
namespace {

// So that one busy stream leaves room for the others.
constexpr std::size_t kBytesPerTurn = 1 << 20;
// A control message takes memory as it comes, not by what its header claims.
constexpr std::size_t kControlStep = 64 << 10;

}  // namespace

PayloadShelf::Buffer PayloadShelf::Take() {
  if (free_.empty()) return std::make_unique_for_overwrite<std::byte[]>(kDataPayloadMax);
  Buffer buffer = std::move(free_.back());
  free_.pop_back();
  return buffer;
}

void PayloadShelf::Put(Buffer buffer) {
  if (buffer != nullptr && free_.size() < kKept) free_.push_back(std::move(buffer));
}

DataStream::DataStream(Shared shared, UniqueFd fd, Side side, DataSender::Identity identity,
                       DataStreamOwner& owner)
    : shared_(shared),
      fd_(std::move(fd)),
      side_(side),
      identity_(identity),
      owner_(owner),
      sender_(identity) {}

DataStream::~DataStream() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  Close(Status(StatusCode::kPeerDead, "the data connection is gone"));
}

Status DataStream::Start() {
  const int on = 1;
  // The end of a block must not wait for the answer to what is before it.
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  Status status = shared_.poll.Add(fd_.get(), false, *this);
  if (!status.ok()) fd_.Reset();
  return status;
}

void DataStream::Close(const Status& reason) {
  if (write_timer_) shared_.scheduler.CancelTimer(*std::exchange(write_timer_, std::nullopt));
  if (fd_) {
    shared_.poll.Remove(fd_.get());
    fd_.Reset();
  }
  to_write_ = {};
  if (end_.ok()) end_ = reason;
  sender_.Close(reason);
  shared_.shelf.Put(std::move(payload_));
  control_ = {};
}

void DataStream::Send(const std::shared_ptr<Outgoing>& outgoing) {
  if (!fd_) return outgoing->End(end_);
  sender_.Send(outgoing);
  Kick();
}

void DataStream::SendHeader(const DataHeader& header) {
  if (!fd_) return;
  sender_.SendHeader(header);
  Kick();
}

bool DataStream::SendControl(std::vector<std::byte> message) {
  if (!fd_) return true;
  const bool queued = sender_.SendControl(std::move(message));
  Kick();
  return queued;
}

void DataStream::Kick() {
  if (blocked_ || write_timer_) return;
  write_timer_ = shared_.scheduler.AddTimer(shared_.scheduler.Now(), [this] {
    write_timer_.reset();
    Write();
  });
}

bool DataStream::Write() {
  const auto left = sender_.Write(fd_.get(), kBytesPerTurn);
  if (!left.ok()) {
    End(left.status());
    return false;
  }
  blocked_ = *left != DataSender::Left::kNothing;
  shared_.poll.WantWrite(fd_.get(), blocked_);
  to_write_ = blocked_ ? Await() : SocketPoll::Awaited();
  for (const auto& outgoing : sender_.TakeEnded()) {
    if (!Tell([&] { owner_.OnBlockSent(outgoing); })) return false;
  }
  return true;
}

void DataStream::OnSocket(bool readable, bool writable) {
  if (writable && !Write()) return;
  if (readable && Read() && !in_payload_) shared_.shelf.Put(std::move(payload_));
}

bool DataStream::Read() {
  for (std::size_t read = 0; read < kBytesPerTurn;) {
    const ssize_t got = Receive();
    if (got <= 0) {
      if (got < 0 && errno == EINTR) continue;
      const Status ended = NothingReceived(got);
      if (!ended.ok()) End(ended);
      return ended.ok();
    }
    read += static_cast<std::size_t>(got);
    if (!Take(static_cast<std::size_t>(got))) return false;
  }
  return true;
}

ssize_t DataStream::Receive() {
  std::array<iovec, 2> parts;
  std::size_t count = 0;
  if (in_payload_) {
    std::byte* to = nullptr;
    std::size_t room = header_.length - payload_bytes_;
    if (header_.kind == DataKind::kControl) {
      room = std::min(room, kControlStep);
      control_.resize(payload_bytes_ + room);
      to = control_.data();
    } else {
      to = payload_.get();
    }
    parts[0] = {to + payload_bytes_, room};
    count = 1;
    // What follows comes with the same call.
    if (payload_bytes_ + room == header_.length) parts[count++] = {raw_.data(), raw_.size()};
  } else {
    parts[count++] = {raw_.data() + raw_bytes_, raw_.size() - raw_bytes_};
  }
  return ::readv(fd_.get(), parts.data(), static_cast<int>(count));
}

bool DataStream::Take(std::size_t bytes) {
  if (in_payload_) {
    const std::size_t part = std::min<std::size_t>(bytes, header_.length - payload_bytes_);
    payload_bytes_ += part;
    bytes -= part;
    if (payload_bytes_ < header_.length) return true;
    in_payload_ = false;
    if (!DeliverPayload()) return false;
  }
  raw_bytes_ += bytes;
  return raw_bytes_ < raw_.size() || TakeHeader();
}

bool DataStream::May(DataKind kind) const noexcept {
  if (kind == DataKind::kBlock) return true;
  if (side_ == Side::kDaemon) return kind == DataKind::kRefuse;
  return kind != DataKind::kRefuse;
}

bool DataStream::TakeHeader() {
  raw_bytes_ = 0;
  if (!ReadDataHeader(raw_, header_) || header_.token != identity_.token ||
      header_.incarnation != identity_.incarnation || !May(header_.kind)) {
    End(Status::Invalid("what came over the data connection is no data message"));
    return false;
  }
  if (header_.length == 0) return Tell([this] { owner_.OnData(header_, {}); });
  in_payload_ = true;
  payload_bytes_ = 0;
  if (header_.kind == DataKind::kBlock && payload_ == nullptr) payload_ = shared_.shelf.Take();
  return true;
}

bool DataStream::DeliverPayload() {
  if (header_.kind == DataKind::kBlock) {
    return Tell([this] { owner_.OnData(header_, {payload_.get(), header_.length}); });
  }
  std::vector<std::byte> message = std::exchange(control_, {});
  if (Checksum64(message) != header_.checksum) {
    End(Status(StatusCode::kCorrupt, "a message is not what was sent"));
    return false;
  }
  return Tell([&] { owner_.OnControl(std::move(message)); });
}

template <typename Call>
bool DataStream::Tell(Call&& call) {
  bool destroyed = false;
  bool* const outer = std::exchange(destroyed_, &destroyed);
  std::forward<Call>(call)();
  if (destroyed) {
    if (outer != nullptr) *outer = true;
    return false;
  }
  destroyed_ = outer;
  return static_cast<bool>(fd_);
}

void DataStream::End(const Status& reason) {
  Close(reason);
  owner_.OnDataEnd(reason);
}

}  // namespace terrace
