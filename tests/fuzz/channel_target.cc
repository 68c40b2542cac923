// The client's channel on its host, whose daemon says, passes and writes whatever it likes: the
// channel ends at most once, is silent afterwards, and lends only what lies in an extent.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "base/check.h"
#include "base/shared_loop.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/wire_story.h"
#include "transport/channel_factory.h"
#include "transport/codec.h"

namespace terrace::fuzz {
namespace {

constexpr std::size_t kExtentBytes = 64 << 10;

UniqueFd SealedMemory(std::size_t bytes, int seals) {
  UniqueFd memory(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  TERRACE_CHECK(::ftruncate(memory.get(), static_cast<off_t>(bytes)) == 0);
  TERRACE_CHECK(seals == 0 || ::fcntl(memory.get(), F_ADD_SEALS, seals) == 0);
  return memory;
}

/// What all inputs share: making these takes longer than an input.
struct World {
  SteadyClock clock;
  std::unique_ptr<Reactor> reactor =
      std::move(Reactor::Create({.name = "fuzz", .shared = true}, clock)).value();
  std::unique_ptr<SharedLoop> loop = std::move(SharedLoop::Create(*reactor)).value();
  ChannelFactoryImpl factory{*reactor};
  UniqueFd page_memory;
  std::shared_ptr<SharedPage> page = std::move(SharedPage::Create(&page_memory)).value();
  UniqueFd extent = SealedMemory(kExtentBytes, F_SEAL_SHRINK | F_SEAL_GROW);
  UniqueFd unsealed = SealedMemory(kExtentBytes, 0);
  std::array<Bell, 2> bells = std::move(Bell::MakePair()).value();
  std::array<UniqueFd, 2> client_bell = std::move(bells[1]).Take();

  World() { TERRACE_CHECK(factory.Init().ok()); }
  /// Runs `function` on the loop, and turns of the loop.
  void Turn(std::function<void()> function = {}) {
    Signal turned;
    loop->Enqueue([&] {
      if (function) function();
      turned.Set();
    });
    TERRACE_CHECK(loop->DriveUntil(turned, clock.Now() + 60 * kSecond));
  }
};

/// The engine's side.
class Handler final : public ChannelHandler {
 public:
  void OnMessage(const wire::Message& message) override {
    TERRACE_CHECK(!closed);
    const auto* blocks = message.body_as_BlocksReply();
    if (blocks == nullptr || blocks->loans() == nullptr) return;
    for (const wire::Loan* loan : *blocks->loans()) {
      auto lent = channel->TakeLoan(*loan);
      if (lent == nullptr) continue;
      TERRACE_CHECK(lent->bytes().size() == loan->length() && loan->length() <= kExtentBytes);
      // All of it can be read.
      volatile std::byte first = lent->bytes().front();
      volatile std::byte last = lent->bytes().back();
      (void)first, (void)last;
      kept.push_back(std::move(lent));
    }
  }
  void OnQuiet(std::uint64_t) override { TERRACE_CHECK(!closed); }
  void OnClosed(const Status& reason) override {
    TERRACE_CHECK(!closed && !reason.ok());
    closed = true;
  }
  Channel* channel = nullptr;
  bool closed = false;
  std::vector<std::unique_ptr<LentMemory>> kept;
};

void Reset(SharedLayout& layout) {
  layout.magic = SharedLayout::kMagic;
  layout.version = kSharedPageVersion;
  for (RingEnds* ends : {&layout.to_daemon, &layout.to_client}) {
    ends->head.store(0);
    ends->tail.store(0);
    ends->reader_sleeps.store(0);
    ends->writer_waits.store(0);
  }
}

class Story {
 public:
  Story(Input& input, World& world)
      : input_(input), world_(world), to_client_(Ends().to_client, Ends().to_client_bytes) {
    std::array<int, 2> ends{};
    TERRACE_CHECK(
        ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
    daemon_ = UniqueFd(ends[0]);
    ChannelOptions options;
    options.incarnation = 1;
    options.verify_same_host = input.Flag();
    channel_.emplace(world.factory, std::move(options), handler_);
    handler_.channel = &*channel_;
    client_ = UniqueFd(ends[1]);
  }

  /// All of it on the loop or between its turns.
  void Tell() {
    world_.Turn([this] { scope_.Spawn(Greet()); });
    SayHello();
    world_.Turn();
    world_.Turn([this] { Begin(); });
    for (int step = 0; step < 24 && !input_.empty() && daemon_; ++step) Step();
    world_.Turn();
    // A daemon that is gone lets go of everything; the greeting ends with it.
    daemon_.Reset();
    while (scope_.live() > 0) world_.Turn();
    world_.Turn([this] {
      channel_->Close();
      channel_.reset();
    });
    handler_.kept.clear();
  }

 private:
  SharedLayout& Ends() { return world_.page->layout(); }
  Task<void> Greet() {
    const Status status = co_await channel_->Greet(std::move(client_), LinkKind::kShm, nullptr,
                                                   world_.clock.Now() + 60 * kSecond);
    TERRACE_CHECK(status.ok() == channel_->Alive() || handler_.closed);
  }
  void Begin() {
    if (!channel_->Alive()) return;
    channel_->AddRegion(1, {memory_, nullptr});
    channel_->Expect(1, {std::span(memory_).first(64), std::span(memory_).subspan(64, 64)});
    channel_->Offer(2, {std::span(memory_).first(64)});
  }
  /// Over the socket, with descriptors.
  void Pass(std::span<const std::byte> bytes, std::span<const int> descriptors) {
    if (bytes.empty()) return;
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(4 * sizeof(int))> control{};
    msghdr request{};
    request.msg_iov = &part;
    request.msg_iovlen = 1;
    if (!descriptors.empty()) {
      request.msg_control = control.data();
      request.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
      cmsghdr* const rights = CMSG_FIRSTHDR(&request);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
      std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
    }
    (void)::sendmsg(daemon_.get(), &request, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  static Bytes Framed(std::span<const std::byte> message) {
    return Output().Raw(FrameHeaderFor(message.size())).Raw(message).Take();
  }
  void SayHello() {
    const std::uint8_t how = input_.Byte();
    Bytes reply;
    if (how % 8 == 7) {
      reply = DaemonMessage(input_);
    } else {
      reply = BuildMessage<wire::HelloReply>({}, [&](flatbuffers::FlatBufferBuilder& builder) {
        wire::HelloReplyBuilder hello(builder);
        hello.add_version(1);
        hello.add_link(static_cast<std::uint8_t>(LinkKind::kShm));
        hello.add_shared_version(kSharedPageVersion);
        return hello.Finish();
      });
    }
    const std::array<int, 4> passed = {world_.page_memory.get(), world_.client_bell[0].get(),
                                       world_.client_bell[1].get(), world_.extent.get()};
    const std::array<int, 3> wrong = {world_.extent.get(), world_.client_bell[0].get(),
                                      world_.client_bell[1].get()};
    if (how == 128) {
      Pass(Framed(reply), wrong);
    } else {
      Pass(Framed(reply), std::span(passed).first(how == 255 ? 4U : how >= 252 ? how - 252U : 3U));
    }
  }
  void Step() {
    const std::uint8_t kind = input_.Byte();
    switch (kind % 8) {
      case 0:
      case 1: {
        const Bytes framed = Framed(DaemonMessage(input_));
        (void)to_client_.Write(framed);
        (void)to_client_.Publish();
        break;
      }
      case 2: Pass(Framed(DaemonMessage(input_)), {}); return;
      case 3: {
        const int passed = kind >= 128 ? world_.unsealed.get() : world_.extent.get();
        const auto offer = [&](flatbuffers::FlatBufferBuilder& builder) {
          const std::uint32_t extent = input_.Byte() % 3U;
          const std::uint32_t edition = input_.Byte() % 3U;
          return wire::CreateExtentOffer(builder, extent, edition,
                                         input_.Byte() % 8 == 7 ? input_.Wild() : kExtentBytes);
        };
        Pass(Framed(BuildMessage<wire::ExtentOffer>({}, offer)), {&passed, 1});
        return;
      }
      case 4: Pass(input_.Chunk(), {}); break;
      case 5: Scribble(); break;
      case 6: Engine(kind); return;
      default: (void)to_client_.Write(input_.Chunk()); (void)to_client_.Publish();
    }
    // Some things happen before the client looks again.
    if ((kind & 64) == 0) world_.Turn();
  }
  void Scribble() {
    RingEnds& ends = input_.Flag() ? Ends().to_client : Ends().to_daemon;
    auto& end = input_.Flag() ? ends.head : ends.tail;
    end.store(input_.Wild());
    Ends().generations[input_.Byte()].store(input_.Byte());
  }
  /// What the engine does meanwhile.
  void Engine(std::uint8_t kind) {
    world_.Turn([this, kind] {
      switch (kind / 8 % 4) {
        case 0: (void)channel_->Withdraw(1); break;
        case 1: channel_->Send(BuildMessage<wire::Ping>({3, 1, 0})); break;
        case 2: handler_.kept.clear(); break;
        default:
          for (std::uint32_t block = 0; block < 3; ++block) (void)channel_->Arrived(1, block);
      }
    });
  }

  Input& input_;
  World& world_;
  RingWriter to_client_;
  Handler handler_;
  std::array<std::byte, 256> memory_{};
  UniqueFd daemon_;
  UniqueFd client_;
  TaskScope scope_;
  std::optional<ChannelImpl> channel_;
};

void Run(std::span<const std::byte> bytes) {
  // Never destroyed: it must outlive whatever the process does at its end.
  static World& world = *new World;
  Reset(world.page->layout());
  Input input(bytes);
  Story(input, world).Tell();
}

std::vector<Bytes> Seeds() {
  const auto lend = [](Output& out, unsigned way) {
    out.Byte(way).Byte(1).Byte(1).Byte(1).Put(std::uint32_t{0});
    out.Byte(1).Byte(0).Byte(1).Byte(1).Byte(1).Byte(1).Byte(7).Byte(7).Byte(1);
    out.Byte(1).Byte(1).Byte(1).Byte(0).Byte(1).Byte(160 + 12);
  };
  Output honest;
  honest.Byte(0).Byte(0).Byte(3).Byte(1).Byte(1).Byte(0);
  lend(honest, 0);
  honest.Byte(6 + 24).Byte(6).Byte(6 + 16);
  Output late;  // the reply comes over the socket, and names what was never offered
  late.Byte(0).Byte(0);
  lend(late, 2);
  lend(late, 2);
  lend(late, 2);
  Output recalled;
  recalled.Byte(1).Byte(0).Byte(3).Byte(1).Byte(1).Byte(0);
  lend(recalled, 0);
  recalled.Byte(0).Byte(9).Byte(0).Byte(0).Put(std::uint32_t{0}).Byte(1).Byte(1).Byte(5).Byte(1);
  std::vector<Bytes> seeds = {honest.Take(), late.Take(), recalled.Take()};
  for (const unsigned how : {7U, 128U, 252U, 253U, 255U}) {
    seeds.push_back(Output().Byte(0).Byte(how).Byte(0).Byte(1).Byte(1).Chunk("x").Take());
  }
  return seeds;
}

}  // namespace

const Target kChannelTarget{.name = "channel", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
