// Leases when the client writes whatever it likes into the shared page: a frame is given back
// exactly once, and never while a reader may still be told that its bytes were good.
#include <array>

#include "base/check.h"
#include "tests/base/simulated_time.h"
#include "tests/fuzz/fuzz_input.h"
#include "transport/shm/lease_board.h"
#include "transport/shm/lent_memory.h"

namespace terrace::fuzz {
namespace {

constexpr std::size_t kFrames = 16;
constexpr std::size_t kFrameBytes = 64;

/// Owns the frames, and knows who has them.
class Frames final : public Hold::Owner {
 public:
  void Release(std::uint64_t frame) noexcept override {
    TERRACE_CHECK(pinned_[frame]);
    pinned_[frame] = false;
    --count_;
    // Whoever reads it from here on must be told.
    if (page_ != nullptr) {
      TERRACE_CHECK(page_->layout().generations[loans_[frame].slot].load() !=
                    loans_[frame].generation);
    }
  }
  /// Nothing when all are lent.
  Hold Take(std::size_t frame) {
    if (pinned_[frame]) return {};
    pinned_[frame] = true;
    ++count_;
    return {std::span(memory_).subspan(frame * kFrameBytes, kFrameBytes), this, frame};
  }
  void Note(std::size_t frame, const Loan& loan) { loans_[frame] = loan; }
  void Watch(SharedPage* page) { page_ = page; }
  [[nodiscard]] bool pinned(std::size_t frame) const { return pinned_[frame]; }
  [[nodiscard]] const Loan& loan(std::size_t frame) const { return loans_[frame]; }
  [[nodiscard]] std::size_t count() const { return count_; }

 private:
  std::array<std::byte, kFrames * kFrameBytes> memory_{};
  std::array<bool, kFrames> pinned_{};
  std::size_t count_ = 0;  // of those that are pinned
  std::array<Loan, kFrames> loans_{};
  SharedPage* page_ = nullptr;
};

/// One page for all inputs, as new for each: only the first slots are ever used.
std::shared_ptr<SharedPage> FreshPage() {
  static const auto page = [] {
    UniqueFd memory;
    return std::move(SharedPage::Create(&memory)).value();
  }();
  SharedLayout& layout = page->layout();
  for (auto& bits : layout.released_bits) bits.store(0, std::memory_order_relaxed);
  for (std::size_t slot = 0; slot < 2 * kFrames; ++slot) {
    layout.generations[slot].store(0);
    layout.released[slot].store(0);
  }
  return page;
}

/// What the client does to the page: honestly for `frame`, or not.
void Client(Input& input, SharedLayout& layout, const Frames& frames, bool& scribbled) {
  const std::size_t frame = input.Byte() % kFrames;
  const std::uint64_t value = input.Wild();
  const std::uint32_t slot = input.Byte() % (2 * kFrames);
  switch (input.Byte() % 4) {
    case 0:
      LentMemory::GiveBack(layout, frames.loan(frame).slot, frames.loan(frame).generation);
      return;
    case 1:
      layout.released_bits[value % std::size(layout.released_bits)].store(input.Wild());
      return;
    case 2: layout.released[slot].store(static_cast<std::uint32_t>(value)); return;
    default:
      // Its own readers are then told nonsense, nobody else's.
      layout.generations[slot].store(static_cast<std::uint32_t>(value));
      scribbled = true;
  }
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  terrace::testing::SimulatedTime time;
  LeaseCounters counters;
  Frames frames;
  const auto page = FreshPage();
  bool scribbled = false;
  frames.Watch(page.get());
  {
    LeaseBoard board(page, time.scheduler(),
                     {.counters = counters, .bytes_max = kFrameBytes * (1 + input.Byte() % 40U)},
                     {.counters = counters, .bytes_max = 0});
    for (int step = 0; step < 64 && !input.empty(); ++step) {
      switch (input.Byte() % 4) {
        case 0: {
          const std::size_t frame = input.Byte() % kFrames;
          Hold hold = frames.Take(frame);
          if (!hold) break;
          frames.Watch(nullptr);  // one that was not lent comes straight back
          const auto loan =
              board.Lend(std::move(hold), {.extent = 1, .edition = 1, .offset = 0},
                         time.Now() + static_cast<Nanos>(input.Byte()) * kMillisecond);
          TERRACE_CHECK(loan.ok() == frames.pinned(frame));
          if (loan.ok()) frames.Note(frame, *loan);
          if (!scribbled) frames.Watch(page.get());
          break;
        }
        case 1: time.RunUntil(time.Now() + static_cast<Nanos>(input.Byte()) * kMillisecond); break;
        case 2: board.Collect(); break;
        default:
          Client(input, page->layout(), frames, scribbled);
          if (scribbled) frames.Watch(nullptr);
      }
      TERRACE_CHECK(board.leases() == frames.count());
      TERRACE_CHECK(counters.now.load() == frames.count());
      TERRACE_CHECK(counters.bytes_now.load() == frames.count() * kFrameBytes);
    }
  }
  TERRACE_CHECK(frames.count() == 0 && counters.now.load() == 0 &&
                counters.granted.load() == counters.released.load() + counters.expired.load());
}

std::vector<Bytes> Seeds() {
  Output honest;
  Output hostile;
  honest.Byte(39);
  hostile.Byte(39);
  for (unsigned i = 0; i < 6; ++i) {
    honest.Byte(0).Byte(i).Byte(200).Byte(3).Byte(i / 2).Byte(0).Byte(0).Byte(0).Byte(2);
    honest.Byte(1).Byte(30);
    hostile.Byte(0).Byte(i).Byte(100).Byte(3).Byte(i).Byte(1).Byte(i).Byte(i).Byte(255).Byte(2);
    hostile.Byte(1).Byte(60);
  }
  return {honest.Take(), hostile.Take()};
}

}  // namespace

const Target kLeaseTarget{.name = "lease", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
