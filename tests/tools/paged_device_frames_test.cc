// Paged caches whose frames are memory of a GPU that the daemon fills and empties itself, on
// doubles.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/regions/device_memory.h"
#include "tests/client/paged/slow_mover.h"
#include "tests/tools/device_engine.h"
#include "tests/tools/paged_rank.h"
#include "tests/tools/shards_host.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace::paged {
namespace {

using terrace::testing::GpuHost;
using terrace::testing::ShardsHost;
using ::testing::HasSubstr;

constexpr std::uint64_t kFewFrames = 200'000;  // two of them

/// The engine's side of the GPU.
class EngineGpu {
 public:
  explicit EngineGpu(const std::string& uuid = "DOUBLE-0")
      : memory_({.name = "engine", .uuid = uuid, .total_bytes = 64ULL << 20}) {
    SetDeviceExporterForTest(
        [this](std::span<std::byte> memory) { return memory_.Export(memory); });
  }
  ~EngineGpu() { SetDeviceExporterForTest(nullptr); }
  EngineGpu(const EngineGpu&) = delete;
  EngineGpu& operator=(const EngineGpu&) = delete;

  [[nodiscard]] Rank::MakeMover Mover(const CacheLayout& cache, const StoredLayout& stored) {
    return [this, cache, stored](const PaperCache& paper) -> std::shared_ptr<PageMover> {
      auto cpu = CpuMover::Make(cache, stored, paper.bases());
      EXPECT_TRUE(cpu.ok()) << cpu.status().ToString();
      auto mover = std::make_shared<SlowMover>(*cpu);
      mover->SetBlockPages(stored.block_tokens / cache.page_tokens);
      mover->FramesOn(memory_);
      return mover;
    };
  }
  [[nodiscard]] std::uint64_t Used() {
    const auto space = memory_.Space();
    return space->total_bytes - space->free_bytes;
  }

 private:
  HostDeviceMemory memory_;
};

PagedCacheOptions OnDevice(std::uint64_t staging_bytes) {
  PagedCacheOptions options;
  options.staging_bytes = staging_bytes;
  options.frames_on_device = true;
  return options;
}

std::string AddressOf(const GpuHost& host) { return "127.0.0.1:" + std::to_string(host.port()); }

void PutAndGet(std::uint64_t staging_bytes) {
  EngineGpu gpu;
  const GpuHost host({});
  {
    const CacheLayout layout = PartsFirst(kShape, PageOrder::kNhd);
    Rank rank(AddressOf(host), layout, kStored, LinkChoice::kAuto, OnDevice(staging_bytes), 0,
              gpu.Mover(layout, kStored));
    EXPECT_GT(host.Mapped(), 0U);
    SeededRandom random(21);
    rank.paper.Fill(random);
    const auto pages = RandomPages(64, 48, random);
    const std::vector<std::uint32_t> from(pages.begin(), pages.begin() + 24);
    const std::vector<std::uint32_t> to(pages.begin() + 24, pages.end());
    const auto wanted = rank.Bytes(from);
    rank.ExpectAll(rank.cache->Put(rank.space, rank.chain, rank.On(from), {}, Soon()),
                   StatusCode::kOk);
    // From DRAM, until there are copies on that GPU; then from there.
    const auto from_hbm = [&] {
      rank.paper.Fill(random);
      const auto got = rank.cache->Get(rank.space, rank.chain, rank.On(to), {}, Soon());
      rank.ExpectAll(got, StatusCode::kOk);
      EXPECT_EQ(rank.Bytes(to), wanted);
      return std::ranges::all_of(
          *got, [](const BlockResult& block) { return block.tier == TierKind::kHbm; });
    };
    EXPECT_TRUE(host.Await(from_hbm));
    rank.ExpectOneLayerAlone(to, wanted, random);
    EXPECT_TRUE(rank.cache->Fence(to, Soon()).ok());
    EXPECT_EQ(host.Cached(&CacheCounters::blocks_lent), 0U);
  }
  EXPECT_EQ(host.Mapped(), 0U);
  EXPECT_EQ(gpu.Used(), 0U) << "frames were not freed";
}

TEST(PagedDeviceFrames, BlocksComeDeviceToDeviceAndAreThoseThatWerePut) { PutAndGet(64 << 20); }

TEST(PagedDeviceFrames, TwoFramesAreEnough) { PutAndGet(kFewFrames); }

TEST(PagedDeviceFrames, QuantisedBlocksAreTheSameAsThroughFramesOfTheHost) {
  EngineGpu gpu;
  const GpuHost host({});
  const CacheLayout layout = PartsFirst(kShape, PageOrder::kNhd);
  StoredLayout stored = kStored;
  stored.type = StoredType::kInt8;
  Rank on_device(AddressOf(host), layout, stored, LinkChoice::kAuto, OnDevice(64 << 20), 0,
                 gpu.Mover(layout, stored));
  Rank on_host(AddressOf(host), layout, stored);
  SeededRandom random(22);
  on_device.paper.Fill(random);
  const auto pages = RandomPages(64, 24, random);
  on_device.ExpectAll(
      on_device.cache->Put(on_device.space, on_device.chain, on_device.On(pages), {}, Soon()),
      StatusCode::kOk);
  for (Rank* rank : {&on_device, &on_host}) {
    rank->ExpectAll(rank->cache->Get(rank->space, rank->chain, rank->On(pages), {}, Soon()),
                    StatusCode::kOk);
  }
  EXPECT_EQ(on_device.Bytes(pages), on_host.Bytes(pages));
}

/// Opens a paged cache with such frames, which is refused: the answer.
Status Refusal(const std::string& address, LinkChoice link, const StoredLayout& stored,
               const CacheLayout& layout, const Rank::MakeMover& mover) {
  const PaperCache paper(layout);
  auto client = Client::Connect({.address = address, .link = link, .connect_timeout = 20s});
  EXPECT_TRUE(client.ok()) << client.status().ToString();
  PagedCacheOptions options = OnDevice(kFewFrames);
  options.cache = layout;
  options.stored = stored;
  options.layer_bases.assign(paper.bases().begin(), paper.bases().end());
  if (mover) options.mover = mover(paper);
  return PagedCache::Open(**client, std::move(options)).status();
}

TEST(PagedDeviceFrames, WhereTheyCannotBeTheReasonIsToldAndNothingIsKept) {
  EngineGpu gpu;
  const GpuHost with_gpu({});
  const GpuHost without({.hbm = false});
  const CacheLayout layout = PartsFirst(kShape, PageOrder::kNhd);
  CacheLayout some_heads = layout;
  some_heads.heads = 2;
  StoredLayout rank_of_two = kStored;
  rank_of_two.type = StoredType::kInt8;
  rank_of_two.heads_total = 4;
  const struct {
    const char* why;
    const GpuHost& host;
    LinkChoice link;
    StoredLayout stored;
    CacheLayout cache;
    bool on_gpu;
  } cases[] = {
      {"in no memory of a GPU", with_gpu, LinkChoice::kAuto, kStored, layout, false},
      {"", without, LinkChoice::kAuto, kStored, layout, true},
      {"", with_gpu, LinkChoice::kTcp, kStored, layout, true},
      {"heads", with_gpu, LinkChoice::kAuto, rank_of_two, some_heads, true},
  };
  for (const auto& one : cases) {
    const Status refused =
        Refusal(AddressOf(one.host), one.link, one.stored, one.cache,
                one.on_gpu ? gpu.Mover(one.cache, one.stored) : Rank::MakeMover());
    EXPECT_EQ(refused.code(), StatusCode::kUnsupported) << refused.ToString();
    EXPECT_THAT(refused.message(), HasSubstr("frames_on_device: "));
    EXPECT_THAT(refused.message(), HasSubstr(one.why));
    EXPECT_EQ(gpu.Used(), 0U) << refused.message();
  }
}

}  // namespace
}  // namespace terrace::paged
