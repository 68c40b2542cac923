// A stream of control messages must be cut into the same frames however the network cuts it.
#include <utility>

#include "base/check.h"
#include "tests/fuzz/fuzz_input.h"
#include "transport/frame_reader.h"

namespace terrace::fuzz {
namespace {

struct Read {
  std::vector<Bytes> frames;
  Status status;
  friend bool operator==(const Read& left, const Read& right) {
    return left.frames == right.frames && left.status.ToString() == right.status.ToString();
  }
};

/// `lengths`: of the parts that arrive, over and over; empty: all at once.
Read ReadAll(std::size_t limit, std::span<const std::byte> stream,
             std::span<const std::byte> lengths) {
  Read read;
  FrameReader reader(limit);
  std::size_t part = 0;
  while (!stream.empty() && read.status.ok()) {
    const std::size_t wanted =
        lengths.empty() ? stream.size()
                        : std::to_integer<std::size_t>(lengths[part++ % lengths.size()]) + 1;
    const auto now = stream.first(std::min(wanted, stream.size()));
    stream = stream.subspan(now.size());
    read.status = reader.Take(now, [&](std::vector<std::byte> frame) {
      TERRACE_CHECK(!frame.empty() && frame.size() <= limit);
      read.frames.push_back(std::move(frame));
      return true;
    });
  }
  return read;
}

void Run(std::span<const std::byte> bytes) {
  Input input(bytes);
  const std::size_t limit = input.Flag() ? 8U << 20 : 1 + std::size_t{input.Byte()};
  const auto lengths = input.Chunk();
  const auto stream = input.Rest();
  const Read whole = ReadAll(limit, stream, {});
  TERRACE_CHECK(whole == ReadAll(limit, stream, lengths));
  if (!whole.status.ok()) TERRACE_CHECK(whole.status.code() == StatusCode::kInvalid);
  // What was handed over, framed again, is how the stream begins.
  Output again;
  for (const Bytes& frame : whole.frames) again.Raw(FrameHeaderFor(frame.size())).Raw(frame);
  const Bytes framed = again.Take();
  TERRACE_CHECK(framed.size() <= stream.size() &&
                std::equal(framed.begin(), framed.end(), stream.begin()));
  // An owner that is gone after the first frame hears of no other.
  std::size_t heard = 0;
  FrameReader reader(limit);
  (void)reader.Take(stream, [&](std::vector<std::byte>) {
    ++heard;
    return false;
  });
  TERRACE_CHECK(heard == (whole.frames.empty() ? 0 : 1));
}

std::vector<Bytes> Seeds() {
  std::vector<Bytes> seeds;
  for (const std::size_t length : {1U, 40U, 200U}) {
    const Bytes message(length, std::byte{7});
    Output out;
    out.Byte(0).Byte(199).Chunk(std::string_view("\x00\x05\x30", 3));
    for (int i = 0; i < 3; ++i) out.Raw(FrameHeaderFor(length)).Raw(message);
    seeds.push_back(out.Take());
  }
  return seeds;
}

}  // namespace

const Target kFrameReaderTarget{.name = "frame_reader", .run = Run, .seeds = Seeds};

}  // namespace terrace::fuzz
