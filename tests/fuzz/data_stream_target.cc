// Data messages over a connection whose other end is a process that may send anything in any
// pieces: a stream hears whole messages that fit their headers, or ends; and what it writes itself
// is whole messages, whatever was abandoned meanwhile.
#include <sys/socket.h>

#include <array>
#include <memory>
#include <optional>

#include "base/check.h"
#include "base/clock.h"
#include "base/reactor.h"
#include "base/shared_loop.h"
#include "base/signal.h"
#include "tests/fuzz/fuzz_input.h"
#include "transport/tcp/data_stream.h"

namespace terrace::fuzz {
namespace {

constexpr DataSender::Identity kIdentity{.token = 7, .incarnation = 5};

class Owner final : public DataStreamOwner {
 public:
  void OnData(const DataHeader& header, std::span<const std::byte> payload) override {
    TERRACE_CHECK(!ended && header.length == payload.size() && payload.size() <= kDataPayloadMax);
    TERRACE_CHECK((header.kind == DataKind::kBlock) == !payload.empty());
    Hear(payload);
  }
  void OnControl(std::vector<std::byte> message) override {
    TERRACE_CHECK(!ended && !message.empty() && message.size() <= kControlBytesMax);
    Hear(message);
  }
  void OnBlockSent(const std::shared_ptr<Outgoing>& outgoing) override {
    TERRACE_CHECK(!ended && outgoing->ended && outgoing->taken == outgoing->size);
  }
  void OnDataEnd(const Status& reason) override {
    TERRACE_CHECK(!ended && !reason.ok());
    ended = true;
  }
  std::vector<Bytes> heard;
  bool ended = false;
  std::optional<DataStream>* close_in_call = nullptr;

 private:
  void Hear(std::span<const std::byte> payload) {
    heard.emplace_back(payload.begin(), payload.end());
    if (close_in_call != nullptr) close_in_call->reset();
  }
};

/// What all inputs share: making these takes longer than an input.
struct World {
  SteadyClock clock;
  std::unique_ptr<Reactor> reactor =
      std::move(Reactor::Create({.name = "fuzz", .shared = true}, clock)).value();
  std::unique_ptr<SharedLoop> loop = std::move(SharedLoop::Create(*reactor)).value();
  std::unique_ptr<SocketPoll> poll = std::move(SocketPoll::Create(*reactor)).value();
  PayloadShelf shelf;
};

/// The peer, step by step.
class Story {
 public:
  /// `may_be_long`: an input with long blocks takes 100 times as long, and shows little more.
  Story(Input& input, World& world, bool may_be_long)
      : input_(input), world_(world), long_(may_be_long) {
    std::array<int, 2> ends{};
    TERRACE_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()) == 0);
    peer_ = UniqueFd(ends[0]);
    to_client_ = input.Flag();
    stream_.emplace(
        DataStream::Shared{*world.poll, world.reactor->scheduler(), world.shelf}, UniqueFd(ends[1]),
        to_client_ ? DataStream::Side::kClient : DataStream::Side::kDaemon, kIdentity, owner_);
    TERRACE_CHECK(stream_->Start().ok());
  }

  void Tell() {
    for (int step = 0; step < 60 && !input_.empty(); ++step) Step();
    for (int turn = 0; turn < 3; ++turn) Turn();
    Drain();
    if (honest_) TERRACE_CHECK(!owner_.ended && owner_.heard == said_);
    stream_.reset();
    Turn();  // or what one input left behind would be taken for a leak of the next
  }

 private:
  void Turn() {
    Signal turned;
    world_.loop->Enqueue([&turned] { turned.Set(); });
    TERRACE_CHECK(world_.loop->DriveUntil(turned, world_.clock.Now() + 10 * kSecond));
  }
  void Say(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    const ssize_t sent = ::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent != std::ssize(bytes)) honest_ = false;  // the rest is lost
  }
  DataHeader Header(std::span<const std::byte> payload) {
    DataHeader header;
    header.token = kIdentity.token;
    header.incarnation = kIdentity.incarnation;
    header.request_id = input_.Byte();
    header.block = input_.Byte();
    header.length = static_cast<std::uint32_t>(payload.size());
    header.checksum = payload.empty() ? 0 : Checksum64(payload);
    if (payload.empty()) {
      header.kind = to_client_ ? DataKind::kPull : DataKind::kRefuse;
    } else if (to_client_ && input_.Flag()) {
      header.kind = DataKind::kControl;
    } else {
      header.block_bytes = payload.size();
    }
    return header;
  }
  void SayMessage(std::span<const std::byte> payload) {
    const DataHeader header = Header(payload);
    const auto bytes = DataHeaderBytes(header);
    const std::size_t first = input_.Byte() % sizeof(DataHeader);
    Say(bytes.first(first));
    if (input_.Flag()) Turn();
    Say(bytes.subspan(first));
    const std::size_t half = payload.size() / 2;
    Say(payload.first(half));
    if (input_.Flag()) Turn();
    Say(payload.subspan(half));
    if (honest_) said_.emplace_back(payload.begin(), payload.end());
  }
  void SayLie(std::span<const std::byte> payload) {
    DataHeader header = Header(payload);
    switch (input_.Byte() % 8) {
      case 0: header.token ^= input_.Wild(); break;
      case 1: header.kind = static_cast<DataKind>(input_.Take<std::uint32_t>()); break;
      case 2: header.length = input_.Take<std::uint32_t>(); break;
      case 3: header.offset = input_.Wild(); break;
      case 4: header.block_bytes = input_.Wild(); break;
      case 5: header.reserved = input_.Byte(); break;
      case 6: header.checksum = input_.Wild(); break;
      default: header.incarnation = input_.Wild();
    }
    honest_ = false;
    Say(DataHeaderBytes(header));
    Say(payload);
  }
  /// A block of the stream's own, which may be abandoned and freed while it is under way.
  void Send() {
    const std::size_t length = input_.Take<std::uint16_t>();
    const bool may_be_long = long_ && length >= 0xff00;  // of several messages
    auto bytes = std::make_unique<Bytes>(1 + (may_be_long ? 8 * length : length % 1024));
    auto block = std::make_shared<Outgoing>();
    block->bytes = *bytes;
    block->size = bytes->size();
    stream_->Send(block);
    if (input_.Flag()) Turn();
    if (input_.Flag()) {
      if (stream_) stream_->Abandon(block);
      bytes.reset();
    } else {
      kept_.push_back(std::move(bytes));
    }
  }
  /// Hears the stream.
  void Drain() {
    static std::array<std::byte, 65536> room;
    for (;;) {
      const ssize_t got = ::recv(peer_.get(), room.data(), room.size(), MSG_DONTWAIT);
      if (got <= 0) break;
      written_.insert(written_.end(), room.begin(), room.begin() + got);
    }
    std::size_t at = 0;
    DataHeader header;
    while (written_.size() - at >= sizeof(DataHeader)) {
      const auto rest = std::span(written_).subspan(at);
      TERRACE_CHECK(ReadDataHeader(rest.first(sizeof(DataHeader)), header));
      if (rest.size() - sizeof(DataHeader) < header.length) break;
      const auto payload = rest.subspan(sizeof(DataHeader), header.length);
      TERRACE_CHECK(payload.empty() || Checksum64(payload) == header.checksum);
      at += sizeof(DataHeader) + header.length;
    }
    written_.erase(written_.begin(), written_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void Step() {
    switch (input_.Byte() % 8) {
      case 0:
      case 1: SayMessage(input_.Chunk()); break;
      case 2: SayLie(input_.Chunk()); break;
      case 3:
        honest_ = honest_ && input_.empty();
        Say(input_.Chunk());
        break;
      case 4:
        if (stream_) Send();
        break;
      case 5:
        if (stream_) {
          (void)stream_->SendControl(Bytes(1 + input_.Take<std::uint16_t>() % 4096U, std::byte{9}));
        }
        break;
      case 6: Drain(); break;
      default:
        if (input_.Byte() % 16 == 0) {
          honest_ = false;
          owner_.close_in_call = &stream_;
        } else {
          Turn();
        }
    }
  }

  Input& input_;
  World& world_;
  const bool long_;
  const SocketPoll::Awaited look_{world_.poll.get()};  // at the sockets, on every turn
  UniqueFd peer_;
  bool to_client_ = false;
  Owner owner_;
  std::vector<Bytes> said_;
  bool honest_ = true;
  Bytes written_;
  std::vector<std::unique_ptr<Bytes>> kept_;
  std::optional<DataStream> stream_;
};

void Run(std::span<const std::byte> bytes) {
  // Never destroyed: it must outlive whatever the process does at its end.
  static World& world = *new World;
  Input input(bytes);
  Story(input, world, Checksum64(bytes) % 32 == 0).Tell();
}

std::vector<Bytes> Seeds() {
  std::vector<Bytes> seeds;
  for (unsigned side = 0; side < 2; ++side) {
    Output honest;
    Output hostile;
    honest.Byte(side);
    hostile.Byte(side);
    for (unsigned i = 0; i < 5; ++i) {
      honest.Byte(0).Chunk(std::string(50 * i, 'm')).Byte(i).Byte(i);
      if (side == 1 && i > 0) honest.Byte(i);  // kControl or kBlock
      honest.Byte(10 * i).Byte(i).Byte(1);
      honest.Byte(4).Put(std::uint16_t{900}).Byte(i).Byte(i >> 1);
      honest.Byte(5).Put(std::uint16_t{30}).Byte(6);
      hostile.Byte(2).Chunk("payload").Byte(1).Byte(1).Byte(i).Byte(i).Byte(255).Byte(7).Byte(1);
    }
    seeds.push_back(honest.Take());
    seeds.push_back(hostile.Take());
    Bytes large;
    for (unsigned salt = 0; large.empty() || Checksum64(large) % 32 != 0; ++salt) {
      Output output;
      output.Byte(side);
      for (unsigned i = 0; i < 4; ++i) output.Byte(4).Put(std::uint16_t{0xffff}).Byte(1).Byte(i);
      large = output.Byte(6).Byte(6).Byte(salt).Take();
    }
    seeds.push_back(large);
  }
  return seeds;
}

}  // namespace

const Target kDataStreamTarget{.name = "data_stream", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
