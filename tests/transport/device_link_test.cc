// Blocks that lie on a GPU (a double) and are read there by the NIC (UCX's emulation of one): what
// comes is right or is known to be wrong, and nobody frees what is still read.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tests/transport/harness.h"
#include "tiers/hbm/hbm_tier.h"
#include "tiers/hbm/host_device_memory.h"
#include "transport/rdma/ucx_gpu.h"

namespace terrace::test {
namespace {

constexpr std::size_t kMiB = 1 << 20;

/// A block in a frame of a GPU; `alive` counts those that are not gone.
class BlockOnGpu final : public DeviceSource {
 public:
  BlockOnGpu(HbmTier& tier, FrameId frame, std::size_t bytes, std::vector<std::uint64_t> sums,
             std::atomic<int>* alive)
      : tier_(tier), frame_(frame), bytes_(bytes), sums_(std::move(sums)), alive_(alive) {
    ++*alive_;
  }
  ~BlockOnGpu() override { --*alive_; }
  BlockOnGpu(const BlockOnGpu&) = delete;
  BlockOnGpu& operator=(const BlockOnGpu&) = delete;
  [[nodiscard]] std::uint64_t bytes() const noexcept override { return bytes_; }
  [[nodiscard]] std::span<std::byte> memory() const noexcept override {
    return tier_.Memory(frame_, bytes_);
  }
  [[nodiscard]] std::span<const std::uint64_t> checksums() const noexcept override { return sums_; }
  [[nodiscard]] DeviceCopier& copier() const noexcept override { return tier_; }
  Task<Status> CopyTo(std::span<const std::span<std::byte>> places) override {
    return tier_.CopyTo(frame_, places, sums_);
  }

 private:
  HbmTier& tier_;
  const FrameId frame_;
  const std::size_t bytes_;
  const std::vector<std::uint64_t> sums_;
  std::atomic<int>* const alive_;
};

/// A server with a double, and a client over the emulated NIC.
class DeviceLinkTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kPoolBytes = 1024 * kMiB;  // touched as it is used

  void Connect(HostDeviceOptions options = {}, ServerOptions server = Patient()) {
    options.total_bytes = kPoolBytes;
    device_ = std::make_unique<HostDeviceMemory>(options);
    auto tier = HbmTier::Create(*device_, {.capacity_bytes = kPoolBytes, .copies = {}});
    ASSERT_TRUE(tier.ok()) << tier.status().ToString();
    tier_ = std::move(*tier);
    const DevicePool pool = tier_->Pool();
    pair_ = std::make_unique<Pair>(LinkKind::kRdma, server, ChannelOptions(), std::span(&pool, 1));
    ASSERT_TRUE(pair_->connect_status.ok()) << pair_->connect_status.ToString();
  }
  void TearDown() override {
    if (pair_ == nullptr) return;
    EXPECT_TRUE(Soon([this] { return alive_.load() == 0; }));
    pair_->server_runner.Await<bool>(
        [this]() -> Task<bool> {
          co_await tier_->Close();
          co_return true;
        },
        false);
    pair_.reset();
    tier_.reset();
  }
  template <typename Condition>
  static bool Soon(Condition condition) {
    for (int i = 0; i < 20'000 && !condition(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return condition();
  }

  /// A block of such bytes on the GPU.
  FrameId Store(std::span<const std::byte> bytes) {
    const Result<FrameId> frame = tier_->Allocate(bytes.size());
    EXPECT_TRUE(frame.ok());
    std::memcpy(tier_->Memory(*frame, bytes.size()).data(), bytes.data(), bytes.size());
    return *frame;
  }
  std::future<Status> Push(FrameId frame, std::span<const std::byte> stored, std::uint64_t request,
                           std::vector<Piece> pieces, FrameRange range = {},
                           Nanos budget = 20 * kSecond) {
    const std::vector<std::uint64_t> sums = ChecksumsOf(stored);
    const std::size_t bytes = stored.size();
    return pair_->server_runner.Run<Status>([this, frame, bytes, sums, request, pieces, range,
                                             budget] {
      return RunPush(
          this, std::make_shared<BlockOnGpu>(*tier_, frame, bytes, sums, &alive_),
          {request, 0, pieces, pair_->server_runner.reactor().scheduler().Now() + budget, range},
          pieces);
    });
  }
  /// `pieces` live in the task's frame, `transfer` views them.
  static Task<Status> RunPush(DeviceLinkTest* test, std::shared_ptr<BlockOnGpu> source,
                              BlockTransfer transfer, std::vector<Piece> pieces) {
    transfer.pieces = pieces;
    Link& link = test->pair_->peer->link();
    if (!link.ReachesDevice(*test->tier_, source->bytes(), transfer)) {
      co_return Status(StatusCode::kUnsupported, "not reached");
    }
    co_return co_await link.PushFromDevice(std::move(source), transfer);
  }
  /// The client's memory has nothing but what the test filled it with. At once: byte by byte it
  /// takes half a minute under TSan.
  bool IsStillFilled(const std::vector<std::byte>& memory) {
    bool filled = false;
    pair_->client_runner.Call([&] {
      filled = memory.front() == std::byte{0xA5} &&
               std::memcmp(memory.data(), memory.data() + 1, memory.size() - 1) == 0;
    });
    return filled;
  }
  static std::string Text(std::future<Status> status) {
    return Runner::Take(std::move(status), Status::Internal("hang")).ToString();
  }
  static StatusCode Code(std::future<Status> status) {
    return Runner::Take(std::move(status), Status::Internal("hang")).code();
  }

  std::atomic<int> alive_{0};
  std::unique_ptr<HostDeviceMemory> device_;
  std::unique_ptr<HbmTier> tier_;
  std::unique_ptr<Pair> pair_;
};

TEST_F(DeviceLinkTest, BlocksComeWholeFromTheGpuAtEverySize) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  EXPECT_TRUE(pair_->gpu_wire.straight) << pair_->gpu_wire.detail;
  std::uint64_t request = 1;
  std::uint64_t sent = 0;
  for (const std::size_t bytes :
       {std::size_t{4096}, std::size_t{256 << 10}, std::size_t{300'000}, kMiB, 3 * kMiB + 4096}) {
    std::vector<std::byte> block(bytes);
    FillPattern(block, bytes);
    const FrameId frame = Store(block);
    std::vector<std::byte> memory(bytes + 8192);
    pair_->Register(1, memory);
    const std::uint64_t cut = bytes / 3 + 1;
    const std::span<std::byte> all(memory);
    PieceMemory places;
    places.BeginBlock();
    places.Add(all.subspan(4096 + cut, bytes - cut));
    places.Add(all.subspan(4096, cut));
    pair_->Expect(request, places);
    EXPECT_EQ(Text(Push(frame, block, request, {{1, 4096 + cut, bytes - cut}, {1, 4096, cut}})),
              "ok");
    pair_->Reply(request, 1);
    EXPECT_EQ(pair_->Arrived(request, 0), StatusCode::kOk) << bytes;
    EXPECT_EQ(std::memcmp(&memory[4096 + cut], block.data(), bytes - cut), 0) << bytes;
    EXPECT_EQ(std::memcmp(&memory[4096], &block[bytes - cut], cut), 0) << bytes;
    EXPECT_EQ(memory[4095], std::byte{0});
    EXPECT_EQ(memory[4096 + bytes], std::byte{0});
    EXPECT_EQ(pair_->Withdraw(request), StatusCode::kOk);
    tier_->Free(frame);
    sent += bytes;
    ++request;
  }
  EXPECT_EQ(pair_->counters().bytes_straight.load(), sent);
  EXPECT_EQ(pair_->counters().bytes_pushed.load(), sent);
}

TEST_F(DeviceLinkTest, PartsOfABlockComeAloneOrNotAtAllFromTheGpu) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  std::vector<std::byte> block(4 * kMiB);
  FillPattern(block, 7);
  const FrameId frame = Store(block);
  struct Case {
    FrameRange range;
    bool summed;  // by the GPU
  };
  const std::vector<Case> cases = {
      {{.offset = 0, .bytes = 256 << 10}, true},
      {{.offset = 512 << 10, .bytes = kMiB}, true},
      {{.offset = 4096, .bytes = 700'000}, true},
      {{.offset = 16, .bytes = 0}, true},
      {{.offset = 3, .bytes = 200}, true},
      {{.offset = 3, .bytes = 2000}, false},
      {{.offset = 4096, .bytes = 256 << 10, .stride = 300'000, .count = 7}, true},
      {{.offset = 4096, .bytes = 64 << 10, .stride = 128 << 10, .count = 7}, false},
      {{.offset = 4096, .bytes = 64 << 10, .stride = 64 << 10, .count = 7}, true},
  };
  std::uint64_t request = 1;
  for (const Case& one : cases) {
    std::vector<std::byte> expected;
    for (const auto& part : RangeView(block, one.range).Stretches()) {
      expected.insert(expected.end(), part.begin(), part.end());
    }
    std::vector<std::byte> memory(expected.size() + 1);
    pair_->Register(1, memory);
    pair_->Expect(request, {std::span(memory).first(expected.size())});
    const Status status =
        Runner::Take(Push(frame, block, request, {{1, 0, expected.size()}}, one.range),
                     Status::Internal("hang"));
    EXPECT_EQ(status.code(), one.summed ? StatusCode::kOk : StatusCode::kUnsupported) << request;
    pair_->Reply(request, 1);
    EXPECT_EQ(pair_->Arrived(request, 0), one.summed ? StatusCode::kOk : StatusCode::kMiss);
    if (!one.summed) expected.assign(expected.size(), std::byte{0});
    expected.push_back(std::byte{0});
    EXPECT_EQ(memory, expected) << request;
    ++request;
  }
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, WhatRottedOnTheGpuIsFoundByTheDaemonAndNotAnswered) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  std::vector<std::byte> block(2 * kMiB);
  FillPattern(block, 9);
  const FrameId frame = Store(block);
  tier_->Memory(frame, block.size())[kMiB + 77] ^= std::byte{1};
  std::vector<std::byte> memory(block.size());
  pair_->Register(1, memory);
  pair_->Expect(1, {memory});
  EXPECT_EQ(Code(Push(frame, block, 1, {{1, 0, block.size()}})), StatusCode::kCorrupt);
  // Also of a part that has not the wrong byte but shares its piece: what is not sure is not said.
  EXPECT_EQ(Code(Push(frame, block, 1, {{1, 0, 4096}}, {.offset = kMiB + 4096, .bytes = 4096})),
            StatusCode::kCorrupt);
  EXPECT_EQ(Text(Push(frame, block, 1, {{1, 0, 4096}}, {.offset = 4096, .bytes = 4096})), "ok");
  EXPECT_EQ(pair_->counters().bytes_straight.load(), 4096u);
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, WhatTheNicReadWrongIsFoundByTheClient) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  std::vector<std::byte> block(kMiB);
  FillPattern(block, 9);
  const FrameId frame = Store(block);
  tier_->Memory(frame, block.size())[77] ^= std::byte{1};
  std::vector<std::byte> memory(block.size());
  pair_->Register(1, memory);
  pair_->Expect(1, {memory});
  device_->Hang(true);
  auto push = Push(frame, block, 1, {{1, 0, block.size()}});
  // It is right again before the GPU looks.
  EXPECT_TRUE(Soon([&] {
    bool came = false;
    pair_->client_runner.Call([&] { came = memory.back() == block.back(); });
    return came;
  }));
  pair_->server_runner.Call([&] {
    tier_->Memory(frame, block.size())[77] ^= std::byte{1};
    device_->Hang(false);
  });
  EXPECT_EQ(Text(std::move(push)), "ok");
  pair_->Reply(1, 1);
  EXPECT_EQ(pair_->Arrived(1, 0), StatusCode::kCorrupt);
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, TheBlockIsHeldAndTheAnswerWaitsUntilTheNicHasCompleted) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  constexpr std::size_t kBytes = 64 * kMiB;
  std::vector<std::byte> block(kBytes, std::byte{9});
  const FrameId frame = Store(block);
  std::vector<std::byte> memory(kBytes);
  pair_->Register(1, memory);
  pair_->Expect(4, {memory});
  auto thaw = pair_->FreezeClient();  // emulated puts need the client's thread
  EXPECT_EQ(Code(Push(frame, block, 4, {{1, 0, kBytes}}, {}, 100 * kMillisecond)),
            StatusCode::kTimeout);
  EXPECT_EQ(pair_->counters().quarantined.load(), 1u);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the GPU has long summed it
  EXPECT_EQ(alive_.load(), 1);
  pair_->server_runner.Call([&] {
    pair_->peer->link().Send(BuildMessage<wire::BlocksReply>(
        pair_->head(4), [](flatbuffers::FlatBufferBuilder& builder) {
          const std::vector<std::uint8_t> timeout{static_cast<std::uint8_t>(StatusCode::kTimeout)};
          return wire::CreateBlocksReply(builder, builder.CreateVector(timeout));
        }));
  });
  thaw->set_value();
  ASSERT_TRUE(pair_->channel_handler.log.WaitFor([](const ClientLog& log) {
    return std::ranges::any_of(
        log.messages, [](const auto& message) { return message.first == wire::Body_BlocksReply; });
  }));
  // The answer is there: the memory is the caller's again, and the frame another block's.
  pair_->client_runner.Call([&] { std::memset(memory.data(), 0xA5, kBytes); });
  EXPECT_TRUE(Soon([&] { return pair_->counters().quarantined.load() == 0; }));
  EXPECT_EQ(alive_.load(), 0);
  pair_->RoundTrip();
  EXPECT_TRUE(IsStillFilled(memory));
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, ACancelIsAnsweredWhenTheNicWritesNoMore) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  constexpr std::size_t kBytes = 64 * kMiB;
  std::vector<std::byte> block(kBytes, std::byte{9});
  const FrameId frame = Store(block);
  std::vector<std::byte> memory(kBytes);
  pair_->Register(1, memory);
  pair_->Expect(4, {memory});
  pair_->Send(BuildMessage<wire::Get>(pair_->head(4)));
  ASSERT_TRUE(pair_->handler.log.WaitFor([](const auto& log) { return log.requests.size() == 1; }));
  auto thaw = pair_->FreezeClient();
  auto push = Push(frame, block, 4, {{1, 0, kBytes}});
  EXPECT_TRUE(Soon([&] { return alive_.load() == 1; }));
  pair_->client_runner.reactor().Post([&] {
    EXPECT_EQ(pair_->channel->Withdraw(4), StatusCode::kPending);
    pair_->channel->Send(BuildMessage<wire::Cancel>(
        pair_->head(),
        [](flatbuffers::FlatBufferBuilder& builder) { return wire::CreateCancel(builder, 4); }));
  });
  thaw->set_value();
  ASSERT_TRUE(pair_->channel_handler.log.WaitFor(
      [](const auto& log) { return log.quiet == std::vector<std::uint64_t>{4}; }));
  pair_->client_runner.Call([&] { std::memset(memory.data(), 0xA5, kBytes); });
  const StatusCode code = Code(std::move(push));
  EXPECT_TRUE(code == StatusCode::kCancelled || code == StatusCode::kOk) << StatusCodeName(code);
  EXPECT_TRUE(Soon([&] { return alive_.load() == 0; }));
  pair_->RoundTrip();
  EXPECT_TRUE(IsStillFilled(memory));
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, AGpuThatHangsEndsThePushByItsDeadlineAndKeepsTheFrame) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  std::vector<std::byte> block(kMiB, std::byte{3});
  const FrameId frame = Store(block);
  std::vector<std::byte> memory(kMiB);
  pair_->Register(1, memory);
  device_->Hang(true);
  EXPECT_EQ(Code(Push(frame, block, 1, {{1, 0, kMiB}}, {}, 200 * kMillisecond)),
            StatusCode::kTimeout);
  EXPECT_EQ(pair_->counters().quarantined.load(), 0u) << "nobody touches the client's memory";
  EXPECT_EQ(alive_.load(), 1) << "the GPU still reads it";
  device_->Hang(false);
  EXPECT_TRUE(Soon([&] { return alive_.load() == 0; }));
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, AGpuThatIsLostInMidTransferIsAnError) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  std::vector<std::byte> block(kMiB, std::byte{3});
  const FrameId frame = Store(block);
  std::vector<std::byte> memory(kMiB);
  pair_->Register(1, memory);
  device_->Hang(true);
  auto push = Push(frame, block, 1, {{1, 0, kMiB}});
  EXPECT_TRUE(Soon([&] { return alive_.load() == 1; }));
  pair_->server_runner.Call([&] {
    device_->Lose("an error that it does not recover from");
    device_->Hang(false);
  });
  EXPECT_EQ(Code(std::move(push)), StatusCode::kIo);
  EXPECT_EQ(Code(Push(frame, block, 2, {{1, 0, kMiB}})), StatusCode::kIo);
  EXPECT_EQ(pair_->counters().bytes_straight.load(), 0u);
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, AClientThatLeavesInMidTransferReleasesTheBlock) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  constexpr std::size_t kBytes = 64 * kMiB;
  std::vector<std::byte> block(kBytes, std::byte{9});
  const FrameId frame = Store(block);
  std::vector<std::byte> memory(kBytes);
  pair_->Register(1, memory);
  auto thaw = pair_->FreezeClient();
  auto push = Push(frame, block, 1, {{1, 0, kBytes}});
  EXPECT_TRUE(Soon([&] { return alive_.load() == 1; }));
  pair_->server_runner.Call([&] { pair_->peer->link().Close(); });
  EXPECT_EQ(Code(std::move(push)), StatusCode::kPeerDead);
  thaw->set_value();
  EXPECT_TRUE(Soon([&] { return alive_.load() == 0; }));
  EXPECT_EQ(Code(Push(frame, block, 2, {{1, 0, kBytes}})), StatusCode::kUnsupported);
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, PiecesOutsideTheClientsMemoryMoveNothing) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  std::vector<std::byte> block(kMiB, std::byte{3});
  const FrameId frame = Store(block);
  std::vector<std::byte> memory(kMiB);
  pair_->Register(1, memory);
  EXPECT_EQ(Code(Push(frame, block, 1, {{1, 1, kMiB}})), StatusCode::kInvalid);
  EXPECT_EQ(Code(Push(frame, block, 1, {{2, 0, kMiB}})), StatusCode::kInvalid);
  EXPECT_EQ(Code(Push(frame, block, 1, {{1, 0, kMiB}}, {}, -kMillisecond)), StatusCode::kTimeout);
  EXPECT_EQ(memory, std::vector<std::byte>(kMiB));
  tier_->Free(frame);
}

TEST_F(DeviceLinkTest, WhereTheNicCannotReadTheGpuTheReasonIsTold) {
  ServerOptions without = Patient();
  without.rdma = false;
  HostDeviceMemory device;
  auto tier = HbmTier::Create(device, {.capacity_bytes = 2 * kMiB, .copies = {}});
  ASSERT_TRUE(tier.ok());
  DevicePool pool = (*tier)->Pool();
  {
    Pair pair(LinkKind::kTcp, without, ChannelOptions(), std::span(&pool, 1));
    EXPECT_FALSE(pair.gpu_wire.straight);
    EXPECT_EQ(pair.gpu_wire.reason, GpuWire::Reason::kNoNic);
    pair.server_runner.Call(
        [&] { EXPECT_FALSE(pair.peer->link().ReachesDevice(**tier, kMiB, {})); });
  }
  if (FindUcxCuda() != UcxCuda::kAbsent) GTEST_SKIP() << "the UCX here knows CUDA";
  pool.kind = DeviceMemoryKind::kCuda;
  Pair pair(LinkKind::kRdma, Patient(), ChannelOptions(), std::span(&pool, 1));
  EXPECT_FALSE(pair.gpu_wire.straight);
  EXPECT_EQ(GpuWireReasonName(pair.gpu_wire.reason), "ucx_without_cuda");
  pair.server_runner.Call([&] { EXPECT_FALSE(pair.peer->link().ReachesDevice(**tier, kMiB, {})); });
}

}  // namespace
}  // namespace terrace::test
