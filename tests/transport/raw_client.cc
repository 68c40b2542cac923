#include "tests/transport/raw_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace terrace::test {

RawClient::RawClient(std::uint16_t port, bool local) {
  if (local) {
    auto fd = ConnectLocal(port);
    if (fd.ok()) fd_ = std::move(fd.value());
  } else {
    auto fd = BeginConnectTcp(*NumericAddress("127.0.0.1", port));
    if (fd.ok()) fd_ = std::move(fd.value());
  }
  if (!fd_) return;
  pollfd writable{fd_.get(), POLLOUT, 0};
  ::poll(&writable, 1, 30'000);
  fcntl(fd_.get(), F_SETFL, fcntl(fd_.get(), F_GETFL) & ~O_NONBLOCK);
  const timeval patience{30, 0};
  setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

void RawClient::SendBytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

void RawClient::SendFrame(std::span<const std::byte> message) {
  std::array<std::uint32_t, 2> header = {0x46525254, static_cast<std::uint32_t>(message.size())};
  SendBytes(std::as_bytes(std::span(header)));
  SendBytes(message);
}

bool RawClient::ReadExactly(void* to, std::size_t bytes) {
  auto* at = static_cast<std::byte*>(to);
  while (bytes > 0) {
    iovec part{at, bytes};
    alignas(cmsghdr) std::array<std::byte, 128> control{};
    msghdr request{};
    request.msg_iov = &part;
    request.msg_iovlen = 1;
    request.msg_control = control.data();
    request.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(fd_.get(), &request, 0);
    if (cmsghdr* const rights = got > 0 ? CMSG_FIRSTHDR(&request) : nullptr; rights != nullptr) {
      for (std::size_t i = 0; i < (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(rights) + i * sizeof(int), sizeof(int));
        passed_.emplace_back(number);
      }
    }
    // The end of a ring that this thread made interrupts system calls.
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

std::optional<std::vector<std::byte>> RawClient::ReadFrame() {
  if (ring_ == nullptr) {
    auto frame = ReadFromSocket();
    if (passed_.empty()) return frame;
    page_ = std::move(SharedPage::Open(passed_.front().get())).value();
    ring_ =
        std::make_unique<RingReader>(page_->layout().to_client, page_->layout().to_client_bytes);
    return frame;
  }
  constexpr int kTries = 30'000;
  for (int tries = 0; tries < kTries; ++tries) {
    if (auto frame = ReadFromRing()) return frame;
    pollfd readable{fd_.get(), POLLIN, 0};
    if (::poll(&readable, 1, 1) > 0) return ReadFromSocket();
  }
  return {};
}

std::optional<std::vector<std::byte>> RawClient::ReadFromRing() {
  std::array<std::byte, 4096> buffer;
  while (const std::size_t got = ring_->Read(buffer)) {
    (void)ring_->Free();
    (void)frames_.Take(std::span(buffer).first(got), [this](std::vector<std::byte> message) {
      from_ring_.push_back(std::move(message));
      return true;
    });
  }
  if (from_ring_.empty()) return {};
  std::vector<std::byte> message = std::move(from_ring_.front());
  from_ring_.pop_front();
  return message;
}

std::optional<std::vector<std::byte>> RawClient::ReadFromSocket() {
  std::array<std::uint32_t, 2> header{};
  if (!ReadExactly(header.data(), sizeof(header)) || header[1] > kControlBytesMax) return {};
  std::vector<std::byte> message(header[1]);
  if (!ReadExactly(message.data(), message.size())) return {};
  return message;
}

std::string RawClient::ReadError() {
  const auto frame = ReadFrame();
  if (!frame) return "closed";
  const auto message = VerifyMessage(*frame);
  if (!message.ok()) return "does not verify";
  const auto* error = (*message)->body_as_ErrorReply();
  if (error == nullptr) return std::string(BodyName((*message)->body_type()));
  return StatusOf(*error).ToString();
}

bool RawClient::WaitForClose() {
  std::array<std::byte, 4096> waste;
  for (;;) {
    const ssize_t got = ::recv(fd_.get(), waste.data(), waste.size(), 0);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) return true;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
  }
}

std::vector<std::byte> BuildHello(const HelloText& text) {
  return BuildMessage<wire::Hello>(
      {0, text.incarnation, 0}, [&](flatbuffers::FlatBufferBuilder& builder) {
        const auto tenant = builder.CreateString(text.tenant);
        const auto name = builder.CreateString(text.name);
        const auto links = builder.CreateVector(text.links);
        wire::HelloBuilder hello(builder);
        hello.add_version_min(text.version_min);
        hello.add_version_max(text.version_max);
        hello.add_incarnation(text.incarnation);
        hello.add_tenant(tenant);
        hello.add_name(name);
        hello.add_links(links);
        hello.add_probe_address(reinterpret_cast<std::uintptr_t>(text.probe));
        hello.add_probe_value(text.probe_value);
        hello.add_shared_version(text.shared_version);
        return hello.Finish();
      });
}

}  // namespace terrace::test
