#include "tests/fuzz/hostile_client.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/wire_story.h"
#include "transport/codec.h"
#include "transport/frame_reader.h"
#include "transport/protocol_version.h"

namespace terrace::fuzz {
namespace {

constexpr std::size_t kBlockBytes = 4096;
constexpr std::size_t kMemoryBytes = 1 << 20;
constexpr std::size_t kEmptyBytes = std::size_t{1} << 40;  // of addresses, on either side

std::span<std::byte> LonelyMemory() {
  void* const reserved = ::mmap(nullptr, 2 * kEmptyBytes, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  TERRACE_CHECK(reserved != MAP_FAILED);
  std::byte* const memory = static_cast<std::byte*>(reserved) + kEmptyBytes;
  TERRACE_CHECK(::mprotect(memory, kMemoryBytes, PROT_READ | PROT_WRITE) == 0);
  return {memory, kMemoryBytes};
}

}  // namespace

HostileClient::HostileClient(std::uint16_t port, std::uint16_t http_port, Random& random)
    : port_(port), http_port_(http_port), random_(random), memory_(LonelyMemory()) {}

bool HostileClient::Round() {
  bool reached = true;
  switch (random_.Below(8)) {
    case 0: reached = Http(); break;
    case 1:
    case 2: reached = Session(false); break;
    default: reached = Session(true);
  }
  HangUp();
  ring_.reset();
  page_.reset();
  passed_.clear();
  space_ = 0;
  return reached;
}

void HostileClient::HangUp() {
  if (fd_ && random_.Below(3) == 0) {
    const linger reset{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  fd_.Reset();
}

bool HostileClient::Connect(bool local) {
  auto fd = local ? ConnectLocal(port_) : BeginConnectTcp(*NumericAddress("127.0.0.1", port_));
  if (!fd.ok()) return false;
  fd_ = std::move(fd.value());
  pollfd writable{fd_.get(), POLLOUT, 0};
  return ::poll(&writable, 1, 5000) > 0 && (writable.revents & POLLHUP) == 0;
}

void HostileClient::Mutate(Bytes& bytes) {
  if (bytes.empty() || random_.Below(3) == 0) return;
  for (std::uint64_t times = 1 + random_.Below(4); times > 0 && !bytes.empty(); --times) {
    const std::size_t at = random_.Below(bytes.size());
    switch (random_.Below(6)) {
      case 0: bytes[at] ^= std::byte{1} << random_.Below(8); break;
      case 1: bytes[at] = static_cast<std::byte>(random_.Next()); break;
      case 2: bytes[at] = random_.Below(2) == 0 ? std::byte{0xff} : std::byte{0}; break;
      case 3: bytes.resize(at); break;
      case 4: {
        const Bytes part(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end());
        bytes.insert(bytes.end(), part.begin(), part.end());
        break;
      }
      default: {
        const std::uint32_t word = static_cast<std::uint32_t>(random_.Next() >> random_.Below(40));
        std::memcpy(bytes.data() + at, &word, std::min(sizeof word, bytes.size() - at));
      }
    }
  }
}

void HostileClient::Send(const Bytes& bytes, bool with_descriptors) {
  if (bytes.empty() || !fd_) return;
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  msghdr request{};
  request.msg_iov = &part;
  request.msg_iovlen = 1;
  if (with_descriptors) {
    request.msg_control = control.data();
    request.msg_controllen = control.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&request);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    const int own = fd_.get();
    std::memcpy(CMSG_DATA(rights), &own, sizeof own);
  }
  (void)::sendmsg(fd_.get(), &request, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void HostileClient::SendFrame(Bytes message) {
  if (random_.Below(6) == 0) Mutate(message);
  Bytes framed = Output().Raw(FrameHeaderFor(message.size())).Raw(message).Take();
  if (random_.Below(40) == 0) Mutate(framed);
  if (ring_ && random_.Below(4) != 0) {
    (void)ring_->Write(framed);
    if (ring_->Publish() && passed_.size() > 1) {
      (void)::send(passed_[1].get(), "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return;
  }
  const std::size_t cut = random_.Below(4) == 0 ? random_.Below(framed.size() + 1) : framed.size();
  Send({framed.begin(), framed.begin() + static_cast<std::ptrdiff_t>(cut)},
       page_ != nullptr && random_.Below(20) == 0);
  if (random_.Below(8) != 0)
    Send({framed.begin() + static_cast<std::ptrdiff_t>(cut), framed.end()}, false);
}

Bytes HostileClient::Hello(bool local) {
  probe_ = {random_.Next(), 0};
  return BuildMessage<wire::Hello>({0, kIncarnation, 0}, [&](flatbuffers::FlatBufferBuilder& b) {
    const auto tenant = b.CreateString("hostile");
    const std::vector<std::uint8_t> links = {static_cast<std::uint8_t>(local ? 2 : 1)};
    const auto list = b.CreateVector(links);
    wire::HelloBuilder hello(b);
    hello.add_version_min(kProtocolVersionMin);
    hello.add_version_max(kProtocolVersionMax);
    hello.add_incarnation(kIncarnation);
    hello.add_tenant(tenant);
    hello.add_name(tenant);
    hello.add_links(list);
    hello.add_probe_address(reinterpret_cast<std::uintptr_t>(probe_.data()));
    hello.add_probe_value(probe_[0]);
    hello.add_shared_version(kSharedPageVersion);
    return hello.Finish();
  });
}

Bytes HostileClient::OpenRequest(const MessageHead& head) {
  return BuildMessage<wire::OpenNamespace>(head, [](flatbuffers::FlatBufferBuilder& b) {
    const auto name = b.CreateString("space");
    const auto attention = b.CreateString("full");
    const auto groups =
        b.CreateVector(std::vector{wire::CreateGroup(b, 0, attention, kBlockBytes)});
    return wire::CreateOpenNamespace(b, name, name, name, name, name, name, name, 16, 1, 16,
                                     groups);
  });
}

Bytes HostileClient::RegisterRequest(const MessageHead& head) {
  return BuildMessage<wire::RegisterRegion>(head, [&](flatbuffers::FlatBufferBuilder& b) {
    return wire::CreateRegisterRegion(b, 1, reinterpret_cast<std::uintptr_t>(memory_.data()),
                                      memory_.size());
  });
}

Bytes HostileClient::HonestRequest(std::uint64_t id) {
  const MessageHead head{id, kIncarnation,
                         static_cast<std::uint32_t>(1000 + random_.Below(100'000))};
  const std::string key = "key" + std::to_string(random_.Below(64));
  KeyRun run;
  run.placement = std::as_bytes(std::span(key));
  run.keys.push_back(run.placement);
  const std::vector<wire::Piece> pieces = {{1, 0, random_.Below(64) * kBlockBytes, kBlockBytes}};
  const std::vector<std::uint16_t> counts = {1};
  switch (random_.Below(8)) {
    case 0: return OpenRequest(head);
    case 1: return RegisterRequest(head);
    case 2: return BuildMessage<wire::Stat>(head);
    case 3:
      return BuildMessage<wire::Cancel>(head, [&](flatbuffers::FlatBufferBuilder& b) {
        return wire::CreateCancel(b, random_.Below(id + 2));
      });
    case 4:
    case 5:
      return BuildMessage<wire::Put>(head, [&](flatbuffers::FlatBufferBuilder& b) {
        const auto runs = b.CreateVector(std::vector{BuildRun(b, run)});
        const auto list = b.CreateVectorOfStructs(pieces);
        return wire::CreatePut(b, space_, 0, 0, runs, list, b.CreateVector(counts), 0,
                               static_cast<std::uint8_t>(random_.Below(2)));
      });
    case 6:
      return BuildMessage<wire::Get>(head, [&](flatbuffers::FlatBufferBuilder& b) {
        return wire::CreateGet(b, space_, 0, 0, b.CreateVector(std::vector{BuildRun(b, run)}), 0, 0,
                               true, static_cast<std::uint32_t>(random_.Below(3000)));
      });
    default:
      return BuildMessage<wire::Get>(head, [&](flatbuffers::FlatBufferBuilder& b) {
        const auto runs = b.CreateVector(std::vector{BuildRun(b, run)});
        const auto list = b.CreateVectorOfStructs(pieces);
        return wire::CreateGet(b, space_, 0, 0, runs, list, b.CreateVector(counts));
      });
  }
}

Bytes HostileClient::Request() {
  if (random_.Below(3) != 0) return HonestRequest(1 + random_.Below(100));
  Bytes story(random_.Below(120));
  for (std::byte& byte : story) byte = static_cast<std::byte>(random_.Next() >> 13);
  Input input(story);
  return random_.Below(8) == 0 ? DaemonMessage(input) : ClientMessage(input);
}

bool HostileClient::Hear(int milliseconds) {
  pollfd readable{fd_.get(), POLLIN, 0};
  if (!fd_ || ::poll(&readable, 1, milliseconds) <= 0) return false;
  std::array<std::byte, 65536> room;
  iovec part{room.data(), room.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(8 * sizeof(int))> control{};
  msghdr request{};
  request.msg_iov = &part;
  request.msg_iovlen = 1;
  request.msg_control = control.data();
  request.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(fd_.get(), &request, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got <= 0) return false;
  for (cmsghdr* rights = CMSG_FIRSTHDR(&request); rights != nullptr;
       rights = CMSG_NXTHDR(&request, rights)) {
    for (std::size_t i = 0; i < (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(rights) + i * sizeof(int), sizeof number);
      passed_.emplace_back(number);
    }
  }
  return true;
}

void HostileClient::OpenPage() {
  if (page_ != nullptr || passed_.size() < 2) return;
  auto page = SharedPage::Open(passed_[0].get());
  if (!page.ok()) return;
  page_ = std::move(page.value());
  ring_.emplace(page_->layout().to_daemon, page_->layout().to_daemon_bytes);
}

void HostileClient::Scribble() {
  if (page_ == nullptr) return;
  const auto bytes = std::as_writable_bytes(std::span(&page_->layout(), 1));
  for (std::uint64_t times = 1 + random_.Below(8); times > 0; --times) {
    // The ends of the rings, what was released, or anything.
    const std::size_t reach = random_.Below(2) == 0 ? 1024 : bytes.size();
    bytes[random_.Below(reach)] = static_cast<std::byte>(random_.Next());
  }
  for (auto& bits : page_->layout().released_bits) {
    if (random_.Below(4) == 0) bits.store(random_.Next());
  }
}

bool HostileClient::Session(bool local) {
  if (!Connect(local)) return false;
  if (random_.Below(6) == 0) {
    Bytes noise(random_.Below(3000));
    for (std::byte& byte : noise) byte = static_cast<std::byte>(random_.Next());
    Send(noise, false);
    return true;
  }
  Bytes hello = Hello(local);
  if (random_.Below(4) == 0) Mutate(hello);
  Send(Output().Raw(FrameHeaderFor(hello.size())).Raw(hello).Take(), false);
  if (random_.Below(8) != 0 && Hear(1000)) ++welcomed_;
  OpenPage();
  if (page_ != nullptr && random_.Below(8) != 0) {
    space_ = random_.Below(4) == 0 ? static_cast<std::uint32_t>(random_.Below(4)) : 2;
    // Most go on with what lets the rest get further.
    SendFrame(OpenRequest({1, kIncarnation, 0}));
    SendFrame(RegisterRequest({2, kIncarnation, 0}));
    (void)Hear(0);
  }
  for (std::uint64_t step = random_.Below(12); step > 0; --step) {
    switch (random_.Below(16)) {
      case 0: Scribble(); break;
      case 1: (void)Hear(1); break;
      default: SendFrame(Request());
    }
  }
  if (random_.Below(2) == 0) (void)Hear(2);
  return true;
}

bool HostileClient::Http() {
  auto fd = BeginConnectTcp(*NumericAddress("127.0.0.1", http_port_));
  if (!fd.ok()) return false;
  fd_ = std::move(fd.value());
  pollfd writable{fd_.get(), POLLOUT, 0};
  if (::poll(&writable, 1, 5000) <= 0) return false;
  static const std::array<std::string, 5> kRequests = {
      "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "GET /healthz HTTP/1.0\r\n\r\n",
      "POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde",
      "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nx",
      "GET /%00%ff?a=b&c HTTP/1.1\r\nRange: bytes=0-,5-1\r\nAccept-Encoding: gzip\r\n\r\n"};
  Bytes request = Output().Raw(kRequests[random_.Below(kRequests.size())]).Take();
  Mutate(request);
  const auto cut = static_cast<std::ptrdiff_t>(random_.Below(request.size() + 1));
  Send({request.begin(), request.begin() + cut}, false);
  Send({request.begin() + cut, request.end()}, false);
  if (random_.Below(2) == 0) (void)Hear(20);
  return true;
}

}  // namespace terrace::fuzz
