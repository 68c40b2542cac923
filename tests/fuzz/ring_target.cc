// The ends of a ring when the other process writes whatever it likes into the shared page.
#include <array>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "transport/shm/ring.h"

namespace terrace::fuzz {
namespace {

/// One input's ring. The bytes stay from input to input: nobody reads what was not written, and
/// what an honest story reads it has written.
struct Ring {
  RingEnds ends;
  std::byte* bytes;
  Ring() {
    static const auto memory = std::make_unique<std::array<std::byte, kRingBytes>>();
    bytes = memory->data();
  }
};

std::byte Pattern(std::uint64_t position) { return static_cast<std::byte>(position * 131 >> 3); }

/// What a hostile process does to the page.
void Scribble(Input& input, Ring& ring) {
  const std::uint64_t value = input.Wild();
  switch (input.Byte() % 6) {
    case 0: ring.ends.head.store(value); break;
    case 1: ring.ends.tail.store(value); break;
    case 2: ring.ends.reader_sleeps.store(static_cast<std::uint32_t>(value)); break;
    case 3: ring.ends.writer_waits.store(static_cast<std::uint32_t>(value)); break;
    case 4: ring.ends.head.fetch_add(value); break;
    default: ring.ends.tail.fetch_sub(value); break;
  }
}

void Run(std::span<const std::byte> input_bytes) {
  Input input(input_bytes);
  Ring ring;
  RingWriter writer(ring.ends, ring.bytes);
  RingReader reader(ring.ends, ring.bytes);
  static Bytes buffer(kRingBytes + 512);
  std::uint64_t written = 0;
  std::uint64_t published = 0;
  std::uint64_t taken = 0;
  bool hostile = false;
  for (int step = 0; step < 200 && !input.empty(); ++step) {
    switch (input.Byte() % 8) {
      case 0:
      case 1: {
        const std::size_t length = std::min<std::size_t>(input.Wild(), buffer.size());
        for (std::size_t i = 0; i < std::min<std::size_t>(length, 64); ++i) {
          buffer[i] = Pattern(written + i);
        }
        const bool broken = writer.broken();
        const std::size_t done = writer.Write(std::span(buffer).first(length));
        TERRACE_CHECK(done <= length && (!broken || done == 0));
        if (!hostile) TERRACE_CHECK(done == std::min(length, kRingBytes - (written - taken)));
        if (!hostile && done > 64) hostile = true;  // the pattern is of the first bytes only
        written += done;
        break;
      }
      case 2:
        (void)writer.Publish();
        published = written;
        break;
      case 3: TERRACE_CHECK(!writer.WaitForRoom() || !writer.broken()); break;
      case 4:
      case 5: {
        const std::size_t room = std::min<std::size_t>(input.Wild(), buffer.size());
        const bool broken = reader.broken();
        const std::size_t got = reader.Read(std::span(buffer).first(room));
        TERRACE_CHECK(got <= room && got <= kRingBytes && (!broken || got == 0));
        if (hostile) break;
        TERRACE_CHECK(got == std::min<std::uint64_t>(room, published - taken));
        for (std::size_t i = 0; i < got; ++i) TERRACE_CHECK(buffer[i] == Pattern(taken + i));
        taken += got;
        (void)reader.Free();
        break;
      }
      case 6:
        if (!reader.Sleep() && !hostile) TERRACE_CHECK(reader.Waiting() > 0);
        break;
      default: hostile = true; Scribble(input, ring);
    }
  }
  TERRACE_CHECK(hostile || (!writer.broken() && !reader.broken()));
}

std::vector<Bytes> Seeds() {
  Output honest;
  Output full;
  Output hostile;
  for (int i = 0; i < 6; ++i) {
    honest.Byte(0).Byte(60).Byte(2).Byte(6).Byte(4).Byte(50);
    full.Byte(0).Byte(174).Byte(2).Byte(3).Byte(4).Byte(175);
    hostile.Byte(0).Byte(60).Byte(2).Byte(7).Byte(static_cast<unsigned>(128 + i));
    hostile.Byte(static_cast<unsigned>(i)).Byte(4).Byte(174).Byte(0).Byte(3).Byte(3);
  }
  return {honest.Take(), full.Take(), hostile.Take()};
}

}  // namespace

const Target kRingTarget{.name = "ring", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
