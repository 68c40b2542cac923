#include "transport/control_stream.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

#include "base/check.h"
#include "base/crash_point.h"
#include "transport/elsewhere.h"

namespace terrace {
namespace {

constexpr std::size_t kReadBytes = 64 << 10;
constexpr int kReadsPerTurn = 4;  // so that one busy peer leaves room for the others
constexpr std::size_t kEverything = std::numeric_limits<std::size_t>::max();
constexpr std::size_t kPassedMax = 253;  // descriptors that one message can bring (SCM_MAX_FD)

/// Room for the descriptors of one message.
template <std::size_t descriptors>
struct DescriptorSpace {
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(descriptors * sizeof(int))> bytes{};
};

}  // namespace

ControlStream::ControlStream(SocketPoll& poll, UniqueFd fd, std::size_t frame_bytes_max,
                             ControlStreamOwner& owner)
    : poll_(poll), fd_(std::move(fd)), owner_(owner), reader_(frame_bytes_max) {}

ControlStream::~ControlStream() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  Close();
}

Status ControlStream::Start() {
  Status status = poll_.Add(fd_.get(), false, *this);
  if (!status.ok()) LetGo(std::move(fd_));
  return status;
}

void ControlStream::Close() {
  if (!fd_) return;
  poll_.Remove(fd_.get());
  if (strangers_) {
    // What nobody has read the system would close with the socket. Nothing comes any more, so this
    // ends.
    ::shutdown(fd_.get(), SHUT_RDWR);
    std::array<std::byte, kReadBytes> waste;
    while (Receive(waste) > 0) {
    }
  }
  for (UniqueFd& passed : descriptors_) LetGo(std::move(passed));
  descriptors_.clear();
  fd_.Reset();
  out_.clear();
  out_bytes_ = 0;
}

UniqueFd ControlStream::Release() {
  if (fd_) poll_.Remove(fd_.get());
  UniqueFd fd = std::move(fd_);
  out_.clear();
  out_bytes_ = 0;
  return fd;
}

void ControlStream::CloseAfterSending() {
  if (!fd_) return;
  if (failure_.ok()) Write();
  // What was sent must reach the peer even when it sent bytes that nobody read: a close with
  // unread bytes resets the connection. Empty the socket first, within reason.
  std::array<std::byte, 4096> waste;
  for (int i = 0; i < 16; ++i) {
    if (Receive(waste) <= 0) break;
  }
  ::shutdown(fd_.get(), SHUT_WR);
  Close();
}

void ControlStream::Send(std::vector<std::byte> message, std::vector<UniqueFd> descriptors) {
  if (!fd_ || !failure_.ok()) return;
  TERRACE_CHECK(message.size() <= kControlFrameMax && descriptors.size() <= kDescriptorsMax);
  out_bytes_ += message.size() + kFrameHeaderBytes;
  if (out_bytes_ > kQueuedBytesMax) {
    failure_ = Status(StatusCode::kPeerDead, "the peer does not take its messages");
    EndSoon();
    return;
  }
  const bool idle = out_.empty();
  out_.push_back({std::move(message), std::move(descriptors)});
  if (idle) Write();
}

ssize_t ControlStream::Transmit(const Outgoing& out, std::size_t message_bytes) {
  auto header = FrameHeaderFor(out.message.size());
  const std::size_t in_header = std::min(out_front_sent_, kFrameHeaderBytes);
  const std::size_t in_message = out_front_sent_ - in_header;
  std::array<iovec, 2> parts;
  parts[0] = {header.data() + in_header, kFrameHeaderBytes - in_header};
  parts[1] = {const_cast<std::byte*>(out.message.data()) + in_message, message_bytes - in_message};
  msghdr request{};
  request.msg_iov = parts.data();
  request.msg_iovlen = parts.size();
  // They travel with the first byte, so that they are there when the message is whole.
  DescriptorSpace<kDescriptorsMax> space;
  const std::size_t bytes = out.descriptors.size() * sizeof(int);
  if (out_front_sent_ == 0 && bytes > 0) {
    request.msg_control = space.bytes.data();
    request.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* const control = CMSG_FIRSTHDR(&request);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(bytes);
    std::array<int, kDescriptorsMax> numbers{};
    for (std::size_t i = 0; i < out.descriptors.size(); ++i) numbers[i] = out.descriptors[i].get();
    std::memcpy(CMSG_DATA(control), numbers.data(), bytes);
  }
  return ::sendmsg(fd_.get(), &request, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ControlStream::Write() {
  while (!out_.empty()) {
    if (out_front_sent_ == 0 && CrashIsDue(CrashPoint::kClientMessageHalf)) {
      const ssize_t sent = Transmit(out_.front(), out_.front().message.size() / 2);
      if (sent > 0) out_front_sent_ = static_cast<std::size_t>(sent);
      CrashNow();
    }
    const ssize_t sent = Transmit(out_.front(), out_.front().message.size());
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      failure_ = Status(StatusCode::kPeerDead, std::string("send: ") + std::strerror(errno));
      EndSoon();
      return;
    }
    out_front_sent_ += static_cast<std::size_t>(sent);
    const std::size_t whole = kFrameHeaderBytes + out_.front().message.size();
    if (out_front_sent_ < whole) continue;
    out_bytes_ -= whole;
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
  if (readable) Read(kReadsPerTurn, kEverything);
}

void ControlStream::ReadNow() {
  int arrived = 0;
  if (destroyed_ != nullptr || !fd_ || ::ioctl(fd_.get(), FIONREAD, &arrived) != 0) return;
  if (arrived > 0) Read(arrived, static_cast<std::size_t>(arrived));
}

Status ControlStream::SendCopyOf(int descriptor, std::vector<std::byte> message) {
  TERRACE_CHECK(message.size() <= kControlFrameMax);
  Status later(StatusCode::kRetry, "the peer does not take its descriptors");
  if (!fd_ || !sent_all()) return later;
  Outgoing out{std::move(message), {}};
  out.descriptors.emplace_back(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (!out.descriptors.front()) return {StatusCode::kRetry, "no descriptor is left"};
  // Not by way of the queue, where descriptors of a peer that takes nothing would pile up. A real
  // failure shows on the socket.
  const ssize_t sent = Transmit(out, out.message.size());
  if (sent <= 0) return later;
  const std::size_t whole = kFrameHeaderBytes + out.message.size();
  if (static_cast<std::size_t>(sent) == whole) return {};
  out_front_sent_ = static_cast<std::size_t>(sent);
  out_bytes_ = whole;
  out_.push_back(std::move(out));
  poll_.WantWrite(fd_.get(), true);
  return later;
}

ssize_t ControlStream::Receive(std::span<std::byte> room) {
  if (kept_max_ == 0 && !strangers_) {
    return ::recv(fd_.get(), room.data(), room.size(), MSG_DONTWAIT);
  }
  iovec part{room.data(), room.size()};
  DescriptorSpace<kPassedMax> space;
  msghdr request{};
  request.msg_iov = &part;
  request.msg_iovlen = 1;
  request.msg_control = space.bytes.data();
  request.msg_controllen = space.bytes.size();
  const ssize_t got = ::recvmsg(fd_.get(), &request, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got >= 0) KeepDescriptors(request);
  return got;
}

void ControlStream::LetGo(UniqueFd fd) const {
  if (strangers_) CloseForeign(std::move(fd));  // else here, as it goes
}

void ControlStream::KeepDescriptors(msghdr& received) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&received); control != nullptr;
       control = CMSG_NXTHDR(&received, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      UniqueFd passed(number);
      if (descriptors_.size() < kept_max_) {
        descriptors_.push_back(std::move(passed));
      } else {
        LetGo(std::move(passed));  // nobody asks for more
      }
    }
  }
}

bool ControlStream::Read(int reads_max, std::size_t bytes_max) {
  std::array<std::byte, kReadBytes> buffer;
  for (int i = 0; i < reads_max && bytes_max > 0; ++i) {
    const ssize_t got = Receive(std::span(buffer).first(std::min(buffer.size(), bytes_max)));
    if (got <= 0) {
      if (got < 0 && errno == EINTR) continue;
      const Status ended = NothingReceived(got);
      if (!ended.ok()) End(ended);
      return ended.ok();
    }
    const auto bytes = std::span(buffer).first(static_cast<std::size_t>(got));
    bytes_max -= bytes.size();
    if (!Take(bytes)) return false;
    // A read ends at a message with descriptors, however much is behind it.
    if (kept_max_ == 0 && !strangers_ && bytes.size() < buffer.size()) return true;
  }
  return true;
}

bool ControlStream::Take(std::span<const std::byte> bytes) {
  bool destroyed = false;
  bool* const outer = std::exchange(destroyed_, &destroyed);
  const Status status = reader_.Take(bytes, [this, &destroyed](std::vector<std::byte> message) {
    owner_.OnFrame(std::move(message));
    return !destroyed && static_cast<bool>(fd_);  // closed by the owner
  });
  if (destroyed) {
    if (outer != nullptr) *outer = true;
    return false;
  }
  destroyed_ = outer;
  if (!fd_) return false;
  if (!status.ok()) {
    End(status);
    return false;
  }
  return true;
}

void ControlStream::EndSoon() {
  // Makes the socket readable: OnSocket tells the owner. A unix socket is not ended for the other
  // side before the owner has been told (OnStreamEnding).
  ::shutdown(fd_.get(), strangers_ ? SHUT_RD : SHUT_RDWR);
}

void ControlStream::End(Status reason) {
  owner_.OnStreamEnding();
  Close();
  owner_.OnStreamEnd(reason);
}

}  // namespace terrace
