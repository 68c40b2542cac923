// Messages over the rings of a shared page whose other side is a process that may write anything
// into them: the daemon's end hears whole messages within its limit, or ends.
#include <unistd.h>

#include <array>
#include <optional>

#include "base/check.h"
#include "base/clock.h"
#include "base/reactor.h"
#include "base/shared_loop.h"
#include "base/signal.h"
#include "tests/fuzz/fuzz_input.h"
#include "transport/shm/ring_stream.h"

namespace terrace::fuzz {
namespace {

constexpr std::size_t kFrameMax = 4096;

class Owner final : public ControlStreamOwner {
 public:
  void OnFrame(std::vector<std::byte> message) override {
    TERRACE_CHECK(!ended && !message.empty() && message.size() <= kFrameMax);
    if (close_in_frame != nullptr) close_in_frame->Close();
    heard.push_back(std::move(message));
  }
  void OnStreamEnd(const Status& reason) override {
    TERRACE_CHECK(!ended && !reason.ok());
    ended = true;
  }
  std::vector<Bytes> heard;
  bool ended = false;
  RingStream* close_in_frame = nullptr;
};

/// What all inputs share: making these takes longer than an input.
struct World {
  SteadyClock clock;
  std::unique_ptr<Reactor> reactor =
      std::move(Reactor::Create({.name = "fuzz", .shared = true}, clock)).value();
  std::unique_ptr<SharedLoop> loop = std::move(SharedLoop::Create(*reactor)).value();
  std::unique_ptr<RingHub> hub = std::move(RingHub::Create(*reactor)).value();
  std::shared_ptr<SharedPage> page = [] {
    UniqueFd memory;
    return std::move(SharedPage::Create(&memory)).value();
  }();
  std::array<Bell, 2> bells = std::move(Bell::MakePair()).value();
  std::array<UniqueFd, 2> daemon_bell = std::move(bells[0]).Take();  // each stream gets copies
};

/// Lets the reactor forget the streams that are gone.
void Turn(World& world) {
  Signal turned;
  world.loop->Enqueue([&turned] { turned.Set(); });
  TERRACE_CHECK(world.loop->DriveUntil(turned, world.clock.Now() + 10 * kSecond));
}

void Reset(RingEnds& ends) {
  ends.head.store(0);
  ends.tail.store(0);
  ends.reader_sleeps.store(0);
  ends.writer_waits.store(0);
}

void Scribble(Input& input, SharedLayout& layout) {
  RingEnds& ends = input.Flag() ? layout.to_daemon : layout.to_client;
  const std::uint64_t value = input.Wild();
  switch (input.Byte() % 5) {
    case 0: ends.head.store(value); break;
    case 1: ends.tail.store(value); break;
    case 2: ends.reader_sleeps.store(static_cast<std::uint32_t>(value)); break;
    case 3: ends.writer_waits.store(static_cast<std::uint32_t>(value)); break;
    default: layout.to_daemon_bytes[value % kRingBytes] = static_cast<std::byte>(value >> 8);
  }
}

/// The peer, step by step.
class Story {
 public:
  Story(Input& input, World& world)
      : input_(input),
        layout_(world.page->layout()),
        to_daemon_(layout_.to_daemon, layout_.to_daemon_bytes),
        from_daemon_(layout_.to_client, layout_.to_client_bytes),
        stream_(std::in_place, *world.hub, world.page, RingStream::Side::kDaemon,
                Bell(UniqueFd(::dup(world.daemon_bell[0].get())),
                     UniqueFd(::dup(world.daemon_bell[1].get()))),
                kFrameMax, owner_) {}

  void Tell() {
    for (int step = 0; step < 100 && !input_.empty(); ++step) Step();
    for (int turn = 0; turn < 20; ++turn) (void)stream_->Drain();
    if (honest_) {
      TERRACE_CHECK(!owner_.ended && owner_.heard == said_);
    } else if (owner_.ended) {
      const std::size_t heard = owner_.heard.size();
      (void)stream_->Drain();
      TERRACE_CHECK(owner_.heard.size() == heard);
    }
  }

 private:
  void Say(std::span<const std::byte> bytes) {
    if (to_daemon_.Write(bytes) < bytes.size()) honest_ = false;  // the rest is lost
    (void)to_daemon_.Publish();
  }
  void Step() {
    switch (input_.Byte() % 8) {
      case 0:
      case 1: {
        const auto message = input_.Chunk();
        if (message.empty()) break;
        Say(FrameHeaderFor(message.size()));
        Say(message);
        if (honest_) said_.push_back(Aligned(message));
        break;
      }
      case 2:
        honest_ = false;
        Say(input_.Chunk());
        break;
      case 3: (void)stream_->Drain(); break;
      case 4: {
        // Seldom one that fills the ring by itself: what takes the time is to write it.
        const std::size_t length = input_.Take<std::uint16_t>();
        stream_->Send(Bytes(1 + (length >= 0xf000 ? length : length % 4096), std::byte{9}));
        break;
      }
      case 5: {
        std::array<std::byte, 2048> room;
        (void)from_daemon_.Read(std::span(room).first(input_.Byte() * std::size_t{8}));
        (void)from_daemon_.Free();
        break;
      }
      case 6: (void)stream_->FallAsleep(); break;
      default:
        honest_ = false;
        if (input_.Byte() % 16 == 0) {
          owner_.close_in_frame = &*stream_;
        } else {
          Scribble(input_, layout_);
        }
    }
  }
  static Bytes Aligned(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

  Input& input_;
  SharedLayout& layout_;
  RingWriter to_daemon_;
  RingReader from_daemon_;
  Owner owner_;
  std::vector<Bytes> said_;
  bool honest_ = true;
  std::optional<RingStream> stream_;
};

void Run(std::span<const std::byte> bytes) {
  // Never destroyed: it must outlive whatever the process does at its end.
  static World& world = *new World;
  Reset(world.page->layout().to_daemon);
  Reset(world.page->layout().to_client);
  Input input(bytes);
  Story(input, world).Tell();
  Turn(world);  // or what one input left behind would be taken for a leak of the next
}

std::vector<Bytes> Seeds() {
  Output honest;
  Output hostile;
  for (unsigned i = 1; i < 5; ++i) {
    honest.Byte(0).Chunk(std::string(40 * i, 'm')).Byte(3).Byte(4).Put(std::uint16_t{900});
    honest.Byte(5).Byte(100).Byte(6);
    hostile.Byte(0).Chunk("message").Byte(7).Byte(1).Byte(1).Byte(160 + i).Byte(i).Byte(3);
  }
  Output rubbish;
  rubbish.Byte(2).Chunk("TRRF\xff\xff\xff\x7f").Byte(3).Byte(2).Chunk("no frame").Byte(3);
  Output full;
  for (int i = 0; i < 3; ++i) full.Byte(4).Put(std::uint16_t{65000}).Byte(5).Byte(255).Byte(3);
  return {honest.Take(), hostile.Take(), rubbish.Take(), full.Take()};
}

}  // namespace

const Target kRingStreamTarget{.name = "ring_stream", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
