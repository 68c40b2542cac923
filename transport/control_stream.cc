#include "transport/control_stream.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"

namespace terrace {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

constexpr std::uint32_t kFrameMagic = 0x46525254;  // "TRRF"
constexpr std::size_t kHeaderBytes = 8;
constexpr std::size_t kReadBytes = 64 << 10;
constexpr int kReadsPerTurn = 4;  // so that one busy peer leaves room for the others

}  // namespace

ControlStream::ControlStream(SocketPoll& poll, UniqueFd fd, std::size_t frame_bytes_max,
                             ControlStreamOwner& owner)
    : poll_(poll), fd_(std::move(fd)), frame_bytes_max_(frame_bytes_max), owner_(owner) {}

ControlStream::~ControlStream() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  Close();
}

Status ControlStream::Start() {
  Status status = poll_.Add(fd_.get(), false, *this);
  if (!status.ok()) fd_.Reset();
  return status;
}

void ControlStream::Close() {
  if (!fd_) return;
  poll_.Remove(fd_.get());
  fd_.Reset();
  out_.clear();
  out_bytes_ = 0;
}

void ControlStream::CloseAfterSending() {
  if (!fd_) return;
  if (failure_.ok()) Write();
  // What was sent must reach the peer even when it sent bytes that nobody read: a close with
  // unread bytes resets the connection. Empty the socket first, within reason.
  std::array<std::byte, 4096> waste;
  for (int i = 0; i < 16; ++i) {
    if (::recv(fd_.get(), waste.data(), waste.size(), 0) <= 0) break;
  }
  ::shutdown(fd_.get(), SHUT_WR);
  Close();
}

void ControlStream::Send(std::vector<std::byte> message) {
  if (!fd_ || !failure_.ok()) return;
  TERRACE_CHECK(message.size() <= kControlFrameMax);
  out_bytes_ += message.size() + kHeaderBytes;
  if (out_bytes_ > kQueuedBytesMax) {
    failure_ = Status(StatusCode::kPeerDead, "the peer does not take its messages");
    ::shutdown(fd_.get(), SHUT_RDWR);  // makes the socket readable: OnSocket tells the owner
    return;
  }
  const bool idle = out_.empty();
  out_.push_back(std::move(message));
  if (idle) Write();
}

void ControlStream::Write() {
  while (!out_.empty()) {
    std::vector<std::byte>& message = out_.front();
    std::array<std::uint32_t, 2> header = {kFrameMagic, static_cast<std::uint32_t>(message.size())};
    const std::size_t in_header = std::min(out_front_sent_, kHeaderBytes);
    const std::size_t in_message = out_front_sent_ - in_header;
    std::array<iovec, 2> parts;
    parts[0] = {reinterpret_cast<std::byte*>(header.data()) + in_header, kHeaderBytes - in_header};
    parts[1] = {message.data() + in_message, message.size() - in_message};
    msghdr request{};
    request.msg_iov = parts.data();
    request.msg_iovlen = parts.size();
    const ssize_t sent = ::sendmsg(fd_.get(), &request, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      failure_ = Status(StatusCode::kPeerDead, std::string("send: ") + std::strerror(errno));
      ::shutdown(fd_.get(), SHUT_RDWR);
      return;
    }
    out_front_sent_ += static_cast<std::size_t>(sent);
    if (out_front_sent_ < kHeaderBytes + message.size()) continue;
    out_bytes_ -= kHeaderBytes + message.size();
    out_front_sent_ = 0;
    out_.pop_front();
  }
  poll_.WantWrite(fd_.get(), !out_.empty());
}

void ControlStream::OnSocket(bool readable, bool writable) {
  if (!failure_.ok()) {
    End(failure_);
    return;
  }
  if (writable) Write();
  if (readable) Read();
}

bool ControlStream::Read() {
  std::array<std::byte, kReadBytes> buffer;
  for (int i = 0; i < kReadsPerTurn; ++i) {
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
      End(Status(StatusCode::kPeerDead, std::string("receive: ") + std::strerror(errno)));
      return false;
    }
    if (got == 0) {
      End(Status(StatusCode::kPeerDead, "the peer closed the connection"));
      return false;
    }
    if (!Take(buffer.data(), static_cast<std::size_t>(got))) return false;
    if (static_cast<std::size_t>(got) < buffer.size()) return true;
  }
  return true;
}

bool ControlStream::Take(const std::byte* data, std::size_t size) {
  while (size > 0) {
    if (header_bytes_ < kHeaderBytes) {
      const std::size_t part = std::min(size, kHeaderBytes - header_bytes_);
      std::memcpy(header_ + header_bytes_, data, part);
      header_bytes_ += part;
      data += part;
      size -= part;
      if (header_bytes_ < kHeaderBytes) return true;
      std::uint32_t magic = 0;
      std::memcpy(&magic, header_, 4);
      std::memcpy(&frame_bytes_, header_ + 4, 4);
      if (magic != kFrameMagic) {
        End(Status::Invalid("not a Terrace client: the frame has no magic"));
        return false;
      }
      if (frame_bytes_ == 0 || frame_bytes_ > frame_bytes_max_) {
        End(Status::Invalid("frame of " + std::to_string(frame_bytes_) + " bytes, not 1 to " +
                            std::to_string(frame_bytes_max_)));
        return false;
      }
    }
    const std::size_t part = std::min<std::size_t>(size, frame_bytes_ - frame_.size());
    frame_.insert(frame_.end(), data, data + part);
    data += part;
    size -= part;
    if (frame_.size() < frame_bytes_) return true;
    header_bytes_ = 0;
    bool destroyed = false;
    destroyed_ = &destroyed;
    owner_.OnFrame(std::exchange(frame_, {}));
    if (destroyed) return false;
    destroyed_ = nullptr;
    if (!fd_) return false;  // closed by the owner
  }
  return true;
}

void ControlStream::End(Status reason) {
  Close();
  owner_.OnStreamEnd(reason);
}

}  // namespace terrace
