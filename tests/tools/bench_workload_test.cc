// NvmeWorkload against a daemon of paper: what does not come from NVMe is no speed of NVMe.
#include "tools/bench/load/nvme_workload.h"

#include <gtest/gtest.h>

#include "tests/client/fake_daemon.h"
#include "tools/bench/load/block_workload.h"

namespace terrace::bench {
namespace {

class BenchWorkloadTest : public ::testing::Test {
 protected:
  BenchWorkloadTest() {
    daemon_.behaviour().tier = TierKind::kNvme;
    auto client = Client::Connect({.address = daemon_.address(), .name = "test"});
    EXPECT_TRUE(client.ok()) << client.status().ToString();
    client_ = std::move(client).value();
    workload_ =
        std::make_unique<NvmeWorkload>(*client_, NvmeWorkloadOptions{.name = "set",
                                                                     .block_bytes = 64 << 10,
                                                                     .set_bytes = 8 << 20,
                                                                     .burst_bytes = 1 << 20,
                                                                     .put_bytes = 1 << 20,
                                                                     .memory_bytes = 2 << 20});
  }

  static FakeDaemonOptions OneReactor() {
    FakeDaemonOptions options;
    options.reactors = 1;
    return options;
  }

  FakeDaemon daemon_{OneReactor()};
  std::unique_ptr<Client> client_;
  std::unique_ptr<NvmeWorkload> workload_;
};

TEST_F(BenchWorkloadTest, SetThatWasPutComesBackWhole) {
  for (int burst = 0; burst < 11; ++burst) EXPECT_GT(workload_->Put().rate, 0);
  workload_->FillSet();
  for (int burst = 0; burst < 16; ++burst) {
    const NvmeBurst got = workload_->Get();
    EXPECT_GT(got.rate, 0);
    EXPECT_EQ(got.latencies_s.size(), 16U);
  }
  EXPECT_EQ(workload_->tally().durable_bytes, 11U << 20);
  EXPECT_EQ(workload_->tally().Text(), "");
}

TEST_F(BenchWorkloadTest, HitInDramIsToldAndNotCounted) {
  workload_->FillSet();
  daemon_.behaviour().tier = TierKind::kDram;
  EXPECT_LT(workload_->Get().rate, 0);
  EXPECT_EQ(workload_->tally().Text(), "16 of 16 gets came from DRAM (not counted as speed)");
}

TEST_F(BenchWorkloadTest, MissIsToldAndNotCounted) {
  workload_->FillSet();
  ASSERT_TRUE(client_->ClearNamespace("set", In(std::chrono::seconds(20))).ok());
  EXPECT_LT(workload_->Get().rate, 0);
  EXPECT_EQ(workload_->tally().missed, 16U);
}

TEST_F(BenchWorkloadTest, PutThatIsNotDurableIsToldWithItsReason) {
  daemon_.behaviour().not_durable = static_cast<int>(NotDurable::kWriteBudget);
  EXPECT_LT(workload_->Put().rate, 0);
  EXPECT_EQ(workload_->tally().durable_bytes, 0U);
  EXPECT_EQ(workload_->tally().Text(),
            "16 of 16 puts were not durable: write_budget (not counted as speed)");
}

}  // namespace
}  // namespace terrace::bench
