// The small parts of terrace-replay: histogram, messages, sizes, what the daemon says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "base/random.h"
#include "tools/replay/run/daemon_view.h"
#include "tools/replay/run/latency_histogram.h"
#include "tools/replay/run/run_totals.h"
#include "tools/replay/run/shared_workload.h"
#include "tools/replay/run/worker_protocol.h"
#include "tools/replay/simulate/nvme_shape.h"
#include "tools/replay/simulate/tier_size.h"
#include "tools/replay/worth/saved_compute.h"

namespace terrace::replay {
namespace {

TEST(LatencyHistogramTest, QuantilesAreWithinABucketOfTheTruth) {
  SeededRandom random(11);
  LatencyHistogram histogram;
  std::vector<std::uint64_t> values;
  for (int index = 0; index < 20'000; ++index) {
    const std::uint64_t value = random.Next() >> random.Between(25, 60);
    values.push_back(value);
    histogram.Add(static_cast<std::int64_t>(value));
  }
  std::ranges::sort(values);
  for (const double quantile : {0.01, 0.5, 0.9, 0.99, 1.0}) {
    const auto rank = static_cast<std::size_t>(quantile * static_cast<double>(values.size()));
    const auto truth = static_cast<double>(values[rank - 1]);
    const auto shown = static_cast<double>(histogram.Quantile(quantile));
    EXPECT_GE(shown, truth) << quantile;
    EXPECT_LE(shown, truth * 1.016 + 1) << quantile;
  }
  EXPECT_EQ(histogram.max_ns(), values.back());
  EXPECT_EQ(histogram.count(), values.size());
}

TEST(LatencyHistogramTest, EdgesDoNotFallOutOfTheTable) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Quantile(0.5), 0U);
  histogram.Add(-5);
  EXPECT_EQ(histogram.Quantile(1), 0U);
  histogram.Add(INT64_MAX);
  EXPECT_EQ(histogram.max_ns(), static_cast<std::uint64_t>(INT64_MAX));
  LatencyHistogram other;
  other.Add(100);
  histogram.Merge(other);
  EXPECT_EQ(histogram.count(), 3U);
  EXPECT_EQ(histogram.Quantile(0.6), 100U);
}

TEST(LatencyHistogramTest, StepsHoldEveryCallInOrderAndNoLongerOne) {
  SeededRandom random(12);
  LatencyHistogram histogram;
  EXPECT_TRUE(histogram.Steps().empty());
  std::vector<std::uint64_t> values = {0, 7, 8, 63, 64, UINT64_MAX >> 1};
  for (int index = 0; index < 5'000; ++index) values.push_back(random.Next() >> 20);
  for (const std::uint64_t value : values) histogram.Add(static_cast<std::int64_t>(value));
  std::ranges::sort(values);
  std::size_t seen = 0;
  std::uint64_t below = 0;
  for (const LatencyStep& step : histogram.Steps()) {
    ASSERT_GT(step.count, 0U);
    ASSERT_LE(seen + step.count, values.size());
    EXPECT_TRUE(seen == 0 || values[seen] > below);
    seen += step.count;
    EXPECT_LE(values[seen - 1], step.upper_ns);
    below = step.upper_ns;
  }
  EXPECT_EQ(seen, values.size());
}

class SocketPair {
 public:
  SocketPair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends_), 0); }
  ~SocketPair() {
    Close(0);
    Close(1);
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;
  [[nodiscard]] int end(int index) const { return ends_[index]; }
  void Close(int index) {
    if (ends_[index] >= 0) close(ends_[index]);
    ends_[index] = -1;
  }

 private:
  int ends_[2] = {-1, -1};
};

TEST(WorkerProtocolTest, MessagesArriveWhole) {
  const SocketPair pair;
  ASSERT_TRUE(Send(pair.end(0), WorkOrder{.kind = WorkKind::kDecode, .request = 77}).ok());
  const Result<WorkOrder> order = ReceiveOrder(pair.end(1));
  ASSERT_TRUE(order.ok());
  EXPECT_EQ(order->kind, WorkKind::kDecode);
  EXPECT_EQ(order->request, 77U);

  auto message = std::make_unique<WorkerMessage>();
  EXPECT_EQ(ReceiveReport(pair.end(0), *message).code(), StatusCode::kRetry);
  WorkReport report;
  report.header.kind = ReportKind::kDone;
  report.hit = 5;
  SetText(report, std::string(1000, 'x'));
  ASSERT_TRUE(Send(pair.end(1), report).ok());
  ASSERT_TRUE(ReceiveReport(pair.end(0), *message).ok());
  EXPECT_EQ(message->kind, ReportKind::kDone);
  EXPECT_EQ(message->report.hit, 5U);
  EXPECT_EQ(std::string(message->report.text), std::string(255, 'x'));

  auto summary = std::make_unique<WorkerSummary>();
  summary->header.kind = ReportKind::kSummary;
  summary->get.Add(1000);
  ASSERT_TRUE(Send(pair.end(1), *summary).ok());
  ASSERT_TRUE(ReceiveReport(pair.end(0), *message).ok());
  EXPECT_EQ(message->kind, ReportKind::kSummary);
  EXPECT_EQ(message->summary.get.count(), 1U);
}

TEST(WorkerProtocolTest, GoneAndGarbledPeersAreToldApart) {
  SocketPair pair;
  ASSERT_EQ(send(pair.end(0), "garbage", 7, 0), 7);
  EXPECT_EQ(ReceiveOrder(pair.end(1)).code(), StatusCode::kInternal);
  ASSERT_EQ(send(pair.end(1), "garbage", 7, 0), 7);
  auto message = std::make_unique<WorkerMessage>();
  EXPECT_EQ(ReceiveReport(pair.end(0), *message).code(), StatusCode::kInternal);
  pair.Close(1);
  EXPECT_EQ(ReceiveReport(pair.end(0), *message).code(), StatusCode::kPeerDead);
  EXPECT_EQ(Send(pair.end(0), WorkOrder{}).code(), StatusCode::kPeerDead);
}

TEST(SharedWorkloadTest, WorkersSeeTheTraceAndCannotChangeIt) {
  Trace trace;
  ASSERT_TRUE(trace.Append(1, 600, 2, std::vector<std::uint64_t>{4, 5}).ok());
  ASSERT_TRUE(trace.Append(2, 512, 2, std::vector<std::uint64_t>{6}).ok());
  RunParameters parameters;
  parameters.block_bytes = 4096;
  const std::vector<TraceHint> hints = {{}, {.session = 3, .turn = 9}};
  const Result<SharedWorkload> made = SharedWorkload::Create(parameters, trace, hints);
  ASSERT_TRUE(made.ok()) << made.status().ToString();
  const Result<SharedWorkload> attached = SharedWorkload::Attach(dup(made->fd()));
  ASSERT_TRUE(attached.ok());
  EXPECT_EQ(attached->parameters().block_bytes, 4096U);
  ASSERT_EQ(attached->requests().size(), 2U);
  EXPECT_EQ(attached->BlocksOf(0)[1], 5U);
  EXPECT_EQ(attached->BlocksOf(1)[0], 6U);
  EXPECT_EQ(attached->HintOf(0), TraceHint{});
  EXPECT_EQ(attached->HintOf(1), hints[1]);
  const Result<SharedWorkload> silent = SharedWorkload::Create(parameters, trace, {});
  ASSERT_TRUE(silent.ok());
  EXPECT_EQ(silent->HintOf(1), TraceHint{});
  EXPECT_LT(pwrite(made->fd(), "x", 1, 0), 0);
}

TEST(SharedWorkloadTest, AnotherDescriptorIsRefused) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_FALSE(SharedWorkload::Attach(ends[0]).ok());
  close(ends[0]);
  close(ends[1]);
}

TEST(TierSizeTest, SharesAreRoundedUpAndNeverTooSmallForAPrompt) {
  constexpr std::uint64_t kBlock = 64 << 10;
  const ByteAmount five{.is_percent = true, .percent = 5, .bytes = 0};
  // The conversation trace: 9,140 blocks, rounded up to pages of 2 MiB.
  EXPECT_EQ(TierBytes(five, 182'790, 247, kBlock), 286ULL * 2 * 1024 * 1024);
  EXPECT_EQ(TierBytes(five, 100, 10, kBlock), 32ULL << 20);
  EXPECT_EQ(TierBytes(five, 1000, 4000, kBlock), 8000 * kBlock);
  EXPECT_EQ(TierBytes({.is_percent = false, .percent = 0, .bytes = 12345}, 1000, 10, kBlock),
            12345U);
  // 138 MiB: what the daemon's NVMe tier needs, whatever the trace.
  EXPECT_EQ(TierBytes(five, 100, 10, kBlock, NvmeBytesMin(1)), 138ULL << 20);
}

TEST(NvmeShapeTest, SegmentsAreAsTheDaemonMakesThem) {
  constexpr std::uint64_t kMiB = 1 << 20;
  // 4 records of 4 MiB and a page each, in whole MiB.
  EXPECT_EQ(NvmeSegmentBytesMin(), 17 * kMiB);
  // 1,488 MiB less 1: a 128th is 11.6 MiB, below the least; 87 segments of 17 MiB. A record of
  // 64 KiB takes 17 pages of the 4,351 that the header leaves.
  const NvmeShape small = ShapeOfNvme(1488 * kMiB, 1, 64 << 10);
  EXPECT_EQ(small.segments, 87U);
  EXPECT_EQ(small.records_per_segment, 255U);
  // 1 TiB and 1 MiB over 2 reactors: 512 GiB, 128 segments of 4 GiB, but at most 1 GiB each.
  const NvmeShape large = ShapeOfNvme((1ULL << 40) + kMiB, 2, 5000);
  EXPECT_EQ(large.segments, 512U);
  EXPECT_EQ(large.records_per_segment, ((1ULL << 30) / 4096 - 1) / 3);
  // A 128th of 64 GiB is 512 MiB exactly.
  EXPECT_EQ(ShapeOfNvme(65537 * kMiB, 1, 64 << 10).segments, 128U);
  EXPECT_EQ(ShapeOfNvme(65537 * kMiB, 1, 64 << 10).records_per_segment, 131'071U / 17);
}

TEST(NvmeShapeTest, NoTierAndBlocksThatItDoesNotTakeAreNoSegments) {
  EXPECT_EQ(ShapeOfNvme(0, 1, 65536).segments, 0U);
  EXPECT_EQ(ShapeOfNvme(NvmeBytesMin(1) - 1, 1, 65536).segments, 0U);
  EXPECT_EQ(ShapeOfNvme(1ULL << 40, 1, (4 << 20) + 8).segments, 0U);
  EXPECT_EQ(ShapeOfNvme(1ULL << 40, 1, (4 << 20) + 8).records_per_segment, 0U);
  // The least that a plan may come to is 8 segments a reactor.
  EXPECT_EQ(ShapeOfNvme(NvmeBytesMin(3), 3, 4 << 20).segments, 8U);
  EXPECT_GE(ShapeOfNvme(NvmeBytesMin(3), 3, 4 << 20).records_per_segment, 4U);
}

TEST(DaemonViewTest, TakesWhatTheReportNeedsOutOfTheSamples) {
  const std::vector<Sample> samples = {
      {"terrace_tier_capacity_bytes", "tier=\"dram\"", 1000},
      {"terrace_tier_capacity_bytes", "tier=\"nvme\"", 5000},
      {"terrace_tier_huge_page_bytes", "tier=\"dram\"", 250},
      {"terrace_tier_blocks", "tier=\"dram\"", 7},
      {"terrace_tier_blocks", "tier=\"nvme\"", 8},
      {"terrace_tier_used_bytes", "tier=\"dram\"", 900},
      {"terrace_tier_used_bytes", "tier=\"nvme\"", 600},
      {"terrace_nvme_blocks_written_total", "reason=\"put\"", 9},
      {"terrace_nvme_blocks_written_total", "reason=\"reinsert\"", 2},
      {"terrace_nvme_device_written_bytes_total", "device=\"0\"", 30},
      {"terrace_nvme_device_written_bytes_total", "device=\"1\"", 40},
      {"terrace_evicted_blocks_total", "tier=\"dram\"", 3},
      {"terrace_evicted_blocks_total", "tier=\"nvme\"", 4},
      {"terrace_reactors", "sleep=\"io_uring\"", 2},
  };
  const DaemonView view = ViewOf(samples);
  EXPECT_TRUE(view.known);
  EXPECT_EQ(view.dram_bytes, 1000U);
  EXPECT_EQ(view.nvme_bytes, 5000U);
  EXPECT_EQ(view.evictions, 3U);  // out of DRAM
  EXPECT_EQ(view.nvme_blocks, 8U);
  EXPECT_EQ(view.nvme_used_bytes, 600U);
  EXPECT_EQ(view.nvme_blocks_put, 9U);
  EXPECT_EQ(view.nvme_blocks_reinserted, 2U);
  EXPECT_EQ(view.device_bytes_written, 70U);
  EXPECT_EQ(view.reactors, 2U);
  EXPECT_DOUBLE_EQ(view.huge_page_share, 0.25);
  const DaemonView none = ViewOf({});
  EXPECT_FALSE(none.known);
  EXPECT_EQ(none.reactors, 1U);
  const DaemonView dram_only = ViewOf(std::span(samples).first(1));
  EXPECT_EQ(dram_only.nvme_bytes + dram_only.nvme_blocks + dram_only.device_bytes_written, 0U);
}

TEST(RestartNotesTest, SeesARestartByTheTimeTheDaemonBegan) {
  RestartNotes notes;
  const auto view = [](double uptime_s, std::uint64_t blocks, std::uint64_t put) {
    DaemonView view{.known = true, .uptime_s = uptime_s, .policy = {}};
    view.nvme_blocks = blocks;
    view.nvme_blocks_put = put;
    return view;
  };
  notes.Add(view(5, 100, 100), 10 * kSecond, 11 * kSecond);  // began at 5 to 6 s
  notes.Add({}, 12 * kSecond, 13 * kSecond);                 // did not answer: says nothing
  // The same daemon, though its answers took long; and a clock that drifts a little.
  notes.Add(view(10, 150, 150), 13 * kSecond, 16 * kSecond);
  notes.Add(view(93.7, 200, 200), 100 * kSecond, 100 * kSecond);
  EXPECT_EQ(notes.restarts(), 0U);
  // Longer up than at the first look, and yet another one: 180 blocks back, 20 written since.
  notes.Add(view(6, 200, 20), 110 * kSecond, 110 * kSecond);
  EXPECT_EQ(notes.restarts(), 1U);
  EXPECT_EQ(notes.blocks_recovered(), 180U);
  notes.Add(view(16, 300, 120), 120 * kSecond, 120 * kSecond);
  EXPECT_EQ(notes.restarts(), 1U);
  EXPECT_EQ(notes.blocks_recovered(), 180U);
  // Without an NVMe tier, or with more written than is left of it.
  notes.Add(view(1, 30, 50), 130 * kSecond, 130 * kSecond);
  EXPECT_EQ(notes.restarts(), 2U);
  EXPECT_EQ(notes.blocks_recovered(), 0U);
}

TEST(RunTotalsTest, PrefillsAndDecodesAreKeptApart) {
  RunTotals totals;
  totals.hit_tokens.assign(2, kNotPrefilled);
  WorkReport prefill;
  prefill.request = 1;
  prefill.looked_up = 4;
  prefill.hit = 3;
  prefill.hit_tokens = 1536;
  prefill.hits_dram = 3;
  prefill.bytes_got = 30;
  prefill.looked_up_at = 5;
  prefill.ended_at = 9;
  totals.Add(0, prefill, {.input_tokens = 2000, .output_tokens = 9});
  WorkReport decode;
  decode.work = WorkKind::kDecode;
  decode.request = 1;
  decode.looked_up = 4;
  decode.missing = 1;
  decode.hits_dram = 3;
  decode.bytes_got = 30;
  decode.reconnects = 2;
  decode.ended_at = 12;
  totals.Add(1, decode, {.input_tokens = 2000, .output_tokens = 9});
  EXPECT_EQ(totals.blocks_looked_up, 4U);
  EXPECT_EQ(totals.hits_dram, 3U);
  EXPECT_EQ(totals.decode_blocks_missing, 1U);
  EXPECT_EQ(totals.bytes_got, 60U);
  EXPECT_EQ(totals.tokens_output, 9U);
  EXPECT_EQ(totals.Reconnects(), 2U);
  EXPECT_EQ(totals.hit_tokens[0], kNotPrefilled);
  EXPECT_EQ(totals.hit_tokens[1], 1536U);
  EXPECT_DOUBLE_EQ(totals.BlockHitRatio(), 0.75);
  EXPECT_EQ(totals.Order().size(), 3U);
}

TEST(RunTotalsTest, OrderIsThatOfTheWorkersAndNotThatOfTheirReports) {
  RunTotals totals;
  const auto add = [&totals](std::uint64_t request, Nanos looked_up_at, Nanos ended_at) {
    WorkReport prefill;
    prefill.request = request;
    prefill.looked_up_at = looked_up_at;
    prefill.ended_at = ended_at;
    totals.Add(0, prefill, {});
  };
  add(1, 20, 50);
  add(0, 10, 40);
  std::vector<std::pair<OperationKind, std::uint64_t>> order;
  for (const Operation& operation : totals.Order()) {
    order.emplace_back(operation.kind, operation.request);
  }
  using enum OperationKind;
  EXPECT_THAT(order, ::testing::ElementsAre(std::pair{kLookUp, 0}, std::pair{kLookUp, 1},
                                            std::pair{kStore, 0}, std::pair{kStore, 1}));
}

}  // namespace
}  // namespace terrace::replay
