// The economics must reproduce the published table (reference: kv_economics), within its rounding.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tools/replay/run/run_totals.h"
#include "tools/replay/worth/economics.h"
#include "tools/replay/worth/saved_compute.h"

namespace terrace::replay {
namespace {

using ::testing::HasSubstr;

constexpr double kContexts[] = {1024, 8192, 32768, 131072, 1048576};
/// The table shows two or three digits, and rounds its own inputs: 4 % covers "1.5K" for 1,470.
constexpr double kRelative = 0.04;

struct Row {
  const char* model;
  const char* gpu;
  std::vector<double> thousand_tokens_per_s;  // empty: the table has none
  std::vector<double> break_even_bf16_gb;
  std::vector<double> break_even_fp8_gb;  // empty: half of bf16, or not in the table
};

const Row kRows[] = {
    {"llama-3-8b", "a100", {11.0, 9.7, 6.9, 3.2, 0.54}, {1.44, 1.27, 0.91, 0.42, 0.07}, {}},
    {"llama-3-8b", "h100", {35.1, 31.0, 22.2, 10.3, 1.7}, {4.61, 4.07, 2.91, 1.36, 0.23}, {}},
    {"qwen2.5-32b", "h100", {16.0, 14.8, 12.0, 6.8, 1.3}, {4.18, 3.89, 3.14, 1.77, 0.35}, {}},
    {"llama-3-70b", "a100", {9.0, 8.5, 6.9, 4.0, 0.83}, {2.96, 2.77, 2.27, 1.32, 0.27}, {}},
    {"llama-3-70b", "h100", {28.9, 27.1, 22.2, 13.0, 2.6}, {9.48, 8.88, 7.29, 4.25, 0.87}, {}},
    {"llama-3-70b", "h100-fp8", {}, {15.1, 13.6, 10.2, 5.1, 0.90}, {7.5, 6.8, 5.1, 2.5, 0.45}},
    {"deepseek-v3",
     "h100",
     {55.9, 44.7, 26.5, 10.1, 1.5},
     {3.92, 3.14, 1.86, 0.71, 0.10},
     {2.24, 1.79, 1.06, 0.40, 0.06}},
};

/// `value` shown with the digits of `shown` is `shown`, or is within kRelative of it.
void ExpectShown(double value, double shown, const std::string& what) {
  const double unit = shown < 1 ? 0.005 : 0.0;  // shown with two decimals
  EXPECT_NEAR(value, shown, std::max(shown * kRelative, unit)) << what;
}

TEST(EconomicsTest, ReproducesRatesAndBreakEvenOfTheTable) {
  for (const Row& row : kRows) {
    const Result<Economics> economics = Economics::Find(row.model, row.gpu);
    ASSERT_TRUE(economics.ok()) << economics.status().ToString();
    for (std::size_t column = 0; column < std::size(kContexts); ++column) {
      const double context = kContexts[column];
      const std::string what = std::string(row.model) + " on " + row.gpu + " at " +
                               std::to_string(static_cast<int>(context));
      if (!row.thousand_tokens_per_s.empty()) {
        ExpectShown(economics->TokensPerSecond(context) / 1e3, row.thousand_tokens_per_s[column],
                    what);
      }
      const ModelFacts& facts = economics->model();
      ExpectShown(economics->BreakEvenBytesPerSecond(context, facts.kv_bytes_per_token_bf16) / 1e9,
                  row.break_even_bf16_gb[column], what);
      if (!row.break_even_fp8_gb.empty()) {
        ExpectShown(economics->BreakEvenBytesPerSecond(context, facts.kv_bytes_per_token_fp8) / 1e9,
                    row.break_even_fp8_gb[column], what);
      }
    }
  }
}

TEST(EconomicsTest, ReproducesFlopPerTokenOfTheTable) {
  struct Flop {
    const char* model;
    double linear_giga;
    double average_giga[4];  // over 8K, 32K, 128K, 1M
    double last_giga[2];     // at 32K, 128K
  };
  const Flop rows[] = {
      {"llama-3-8b", 14.0, {16.1, 22.5, 48.3, 289}, {31, 83}},
      {"qwen2.5-32b", 62.0, {67.4, 83.5, 148, 749}, {105, 234}},
      {"llama-3-70b", 136.9, {148, 180, 309, 1511}, {223, 480}},
      {"deepseek-v3", 73.2, {93.7, 155, 401, 2693}, {237, 728}},
  };
  for (const Flop& row : rows) {
    const Result<Economics> economics = Economics::Find(row.model, "h100");
    ASSERT_TRUE(economics.ok());
    EXPECT_NEAR(economics->model().linear_flop_per_token / 1e9, row.linear_giga, 0.05);
    for (int column = 0; column < 4; ++column) {
      const double context = kContexts[column + 1];
      EXPECT_NEAR(economics->Flop(0, context) / context / 1e9, row.average_giga[column],
                  row.average_giga[column] * 0.004)
          << row.model << context;
    }
    EXPECT_NEAR(economics->Flop(32768, 32769) / 1e9, row.last_giga[0], 0.5);
    EXPECT_NEAR(economics->Flop(131072, 131073) / 1e9, row.last_giga[1], 0.6);
  }
}

TEST(EconomicsTest, ReproducesRecomputeSecondsAndSmallestHits) {
  const Result<Economics> economics = Economics::Find("Llama-3-70B", "H100");
  ASSERT_TRUE(economics.ok()) << economics.status().ToString();
  EXPECT_NEAR(economics->RecomputeSeconds(0, 1024), 0.035, 0.0005);
  EXPECT_NEAR(economics->RecomputeSeconds(0, 8192), 0.302, 0.001);
  EXPECT_NEAR(economics->RecomputeSeconds(0, 32768), 1.47, 0.01);
  EXPECT_NEAR(economics->RecomputeSeconds(0, 131072), 10.1, 0.05);
  EXPECT_NEAR(economics->RecomputeSeconds(0, 1048576), 396, 2);
  EXPECT_NEAR(economics->RecomputeSeconds(0, 512), 0.0176, 0.0001);
  EXPECT_NEAR(economics->LoadSeconds(512, 50e9), 0.0034, 0.0001);
  EXPECT_NEAR(economics->SmallestHitTokens(1e-3, 50e9, 1024), 36, 1);
  EXPECT_NEAR(economics->SmallestHitTokens(1e-2, 50e9, 1024), 360, 5);
  EXPECT_TRUE(std::isinf(economics->SmallestHitTokens(1e-3, 1e9, 1024)));
}

TEST(EconomicsTest, PartsOfAPromptAddUp) {
  for (const Instance& instance : Instances()) {
    const Result<Economics> economics = Economics::Find(instance.model, instance.gpu);
    ASSERT_TRUE(economics.ok());
    EXPECT_NEAR(economics->RecomputeSeconds(0, 5000) + economics->RecomputeSeconds(5000, 20000),
                economics->RecomputeSeconds(0, 20000), 1e-9);
  }
}

TEST(EconomicsTest, UnknownPairListsWhatThereIs) {
  const Result<Economics> economics = Economics::Find("gpt-9", "h100");
  ASSERT_FALSE(economics.ok());
  EXPECT_THAT(economics.status().message(), HasSubstr("'gpt-9' on GPU 'h100'"));
  EXPECT_THAT(economics.status().message(), HasSubstr("llama-3-8b on a100"));
  EXPECT_FALSE(Economics::Find("deepseek-v3", "a100").ok());
}

TEST(SavedComputeTest, FullHitStillComputesTheLastTokenAndMissesSaveNothing) {
  const Result<Economics> economics = Economics::Find("llama-3-8b", "h100");
  ASSERT_TRUE(economics.ok());
  Trace trace;
  using Ids = std::vector<std::uint64_t>;
  ASSERT_TRUE(trace.Append(0, 1024, 1, Ids{1, 2}).ok());
  ASSERT_TRUE(trace.Append(0, 1024, 1, Ids{1, 2}).ok());
  ASSERT_TRUE(trace.Append(0, 1024, 1, Ids{1, 2}).ok());
  const std::vector<std::uint32_t> hits = {0, 1024, kNotPrefilled};
  const SavedCompute savings = ComputeSavings(*economics, trace, hits, 100e9, 0);
  const double full = economics->RecomputeSeconds(0, 1024);
  const double last = economics->RecomputeSeconds(1023, 1024);
  EXPECT_NEAR(savings.gpu_seconds_total, 2 * full, 1e-12);
  EXPECT_NEAR(savings.gpu_seconds_saved, full - last, 1e-12);
  EXPECT_NEAR(savings.without.mean_ms, full * 1e3, 1e-9);
  EXPECT_NEAR(savings.with.p99_ms, full * 1e3, 1e-9);
  EXPECT_NEAR(savings.with.p50_ms, (last + economics->LoadSeconds(1024, 100e9)) * 1e3, 1e-9);
  EXPECT_EQ(savings.loads_that_pay, 1.0);
  EXPECT_NEAR(savings.break_even_gb_per_s, 1024 * 131072 / (full - last) / 1e9, 1e-9);
}

TEST(SavedComputeTest, SlowPathIsNotWorthLoadingAndThePlanSaysSo) {
  const Result<Economics> economics = Economics::Find("llama-3-70b", "h100");
  ASSERT_TRUE(economics.ok());
  Trace trace;
  ASSERT_TRUE(trace.Append(0, 512, 1, std::vector<std::uint64_t>{1}).ok());
  const std::vector<std::uint32_t> hits = {512};
  const SavedCompute savings = ComputeSavings(*economics, trace, hits, 1e9, 0);
  EXPECT_EQ(savings.loads_that_pay, 0.0);
  EXPECT_GT(savings.with.mean_ms, savings.without.mean_ms);
  EXPECT_NEAR(savings.planned.mean_ms, savings.without.mean_ms, 1e-9);
}

}  // namespace
}  // namespace terrace::replay
