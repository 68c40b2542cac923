// CudaMover: moves end, in the order that streams give, and with the CPU's bytes.
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "base/random.h"
#include "client/cuda/cuda_mover.h"
#include "client/layout.hpp"
#include "client/paged/cpu_pages.h"
#include "client/paged/make_map.h"
#include "tests/client/cuda/gpu.h"

namespace terrace::paged {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

// 24 layers x 2 x 16 tokens x 4 heads x 128 x 2 bytes: blocks of 768 KiB, of which a layer is 32.
const CacheShape kShape{24, 64, 16, 4, 128, ElementType::kBf16};

class CudaMoverTest : public testing::Test {
 protected:
  void Start(StoredLayout stored, const CudaMoverOptions& options) {
    stored_ = stored;
    cache_ = PartsFirst(kShape, PageOrder::kNhd);
    const std::size_t layer = std::size_t{2} * 64 * 16 * 4 * 256;
    memory_ = std::make_unique<Mirrored>(layer * cache_.layers);
    SeededRandom random(3);
    for (std::size_t i = 0; i + 2 <= memory_->size(); i += 2) {
      const auto bits = static_cast<std::uint16_t>(0x3f00 | (random.Next() & 0x80ff));
      std::memcpy(memory_->host() + i, &bits, 2);
    }
    memory_->Upload();
    for (std::uint32_t i = 0; i < cache_.layers; ++i) {
      host_bases_.push_back(memory_->host() + i * layer);
      device_bases_.push_back(memory_->device() + i * layer);
    }
    auto mover = CudaMover::Make(cache_, stored_, device_bases_, options);
    ASSERT_TRUE(mover.ok()) << mover.status().ToString();
    mover_ = std::move(mover).value();
    frame_bytes_ = FrameBytes(cache_, stored_);
    frames_.assign(kShape.pages * frame_bytes_ + 4096, std::byte{0xee});
    // Pinned memory begins where a page of the system does.
    auto* first = reinterpret_cast<std::byte*>(
        (reinterpret_cast<std::uintptr_t>(frames_.data()) + 4095) / 4096 * 4096);
    pinned_ = {first, kShape.pages * frame_bytes_};
    const Status status = mover_->RegisterFrames(pinned_, false);
    ASSERT_TRUE(status.ok()) << status.ToString();
    pages_.resize(kShape.pages);
    std::iota(pages_.begin(), pages_.end(), 0U);
    std::reverse(pages_.begin(), pages_.end());
  }
  void TearDown() override {
    if (mover_ != nullptr) mover_->DeregisterFrames(pinned_);
  }

  std::vector<BlockMove> Blocks(std::size_t first, std::size_t count) {
    std::vector<BlockMove> blocks;
    for (std::size_t i = first; i < first + count; ++i) {
      blocks.push_back({pinned_.data() + i * frame_bytes_, &pages_[i]});
    }
    return blocks;
  }
  Status Finish(MoveId move) {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    for (;;) {
      Status status = mover_->Done(move);
      if (status.code() != StatusCode::kRetry) return status;
      if (std::chrono::steady_clock::now() > deadline) return Status(StatusCode::kTimeout);
      std::this_thread::sleep_for(1ms);
    }
  }
  Status Move(MoveWay way, std::span<const BlockMove> blocks, std::uint32_t first_layer,
              std::uint32_t layers, StreamPoint after = {}) {
    const auto move = mover_->Start({way, blocks, first_layer, layers, after});
    return move.ok() ? Finish(move.value()) : move.status();
  }
  /// What the CPU gathers of block i.
  std::vector<std::byte> Expected(std::size_t i, LayerSpan layers = {}) {
    std::vector<std::byte> frame(FrameBytes(cache_, stored_, layers));
    const auto bases = LayerTable(host_bases_, layers);
    const PageTables tables{bases.data(), &pages_[i]};
    if (stored_.type == StoredType::kLossless) {
      Gather(MakePageMap(cache_, stored_, host_bases_, layers).value(), tables, frame.data());
    } else {
      GatherQuantised(MakeQuantMap(cache_, stored_, host_bases_, layers).value(), tables,
                      frame.data());
    }
    return frame;
  }

  CacheLayout cache_;
  StoredLayout stored_;
  std::unique_ptr<Mirrored> memory_;
  std::vector<void*> host_bases_;
  std::vector<void*> device_bases_;
  std::unique_ptr<CudaMover> mover_;
  std::uint64_t frame_bytes_ = 0;
  std::vector<std::byte> frames_;
  std::span<std::byte> pinned_;
  std::vector<std::uint32_t> pages_;
};

// Staging buffers of 2 MiB take two blocks: a move of 64 goes round them many times.
constexpr CudaMoverOptions kSmall{.staging_bytes = 2 << 20, .moves = 4};

TEST_F(CudaMoverTest, GathersAndScattersThroughStagingBuffers) {
  TERRACE_NEEDS_GPU();
  for (const StoredType type : {StoredType::kLossless, StoredType::kFp8E4m3}) {
    host_bases_.clear();
    device_bases_.clear();
    TearDown();
    Start({.block_tokens = 16, .type = type}, kSmall);
    const auto blocks = Blocks(0, kShape.pages);
    ASSERT_TRUE(Move(MoveWay::kGather, blocks, 0, cache_.layers).ok());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      ASSERT_EQ(0, std::memcmp(blocks[i].frame, Expected(i).data(), frame_bytes_)) << i;
    }
    ASSERT_CUDA(cudaMemset(memory_->device(), 0, memory_->size()));
    ASSERT_TRUE(Move(MoveWay::kScatter, blocks, 0, cache_.layers).ok());
    const auto bases = LayerTable(host_bases_, {});
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const PageTables tables{bases.data(), &pages_[i]};
      if (type == StoredType::kLossless) {
        Scatter(MakePageMap(cache_, stored_, host_bases_).value(), tables, blocks[i].frame);
      } else {
        ScatterQuantised(MakeQuantMap(cache_, stored_, host_bases_).value(), tables,
                         blocks[i].frame);
      }
    }
    const auto now = memory_->Download();
    ASSERT_EQ(0, std::memcmp(now.data(), memory_->host(), now.size()));
  }
}

TEST_F(CudaMoverTest, MovesOneLayerWithoutStaging) {
  TERRACE_NEEDS_GPU();
  Start({.block_tokens = 16}, kSmall);
  for (const std::uint32_t layer : {0U, 7U, 23U}) {
    const auto blocks = Blocks(10, 30);
    ASSERT_TRUE(Move(MoveWay::kGather, blocks, layer, 1).ok());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const auto expected = Expected(10 + i, {layer, 1});
      ASSERT_EQ(0, std::memcmp(blocks[i].frame, expected.data(), expected.size()));
    }
  }
}

// The stream copies each layer's first page away as soon as it may: what it then has is the layer.
TEST_F(CudaMoverTest, AStreamWaitsForLayersAndNotForTheWholeMove) {
  TERRACE_NEEDS_GPU();
  for (const StoredType type : {StoredType::kLossless, StoredType::kInt8}) {
    host_bases_.clear();
    device_bases_.clear();
    TearDown();
    Start({.block_tokens = 16, .type = type}, kSmall);
    const auto blocks = Blocks(0, kShape.pages);
    for (int round = 0; round < 20; ++round) {  // counters go on from round to round
      ASSERT_TRUE(Move(MoveWay::kGather, blocks, 0, cache_.layers).ok());
      ASSERT_CUDA(cudaMemset(memory_->device(), 0, memory_->size()));
      const auto move = mover_->Start({MoveWay::kScatter, blocks, 0, cache_.layers, {}, true});
      ASSERT_TRUE(move.ok()) << move.status().ToString();
      cudaStream_t stream = nullptr;
      ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
      constexpr std::size_t kPage = std::size_t{16} * 4 * 256;
      Mirrored seen(kPage * cache_.layers);
      for (std::uint32_t layer = 0; layer < cache_.layers; ++layer) {
        ASSERT_TRUE(mover_->OrderBehind(stream, move.value(), layer + 1).ok());
        ASSERT_CUDA(cudaMemcpyAsync(seen.device() + layer * kPage, device_bases_[layer], kPage,
                                    cudaMemcpyDeviceToDevice, stream));
      }
      ASSERT_CUDA(cudaStreamSynchronize(stream));
      ASSERT_TRUE(Finish(move.value()).ok());
      const auto copies = seen.Download();
      const auto now = memory_->Download();
      for (std::uint32_t layer = 0; layer < cache_.layers; ++layer) {
        ASSERT_EQ(0, std::memcmp(copies.data() + layer * kPage,
                                 now.data() + (static_cast<std::byte*>(host_bases_[layer]) -
                                               memory_->host()),
                                 kPage));
      }
      ASSERT_CUDA(cudaStreamDestroy(stream));
    }
    EXPECT_EQ(mover_->OrderBehind(nullptr, {}, 1).code(), StatusCode::kInvalid);
  }
}

TEST_F(CudaMoverTest, GathersWhatTheStreamHadWrittenBefore) {
  TERRACE_NEEDS_GPU();
  Start({.block_tokens = 16}, kSmall);
  cudaStream_t stream = nullptr;
  ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  ASSERT_CUDA(
      cudaLaunchHostFunc(stream, [](void*) { std::this_thread::sleep_for(200ms); }, nullptr));
  ASSERT_CUDA(cudaMemsetAsync(memory_->device(), 0x11, memory_->size(), stream));
  const auto point = mover_->Mark(stream);
  ASSERT_TRUE(point.ok());
  const auto blocks = Blocks(0, 8);
  ASSERT_TRUE(Move(MoveWay::kGather, blocks, 0, cache_.layers, point.value()).ok());
  const std::vector<std::byte> expected(8 * frame_bytes_, std::byte{0x11});
  EXPECT_EQ(0, std::memcmp(pinned_.data(), expected.data(), expected.size()));
  EXPECT_EQ(mover_->Start({MoveWay::kGather, blocks, 0, 1, point.value()}).status().code(),
            StatusCode::kInvalid);
  ASSERT_CUDA(cudaStreamDestroy(stream));
}

TEST_F(CudaMoverTest, RefusesMoreMovesThanItHasRoomForAndGoesOnAfterwards) {
  TERRACE_NEEDS_GPU();
  Start({.block_tokens = 16}, kSmall);
  cudaStream_t stream = nullptr;
  ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  ASSERT_CUDA(
      cudaLaunchHostFunc(stream, [](void*) { std::this_thread::sleep_for(300ms); }, nullptr));
  const auto blocks = Blocks(0, 2);
  std::vector<MoveId> moves;
  for (std::uint32_t i = 0; i < kSmall.moves; ++i) {
    const auto point = mover_->Mark(stream);
    const auto move = mover_->Start({MoveWay::kGather, blocks, 0, 24, point.value(), false});
    ASSERT_TRUE(move.ok()) << move.status().ToString();
    moves.push_back(move.value());
  }
  const auto point = mover_->Mark(stream);
  EXPECT_EQ(mover_->Start({MoveWay::kGather, blocks, 0, 24, point.value(), false}).code(),
            StatusCode::kRetry);
  EXPECT_EQ(mover_->Done(moves[0]).code(), StatusCode::kRetry);
  pollfd waiting{mover_->EventFd(), POLLIN, 0};
  EXPECT_EQ(poll(&waiting, 1, 20000), 1);
  for (const MoveId move : moves) EXPECT_TRUE(Finish(move).ok());
  EXPECT_EQ(mover_->Done(moves[0]).code(), StatusCode::kInvalid);
  // The refused move did not use its point up.
  EXPECT_TRUE(Move(MoveWay::kGather, blocks, 0, 24, point.value()).ok());
  ASSERT_CUDA(cudaStreamDestroy(stream));
}

TEST_F(CudaMoverTest, AStreamThatIsCapturedIsRefusedAndItsGraphGoesOn) {
  TERRACE_NEEDS_GPU();
  Start({.block_tokens = 16}, kSmall);
  cudaStream_t stream = nullptr;
  ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  EXPECT_EQ(mover_->Mark(stream).code(), StatusCode::kInvalid);
  ASSERT_CUDA(cudaMemsetAsync(memory_->device(), 0x22, 1024, stream));
  cudaGraph_t graph = nullptr;
  ASSERT_CUDA(cudaStreamEndCapture(stream, &graph));
  ASSERT_NE(graph, nullptr);
  ASSERT_CUDA(cudaGraphDestroy(graph));
  const auto point = mover_->Mark(stream);
  ASSERT_TRUE(point.ok()) << point.status().ToString();
  EXPECT_TRUE(Move(MoveWay::kGather, Blocks(0, 1), 0, 24, point.value()).ok());
  ASSERT_CUDA(cudaStreamDestroy(stream));
}

TEST_F(CudaMoverTest, ScattersFromMemoryThatIsMappedReadOnly) {
  TERRACE_NEEDS_GPU();
  Start({.block_tokens = 16}, kSmall);
  const auto blocks = Blocks(0, 8);
  ASSERT_TRUE(Move(MoveWay::kGather, blocks, 0, 24).ok());
  const std::size_t bytes = (8 * frame_bytes_ + 4095) / 4096 * 4096;
  const int fd = memfd_create("frames", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
  ASSERT_EQ(pwrite(fd, pinned_.data(), 8 * frame_bytes_, 0),
            static_cast<ssize_t>(8 * frame_bytes_));
  void* lent = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(lent, MAP_FAILED);
  const std::span<std::byte> memory(static_cast<std::byte*>(lent), bytes);
  const Status status = mover_->RegisterFrames(memory, true);
  if (status.code() == StatusCode::kUnsupported) {
    GTEST_SKIP() << status.ToString();
  }
  ASSERT_TRUE(status.ok()) << status.ToString();
  ASSERT_CUDA(cudaMemset(memory_->device(), 0, memory_->size()));
  auto from = Blocks(0, 8);
  for (std::size_t i = 0; i < from.size(); ++i) from[i].frame = memory.data() + i * frame_bytes_;
  ASSERT_TRUE(Move(MoveWay::kScatter, from, 0, 24).ok());
  ASSERT_TRUE(Move(MoveWay::kGather, blocks, 0, 24).ok());
  EXPECT_EQ(0, std::memcmp(pinned_.data(), lent, 8 * frame_bytes_));
  mover_->DeregisterFrames(memory);
  munmap(lent, bytes);
  close(fd);
}

TEST_F(CudaMoverTest, NamesWhatIsWrongBeforeAnythingMoves) {
  TERRACE_NEEDS_GPU();
  Start({.block_tokens = 16}, kSmall);
  auto blocks = Blocks(0, 2);
  EXPECT_EQ(Move(MoveWay::kGather, {}, 0, 24).code(), StatusCode::kInvalid);
  EXPECT_EQ(Move(MoveWay::kGather, blocks, 24, 1).code(), StatusCode::kInvalid);
  EXPECT_EQ(Move(MoveWay::kGather, blocks, 1, 24).code(), StatusCode::kInvalid);
  const std::uint32_t beyond = kShape.pages;
  blocks[1].pages = &beyond;
  const Status status = Move(MoveWay::kScatter, blocks, 0, 24);
  EXPECT_EQ(status.message(), "blocks[1].pages[0] is 64 of 64");
  std::vector<void*> bases = device_bases_;
  bases[3] = memory_->host();
  const auto made = CudaMover::Make(cache_, stored_, bases, kSmall);
  EXPECT_EQ(made.status().message(), "layers[3]: it is no memory of a GPU");
}

TEST(CudaMoverWithoutGpuTest, SaysSo) {
  if (HasGpu()) {
    GTEST_SKIP() << "there is a GPU";
  }
  std::vector<std::byte> memory(1 << 20);
  const CacheShape shape{1, 4, 16, 1, 128, ElementType::kBf16};
  void* base = memory.data();
  const auto made = CudaMover::Make(PartsFirst(shape, PageOrder::kNhd), {.block_tokens = 16},
                                    std::span<void* const>(&base, 1), {});
  EXPECT_EQ(made.code(), StatusCode::kUnsupported) << made.status().ToString();
}

}  // namespace
}  // namespace terrace::paged
