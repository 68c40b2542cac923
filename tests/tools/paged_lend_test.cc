// A PagedCache whose mover is a GPU's (a double's) takes blocks where they lie in the GPU's memory.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/client/paged/slow_mover.h"
#include "tests/tools/device_lender.h"
#include "tests/tools/paged_rank.h"

namespace terrace::paged {
namespace {

using testing::GpuHost;
using testing::LentMapper;

TEST(PagedLend, AGetScattersFromMemoryOfTheGpuWhereItMay) {
  const LentMapper mapper;
  const GpuHost host({.reactors = 1, .lend_tenants = {"default"}, .dram_lend_percent = 50});
  const CacheLayout layout = PartsFirst(kShape, PageOrder::kHnd);
  const auto make_mover = [&](const PaperCache& paper) {
    auto mover =
        std::make_shared<SlowMover>(CpuMover::Make(layout, kStored, paper.bases()).value());
    mover->SetBlockPages(2);
    mover->BeOf("DOUBLE-0");
    return mover;
  };
  Rank rank("127.0.0.1:" + std::to_string(host.port()), layout, kStored, LinkChoice::kAuto, {}, 0,
            make_mover);
  SeededRandom random(1);
  rank.paper.Fill(random);
  const auto pages = RandomPages(64, 48, random);
  const std::vector<std::uint32_t> from(pages.begin(), pages.begin() + 24);
  const std::vector<std::uint32_t> to(pages.begin() + 24, pages.end());
  rank.ExpectAll(rank.cache->Put(rank.space, rank.chain, rank.On(from), {}, Soon()),
                 StatusCode::kOk);
  const std::vector<std::byte> wanted = rank.Bytes(from);
  const auto granted = [&] { return host.Lent(&LeaseCounters::granted); };
  ASSERT_TRUE(host.Await([&] {
    const std::uint64_t before = granted();
    rank.ExpectAll(rank.cache->Get(rank.space, rank.chain, rank.On(to), {}, Soon()),
                   StatusCode::kOk);
    EXPECT_TRUE(rank.Bytes(to) == wanted);
    return granted() - before == kBlocks;
  })) << "never all of them from there";
  EXPECT_EQ(host.Lent(&LeaseCounters::expired), 0U);
  EXPECT_TRUE(host.Await([&] { return host.Lent(&LeaseCounters::now) == 0; }));
}

}  // namespace
}  // namespace terrace::paged
