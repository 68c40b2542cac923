#include "tests/fuzz/hostile_plane.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "transport/codec.h"

namespace terrace::fuzz {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::uint64_t, 2> kBlockBytes = {4096, 600'000};  // one message, and three
constexpr std::size_t kPayloadMax = kDataPayloadMax + (64 << 10);      // more than may be sent
constexpr std::size_t kEarlierMax = 64;
constexpr std::size_t kPullsMax = 256;

/// What is sent: nobody reads what it says.
std::span<const std::byte> Source() {
  static const Bytes source(kPayloadMax, std::byte{0x5c});
  return source;
}

}  // namespace

std::string HostilePlane::Reached::ToString() const {
  return std::to_string(opened) + " data planes, " + std::to_string(sent) +
         " data messages sent, " + std::to_string(pulled) + " blocks pulled, " +
         std::to_string(pushed) + " messages pushed, " + std::to_string(stored) + " blocks ok, " +
         std::to_string(corrupt) + " corrupt";
}

bool HostilePlane::Round() {
  frames_ = FrameReader(kControlBytesMax);
  heard_.clear();
  token_ = 0;
  opened_ = false;
  spaces_.clear();
  pulls_.clear();
  next_request_ = 1;
  fd_ = Connect();
  if (!fd_) return false;
  SendFrame(client_.Hello(false));
  if (Greeted()) {
    OpenPlane();
    if (opened_) {
      // The small blocks' is the one that the other connections use.
      SendFrame(client_.OpenRequest({next_request_++, HostileClient::kIncarnation, 0}));
      SendFrame(BuildMessage<wire::OpenNamespace>(
          {next_request_++, HostileClient::kIncarnation, 0}, [](flatbuffers::FlatBufferBuilder& b) {
            const auto name = b.CreateString("wide");
            const auto groups =
                b.CreateVector(std::vector{wire::CreateGroup(b, 0, name, kBlockBytes[1])});
            return wire::CreateOpenNamespace(b, name, name, name, name, name, name, name, 16, 1, 16,
                                             groups);
          }));
      SendFrame(client_.RegisterRequest({next_request_++, HostileClient::kIncarnation, 0}));
      const auto until = Clock::now() + 1s;
      while (spaces_.size() < kBlockBytes.size() && data_ && Clock::now() < until) Listen(5ms);
    }
    for (std::uint64_t step = random_.Below(16); step > 0 && data_; --step) Step();
  }
  End();
  return true;
}

UniqueFd HostilePlane::Connect() const {
  auto fd = BeginConnectTcp(*NumericAddress("127.0.0.1", port_));
  if (!fd.ok()) return {};
  pollfd writable{fd->get(), POLLOUT, 0};
  if (::poll(&writable, 1, 5000) <= 0 || (writable.revents & POLLHUP) != 0) return {};
  return std::move(fd.value());
}

void HostilePlane::SendFrame(const Bytes& message) {
  if (!fd_) return;
  const Bytes framed = Output().Raw(FrameHeaderFor(message.size())).Raw(message).Take();
  (void)::send(fd_.get(), framed.data(), framed.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void HostilePlane::HearSocket() {
  std::array<std::byte, 16384> room;
  while (fd_) {
    const ssize_t got = ::recv(fd_.get(), room.data(), room.size(), MSG_DONTWAIT);
    if (got <= 0) return;
    const auto taken = frames_.Take(std::span(room).first(static_cast<std::size_t>(got)),
                                    [this](std::vector<std::byte> frame) {
                                      const auto verified = VerifyMessage(frame);
                                      if (verified.ok()) OnReply(**verified);
                                      return true;
                                    });
    if (!taken.ok()) return;
  }
}

bool HostilePlane::Greeted() {
  const auto until = Clock::now() + 5s;
  while (token_ == 0 && Clock::now() < until) {
    pollfd readable{fd_.get(), POLLIN, 0};
    if (::poll(&readable, 1, 1000) <= 0) continue;
    HearSocket();
    if (token_ == 0 && (readable.revents & (POLLHUP | POLLERR)) != 0) break;
  }
  return token_ != 0;
}

void HostilePlane::OnReply(const wire::Message& message) {
  if (const auto* hello = message.body_as_HelloReply()) {
    token_ = hello->data_token();
  } else if (const auto* opened = message.body_as_OpenNamespaceReply()) {
    spaces_.push_back(opened->namespace_id());
  } else if (const auto* blocks = message.body_as_BlocksReply()) {
    if (blocks->statuses() == nullptr) return;
    for (const std::uint8_t status : *blocks->statuses()) {
      if (status == static_cast<std::uint8_t>(StatusCode::kOk)) ++reached_.stored;
      if (status == static_cast<std::uint8_t>(StatusCode::kCorrupt)) ++reached_.corrupt;
    }
  }
}

bool HostilePlane::HearData() {
  std::array<std::byte, 65536> room;
  bool heard = false;
  while (data_) {
    const ssize_t got = ::recv(data_.get(), room.data(), room.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (got <= 0) {
      data_.Reset();
      break;
    }
    heard = true;
    heard_.insert(heard_.end(), room.begin(), room.begin() + got);
  }
  std::size_t at = 0;
  while (heard_.size() - at >= sizeof(DataHeader)) {
    DataHeader header;
    if (!ReadDataHeader(std::span(heard_).subspan(at, sizeof(DataHeader)), header)) {
      // The daemon breaks no rule of its own; who opened no data plane hears an ErrorReply.
      TERRACE_CHECK(!opened_);
      at = heard_.size();
      break;
    }
    if (heard_.size() - at - sizeof(DataHeader) < header.length) break;
    const auto payload = heard_.begin() + static_cast<std::ptrdiff_t>(at + sizeof(DataHeader));
    OnData(header, Bytes(payload, payload + header.length));
    at += sizeof(DataHeader) + header.length;
  }
  heard_.erase(heard_.begin(), heard_.begin() + static_cast<std::ptrdiff_t>(at));
  return heard;
}

void HostilePlane::OnData(const DataHeader& header, const Bytes& payload) {
  switch (header.kind) {
    case DataKind::kOpened:
      opened_ = opened_ || header.token == token_;
      ++reached_.opened;
      break;
    case DataKind::kPull:
      ++reached_.pulled;
      if (pulls_.size() < kPullsMax) pulls_.push_back(header);
      break;
    case DataKind::kBlock: ++reached_.pushed; break;
    case DataKind::kControl: {
      const auto verified = VerifyMessage(payload);
      TERRACE_CHECK(verified.ok() && Checksum64(payload) == header.checksum);
      OnReply(**verified);
      break;
    }
    default: break;
  }
}

void HostilePlane::OpenPlane() {
  data_ = Connect();
  if (!data_) return;
  const auto frame = [](std::uint64_t token, std::uint64_t incarnation) {
    const auto message = BuildMessage<wire::OpenData>({0, incarnation, 0},
                                                      [&](flatbuffers::FlatBufferBuilder& builder) {
                                                        return wire::CreateOpenData(builder, token);
                                                      });
    return Output().Raw(FrameHeaderFor(message.size())).Raw(message).Take();
  };
  Bytes open = frame(token_, HostileClient::kIncarnation);
  switch (random_.Below(16)) {
    case 0: open = frame(token_ ^ (std::uint64_t{1} << random_.Below(64)), 1); break;
    case 1: open = frame(token_, random_.Next()); break;
    case 2: open.resize(random_.Below(open.size())); break;
    case 3: open[random_.Below(open.size())] ^= std::byte{0x10}; break;
    case 4: {  // twice, and what follows before it may
      const Bytes once = open;
      open.insert(open.end(), once.begin(), once.end());
      break;
    }
    default: break;
  }
  (void)::send(data_.get(), open.data(), open.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  const auto until = Clock::now() + 1s;
  while (!opened_ && data_ && Clock::now() < until) Listen(5ms);
}

void HostilePlane::Listen(std::chrono::milliseconds patience) {
  const auto until = Clock::now() + patience;
  do {
    const bool heard = HearData();
    HearSocket();
    if (heard) continue;
    if (!pulls_.empty()) return;
    std::array<pollfd, 2> ready{{{data_.get(), POLLIN, 0}, {fd_.get(), POLLIN, 0}}};
    if (::poll(ready.data(), ready.size(), 1) > 0 && (ready[1].revents & POLLHUP) != 0) return;
  } while (Clock::now() < until);
}

void HostilePlane::Mutate(DataHeader& header) {
  switch (random_.Below(11)) {
    case 0: header.token ^= std::uint64_t{1} << random_.Below(64); break;
    case 1: header.incarnation = random_.Next(); break;
    case 2: header.request_id = random_.Below(next_request_ + 2); break;
    case 3: header.offset = random_.Below(4) * kChecksumPieceBytes; break;
    case 4: header.block_bytes = random_.Next() >> random_.Below(64); break;
    case 5:
      header.block = static_cast<std::uint32_t>(random_.Next() >> (32 + random_.Below(32)));
      break;
    case 6:
      header.length = static_cast<std::uint32_t>(random_.Next() >> (32 + random_.Below(32)));
      break;
    case 7: header.kind = static_cast<DataKind>(random_.Below(8)); break;
    case 8: header.reserved = static_cast<std::uint32_t>(random_.Below(2)); break;
    default: header.checksum ^= 1U << random_.Below(32);
  }
}

void HostilePlane::SendRaw(const Bytes& header, std::size_t payload) {
  if (!data_) return;
  Bytes bytes = header;
  const auto source = Source().first(std::min(payload, kPayloadMax));
  bytes.insert(bytes.end(), source.begin(), source.end());
  if (random_.Below(64) == 0) bytes.resize(random_.Below(bytes.size() + 1));
  // The daemon may be writing as well: it is heard meanwhile, or neither goes on.
  const auto until = Clock::now() + 100ms;
  for (std::size_t at = 0; at < bytes.size() && data_ && Clock::now() < until;) {
    const ssize_t sent =
        ::send(data_.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      at += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN) {
      pollfd writable{data_.get(), POLLOUT, 0};
      (void)HearData();
      (void)::poll(&writable, 1, 1);
    } else {
      data_.Reset();
    }
  }
  ++reached_.sent;
}

void HostilePlane::SendData(DataHeader header, std::size_t payload) {
  if (earlier_.size() >= kEarlierMax) earlier_.pop_front();
  earlier_.push_back(header);
  Bytes bytes;
  std::ranges::copy(DataHeaderBytes(header), std::back_inserter(bytes));
  if (random_.Below(64) == 0) bytes.resize(random_.Below(2 * bytes.size()));
  SendRaw(bytes, payload);
}

void HostilePlane::AnswerPull() {
  DataHeader answer = pulls_.front();
  pulls_.pop_front();
  const std::uint64_t how = random_.Below(16);
  if (how == 0) return;
  if (how == 1) {
    answer.kind = DataKind::kRefuse;
    return SendData(answer, 0);
  }
  answer.kind = DataKind::kBlock;
  std::vector<std::pair<DataHeader, std::size_t>> parts;
  for (std::size_t at = 0; at < answer.block_bytes; at += kDataPayloadMax) {
    const std::size_t length = std::min<std::size_t>(kDataPayloadMax, answer.block_bytes - at);
    answer.offset = at;
    answer.length = static_cast<std::uint32_t>(length);
    answer.checksum = Checksum64(Source().first(length));
    parts.emplace_back(answer, length);
    if (how == 2 || how == 3) Mutate(parts.back().first);
    if (how == 4) parts.back().second = random_.Below(kPayloadMax);
    if (how == 5) parts.push_back(parts.back());
  }
  if (how == 6) std::ranges::reverse(parts);
  if (how == 7) parts.pop_back();
  for (const auto& [header, length] : parts) {
    SendData(header, length);
    if (how == 8) Listen(1ms);
    if (how == 9 && random_.Below(4) == 0) data_.Reset();
  }
}

void HostilePlane::PutOrGet() {
  const std::size_t kind = random_.Below(8) == 0 ? 1 : 0;
  const std::uint64_t bytes = kBlockBytes[kind];
  const std::uint32_t space = spaces_.size() > kind ? spaces_[kind] : 1;
  const std::uint64_t count = kind == 0 ? 1 + random_.Below(4) : 1;
  const bool put = random_.Below(3) != 0;
  // Few puts find their block, and many gets do.
  if (put || random_.Below(4) == 0) key_ = "key" + std::to_string(random_.Below(1 << 16));
  std::vector<std::string> keys;
  std::vector<wire::Piece> pieces;
  for (std::uint64_t block = 0; block < count; ++block) {
    keys.push_back(key_ + "/" + std::to_string(block));
    pieces.emplace_back(1, 0, block * bytes, bytes);
  }
  const std::vector<std::uint16_t> counts(count, 1);
  KeyRun run;
  for (const std::string& one : keys) run.keys.push_back(std::as_bytes(std::span(one)));
  run.placement = run.keys.front();
  const std::uint64_t budget_us = 1000 + random_.Below(random_.Below(4) == 0 ? 3000 : 300'000);
  const MessageHead head{next_request_++, HostileClient::kIncarnation,
                         static_cast<std::uint32_t>(budget_us)};
  using Builder = flatbuffers::FlatBufferBuilder;
  if (put) {
    return SendFrame(BuildMessage<wire::Put>(head, [&](Builder& b) {
      const auto runs = b.CreateVector(std::vector{BuildRun(b, run)});
      const auto list = b.CreateVectorOfStructs(pieces);
      return wire::CreatePut(b, space, 0, 0, runs, list, b.CreateVector(counts));
    }));
  }
  SendFrame(BuildMessage<wire::Get>(head, [&](Builder& b) {
    const auto runs = b.CreateVector(std::vector{BuildRun(b, run)});
    const auto list = b.CreateVectorOfStructs(pieces);
    return wire::CreateGet(b, space, 0, 0, runs, list, b.CreateVector(counts));
  }));
}

void HostilePlane::Step() {
  switch (random_.Below(16)) {
    case 0: {
      Bytes request = client_.Request();
      if (random_.Below(4) == 0) client_.Mutate(request);
      SendFrame(request);
      break;
    }
    case 1:
      if (!earlier_.empty()) {
        DataHeader again = earlier_[random_.Below(earlier_.size())];
        const std::size_t length = again.length;
        if (random_.Below(2) == 0) again.token = token_;
        SendData(again, length);
      }
      break;
    case 2: {
      Bytes header(random_.Below(4) == 0 ? random_.Below(300) : sizeof(DataHeader));
      for (std::byte& byte : header) byte = static_cast<std::byte>(random_.Next());
      SendRaw(header, random_.Below(4) == 0 ? random_.Below(kPayloadMax) : random_.Below(4096));
      break;
    }
    case 3: {
      DataHeader header;
      header.token = token_;
      header.incarnation = HostileClient::kIncarnation;
      header.request_id = random_.Below(next_request_ + 1);
      header.kind = static_cast<DataKind>(1 + random_.Below(5));
      header.block_bytes = header.length = 4096;
      if (random_.Below(2) == 0) Mutate(header);
      SendData(header, header.kind == DataKind::kBlock ? 4096 : 0);
      break;
    }
    case 4:
      SendFrame(BuildMessage<wire::Cancel>(
          {next_request_++, HostileClient::kIncarnation, 0},
          [&](auto& b) { return wire::CreateCancel(b, random_.Below(next_request_ + 1)); }));
      break;
    case 5: Listen(std::chrono::milliseconds(random_.Below(3))); break;
    default: PutOrGet();
  }
  if (random_.Below(4) != 0) Listen(2ms);
  while (!pulls_.empty() && data_ && random_.Below(16) != 0) AnswerPull();
}

void HostilePlane::End() {
  if (random_.Below(2) == 0) Listen(2ms);
  // Which half goes first, and whether anything is said in between.
  const bool socket_first = random_.Below(2) == 0;
  if (socket_first) fd_.Reset();
  if (!socket_first) data_.Reset();
  if (random_.Below(4) == 0) {
    Step();
    Listen(1ms);
  }
  fd_.Reset();
  data_.Reset();
}

}  // namespace terrace::fuzz
