// Pieces and ranges over every Link of production: the bytes of a part of a block, scattered over
// the client's memory in whatever shapes, are the right ones, and nothing beside them is touched.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/frame_range.h"
#include "base/random.h"
#include "tests/transport/harness.h"

namespace terrace::test {
namespace {

constexpr std::size_t kKiB = 1 << 10;
constexpr std::size_t kMiB = 1 << 20;

/// A sealed memfd of a client, mapped; as its library allocates it.
class ClientRegion {
 public:
  explicit ClientRegion(std::size_t bytes) {
    UniqueFd file(::memfd_create("scatter", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(bytes)), 0);
    EXPECT_EQ(::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
    void* const mapping = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    EXPECT_NE(mapping, MAP_FAILED);
    bytes_ = {static_cast<std::byte*>(mapping), bytes};
    file_ = std::make_shared<const UniqueFd>(std::move(file));
  }
  ~ClientRegion() { ::munmap(bytes_.data(), bytes_.size()); }
  ClientRegion(const ClientRegion&) = delete;
  ClientRegion& operator=(const ClientRegion&) = delete;
  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
  [[nodiscard]] const std::shared_ptr<const UniqueFd>& file() const { return file_; }

 private:
  std::span<std::byte> bytes_;
  std::shared_ptr<const UniqueFd> file_;
};

/// How a client's memory comes to the daemon: registered, or shared where the link can map it.
struct Way {
  LinkKind link;
  bool shared;
};

class ScatterTest : public testing::TestWithParam<Way> {
 protected:
  explicit ScatterTest(ChannelOptions options = {}) : pair_(GetParam().link, options) {
    EXPECT_TRUE(pair_.connect_status.ok()) << pair_.connect_status.ToString();
    std::memset(memory_.bytes().data(), std::to_integer<int>(kUntouched), memory_.bytes().size());
    pair_.Register(1, memory_.bytes(), GetParam().shared ? memory_.file() : nullptr);
  }

  static constexpr std::byte kUntouched{0xa5};

  /// Pieces of the lengths given, shuffled in region 1, a byte or more between any two.
  std::vector<Piece> PiecesOf(const std::vector<std::uint64_t>& lengths) {
    std::vector<std::size_t> order(lengths.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.Below(i)]);
    std::vector<Piece> pieces(lengths.size());
    std::uint64_t offset = random_.Below(100);
    for (const std::size_t piece : order) {
      pieces[piece] = {.region = 1, .offset = offset, .length = lengths[piece]};
      offset += lengths[piece] + 1 + random_.Below(200);
    }
    EXPECT_LE(offset, memory_.bytes().size());
    return pieces;
  }
  std::vector<PieceMemory::Piece> SpansOf(const std::vector<Piece>& pieces) {
    std::vector<PieceMemory::Piece> spans;
    for (const Piece& piece : pieces) {
      spans.push_back(memory_.bytes().subspan(piece.offset, piece.length));
    }
    return spans;
  }
  static PieceMemory OneBlock(const std::vector<PieceMemory::Piece>& spans) {
    PieceMemory memory;
    memory.Append(spans);
    return memory;
  }
  /// `total` bytes in lengths drawn from 1 byte up, many of them small.
  std::vector<std::uint64_t> DrawLengths(std::uint64_t total) {
    std::vector<std::uint64_t> lengths;
    while (total > 0) {
      const std::uint64_t most = random_.Chance(0.5) ? 9000 : 300'000;
      lengths.push_back(std::min(total, random_.Below(most) + 1));
      total -= lengths.back();
    }
    return lengths;
  }
  static std::vector<std::byte> BytesOf(std::span<std::byte> frame, const FrameRange& range) {
    const std::uint64_t bytes = range.bytes == 0 ? frame.size() - range.offset : range.bytes;
    std::vector<std::byte> result;
    for (std::uint32_t i = 0; i < range.count; ++i) {
      const auto part = frame.subspan(range.offset + i * range.stride, bytes);
      result.insert(result.end(), part.begin(), part.end());
    }
    return result;
  }

  void PushAndCompare(std::span<std::byte> frame, const FrameRange& range,
                      const std::vector<std::uint64_t>& lengths) {
    const std::vector<std::byte> wanted = BytesOf(frame, range);
    const std::vector<Piece> pieces = PiecesOf(lengths);
    const auto spans = SpansOf(pieces);
    const std::uint64_t request = ++request_;
    pair_.Expect(request, OneBlock(spans));
    const Status pushed =
        Runner::Take(pair_.PushPart(frame, request, pieces, range, ChecksumsOf(frame)),
                     Status::Internal("hang"));
    ASSERT_EQ(pushed.ToString(), "ok");
    pair_.Reply(request, 1);
    ASSERT_EQ(pair_.Arrived(request, 0), StatusCode::kOk);
    std::vector<std::byte> found;
    for (const auto& span : spans) found.insert(found.end(), span.begin(), span.end());
    ASSERT_TRUE(found == wanted);
    for (const auto& span : spans) std::ranges::fill(span, kUntouched);
    const std::span<const std::byte> all = memory_.bytes();
    ASSERT_EQ(all.front(), kUntouched);
    ASSERT_EQ(std::memcmp(all.data(), all.data() + 1, all.size() - 1), 0)
        << "bytes beside the pieces were written";
    EXPECT_EQ(pair_.Withdraw(request), StatusCode::kOk);
  }

  ClientRegion memory_{8 * kMiB};  // outlives the link
  Pair pair_;
  SeededRandom random_{11};
  std::uint64_t request_ = 0;
};

TEST_P(ScatterTest, APushIsScatteredOverPiecesOfAnyLength) {
  std::vector<std::byte> frame(3 * kMiB + 12345);
  FillPattern(frame, 1);
  std::vector<std::uint64_t> ones(2000, 1);
  ones.push_back(frame.size() - ones.size());
  PushAndCompare(frame, {}, ones);
  PushAndCompare(frame, {}, {256 * kKiB - 1, 2, kMiB, frame.size() - kMiB - 256 * kKiB - 1});
  PushAndCompare(std::span(frame).first(kMiB), {}, std::vector<std::uint64_t>(1024, kKiB));
  for (int round = 0; round < 5; ++round) PushAndCompare(frame, {}, DrawLengths(frame.size()));
}

TEST_P(ScatterTest, APullIsGatheredFromPiecesOfAnyLength) {
  for (int round = 0; round < 6; ++round) {
    const std::uint64_t bytes = round == 0 ? 4096 : 2 * kMiB + random_.Below(kMiB);
    std::vector<std::byte> frame(bytes);
    FillPattern(memory_.bytes(), 20 + bytes);
    const std::vector<Piece> pieces =
        PiecesOf(round == 0 ? std::vector<std::uint64_t>(4096, 1) : DrawLengths(bytes));
    const auto spans = SpansOf(pieces);
    const std::uint64_t request = ++request_;
    pair_.Offer(request, OneBlock(spans));
    std::vector<std::uint64_t> checksums;
    EXPECT_EQ(
        Runner::Take(pair_.Pull(frame, request, 0, pieces, &checksums), Status::Internal("hang"))
            .ToString(),
        "ok");
    std::vector<std::byte> wanted;
    for (const auto& span : spans) wanted.insert(wanted.end(), span.begin(), span.end());
    EXPECT_TRUE(frame == wanted) << round;
    EXPECT_EQ(checksums, ChecksumsOf(frame)) << round;
    pair_.Reply(request, 1);
    EXPECT_EQ(pair_.Withdraw(request), StatusCode::kOk);
  }
}

TEST_P(ScatterTest, APartOfABlockIsThatPartAndNothingElse) {
  std::vector<std::byte> frame(3 * kMiB + 4096);
  FillPattern(frame, 2);
  const FrameRange ranges[] = {
      {.offset = 0, .bytes = 1},
      {.offset = frame.size() - 1},
      {.offset = 256 * kKiB - 1, .bytes = 2},
      {.offset = 777, .bytes = 2 * kMiB + 1},
      {.offset = 5, .bytes = 3, .stride = 1001, .count = 3000},
      {.offset = 100, .bytes = 128, .stride = 4096, .count = 700},
      {.offset = 0, .bytes = kMiB + 7, .stride = 2 * kMiB, .count = 2},
      {.offset = 64, .bytes = 64, .stride = 64, .count = 4096},
      {.offset = 9, .bytes = 1, .stride = 512 * kKiB, .count = 6},
  };
  for (const FrameRange& range : ranges) {
    ASSERT_TRUE(CheckFrameRange(range, frame.size()).ok());
    const std::uint64_t bytes = RangeView(frame, range).size();
    PushAndCompare(frame, range, {bytes});
    PushAndCompare(frame, range, DrawLengths(bytes));
  }
}

TEST_P(ScatterTest, PiecesThatDoNotSumUpToTheRangeAreInvalid) {
  std::vector<std::byte> frame(kMiB);
  for (const std::uint64_t length : {std::uint64_t{4095}, std::uint64_t{4097}}) {
    const Status pushed = Runner::Take(
        pair_.PushPart(frame, ++request_, {{1, 0, length}},
                       {.offset = 0, .bytes = 4096, .stride = 0, .count = 1}, ChecksumsOf(frame)),
        Status());
    EXPECT_EQ(pushed.code(), StatusCode::kInvalid) << pushed.ToString();
  }
}

const Way kWays[] = {{LinkKind::kTcp, false},
                     {LinkKind::kShm, false},
                     {LinkKind::kShm, true},
                     {LinkKind::kRdma, false}};
std::string NameOf(const testing::TestParamInfo<Way>& info) {
  return std::string(LinkKindName(info.param.link)) + (info.param.shared ? "_mapped" : "");
}
INSTANTIATE_TEST_SUITE_P(All, ScatterTest, testing::ValuesIn(kWays), NameOf);

/// The same with same-host copies verified as the network's are.
class VerifiedScatterTest : public ScatterTest {
 protected:
  VerifiedScatterTest()
      : ScatterTest([] {
          ChannelOptions options;
          options.verify_same_host = true;
          return options;
        }()) {}
};

TEST_P(VerifiedScatterTest, APartOfAFrameThatHasChangedIsNeverTakenForGood) {
  std::vector<std::byte> frame(kMiB);
  FillPattern(frame, 3);
  const auto sums = ChecksumsOf(frame);
  const FrameRange touching{.offset = 300 * kKiB, .bytes = 100, .stride = 0, .count = 1};
  const FrameRange beside{.offset = 600 * kKiB, .bytes = 100, .stride = 0, .count = 1};
  const FrameRange strided{.offset = 100, .bytes = 10, .stride = 200 * kKiB, .count = 3};
  // In the same 256 KiB as `touching`, not in its bytes: the frame cannot be trusted any more.
  frame[500 * kKiB] ^= std::byte{1};
  for (const FrameRange& range : {touching, strided}) {
    const std::uint64_t bytes = RangeView(frame, range).size();
    const Status pushed =
        Runner::Take(pair_.PushPart(frame, ++request_, {{1, 0, bytes}}, range, sums), Status());
    EXPECT_EQ(pushed.code(), StatusCode::kCorrupt) << pushed.ToString();
  }
  const std::uint64_t request = ++request_;
  pair_.Expect(request, {memory_.bytes().first(100)});
  const Status pushed =
      Runner::Take(pair_.PushPart(frame, request, {{1, 0, 100}}, beside, sums), Status());
  EXPECT_EQ(pushed.ToString(), "ok");
  pair_.Reply(request, 1);
  EXPECT_EQ(pair_.Arrived(request, 0), StatusCode::kOk);
}

TEST_P(VerifiedScatterTest, AScatteredBlockWithAWrongChecksumIsFound) {
  std::vector<std::byte> frame(kMiB);
  FillPattern(frame, 4);
  auto wrong = ChecksumsOf(frame);
  wrong[3] ^= 1;
  const auto pieces = PiecesOf({1, 100'000, kMiB - 100'001});
  pair_.Expect(++request_, OneBlock(SpansOf(pieces)));
  EXPECT_TRUE(Runner::Take(pair_.PushPart(frame, request_, pieces, {}, wrong), Status()).ok());
  pair_.Reply(request_, 1);
  EXPECT_EQ(pair_.Arrived(request_, 0), StatusCode::kCorrupt);
}

INSTANTIATE_TEST_SUITE_P(All, VerifiedScatterTest, testing::ValuesIn(kWays), NameOf);

}  // namespace
}  // namespace terrace::test
