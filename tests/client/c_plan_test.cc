// Load or compute, through the C interface against a FakeDaemon.
#include <cstdint>

#include "tests/client/c_api_fixture.h"

namespace terrace {
namespace {

using testing::CApiTest;
using testing::InSomeTime;

class CPlanTest : public CApiTest {
 protected:
  void SetUp() override {
    CApiTest::SetUp();
    const terrace_block blocks[] = {Block(0), Block(1), Block(2), Block(3)};
    ASSERT_EQ(
        terrace_put(client_, space_, chain_, {}, blocks, 4, 0, InSomeTime(), results_, &error_),
        TERRACE_OK);
    request_.tokens = 64;
    request_.rate = &rate_;
    request_.rate_count = 1;
  }
  terrace_result Match() {
    terrace_result match = 0;
    EXPECT_EQ(terrace_match_loads(client_, space_, chain_, {}, InSomeTime(), &match, &error_),
              TERRACE_OK)
        << error_.message;
    return match;
  }
  terrace_status Plan(terrace_result match) {
    return terrace_plan(match, &request_, &plan_, &error_);
  }

  terrace_rate_point rate_{0, 1000};
  terrace_plan_request request_ = TERRACE_PLAN_REQUEST_INIT;
  terrace_load_plan plan_ = TERRACE_LOAD_PLAN_INIT;
};

TEST_F(CPlanTest, AMatchSaysWhatLoadingTakesAndAPlanWhatToLoad) {
  const terrace_result match = Match();
  terrace_answer answer{};
  answer.struct_size = sizeof answer;
  ASSERT_EQ(terrace_result_answer(match, &answer, &error_), TERRACE_OK);
  ASSERT_EQ(answer.matched, 4u);
  ASSERT_EQ(answer.load_from_count, 2u);
  EXPECT_EQ(answer.load_from[1].tier, TERRACE_TIER_NVME);
  EXPECT_EQ(answer.load_from[1].bytes_per_s, 100'000'000u);
  EXPECT_EQ(answer.sources[3], 1u);
  EXPECT_GE(answer.load_us[3], 655u) << "64 KiB at 100 MB/s";
  ASSERT_EQ(Plan(match), TERRACE_OK) << error_.message;
  EXPECT_EQ(plan_.stop, 4u);
  EXPECT_EQ(plan_.compute_all_seconds, 0.064);
  EXPECT_LT(plan_.seconds, 0.064);
  EXPECT_EQ(plan_.then.count + plan_.meanwhile.count + 16 * (plan_.front + plan_.stop - plan_.back),
            64u);
  terrace_block_span spans[2];
  ASSERT_EQ(terrace_blocks_to_load(&plan_, nullptr, spans, &error_), TERRACE_OK);
  EXPECT_EQ(spans[0].count + spans[1].count, plan_.front + plan_.stop - plan_.back);
  request_.no_overlap = 1;
  ASSERT_EQ(Plan(match), TERRACE_OK);
  EXPECT_EQ(plan_.front, plan_.stop);
  EXPECT_EQ(terrace_result_free(match, &error_), TERRACE_OK);
  ExpectInvalid(Plan(match), "match was freed");
}

TEST_F(CPlanTest, ASubmittedMatchCanBePlannedFromAndOtherResultsCannot) {
  terrace_ticket ticket = 0;
  ASSERT_EQ(terrace_submit_match(client_, space_, chain_, {}, InSomeTime(), &ticket, &error_),
            TERRACE_OK);
  ASSERT_EQ(terrace_wait_for_completion(client_, InSomeTime(), &error_), TERRACE_OK);
  terrace_result match = 0;
  std::uint64_t count = 0;
  ASSERT_EQ(terrace_poll(client_, &match, 1, &count, &error_), TERRACE_OK);
  EXPECT_EQ(Plan(match), TERRACE_OK) << error_.message;
  terrace_result_free(match, nullptr);
  terrace_result stat = 0;
  ASSERT_EQ(terrace_stat(client_, InSomeTime(), &stat, &error_), TERRACE_OK);
  ExpectInvalid(Plan(stat), "match: the result is of no match");
  terrace_result_free(stat, nullptr);
}

TEST_F(CPlanTest, AnOlderDaemonsMatchIsUnsupported) {
  daemon_.behaviour().tells_times = false;
  const terrace_result match = Match();
  terrace_answer answer{};
  answer.struct_size = sizeof answer;
  ASSERT_EQ(terrace_result_answer(match, &answer, &error_), TERRACE_OK);
  EXPECT_EQ(answer.matched, 4u);
  EXPECT_EQ(answer.load_us, nullptr);
  EXPECT_EQ(Plan(match), TERRACE_UNSUPPORTED);
  terrace_result_free(match, nullptr);
}

TEST_F(CPlanTest, WrongArgumentsOfPlansAreNamed) {
  const terrace_result match = Match();
  ExpectInvalid(terrace_plan(match, nullptr, &plan_, &error_), "request is null");
  ExpectInvalid(terrace_plan(match, &request_, nullptr, &error_), "plan is null");
  ExpectInvalid(terrace_match_loads(client_, space_, chain_, {}, InSomeTime(), nullptr, &error_),
                "result is null");
  plan_.struct_size = 12;
  ExpectInvalid(Plan(match), "plan.struct_size is 12");
  plan_.struct_size = sizeof plan_;
  request_.no_overlap = 2;
  ExpectInvalid(Plan(match), "request.no_overlap is 2");
  request_.no_overlap = 0;
  rate_.tokens_per_s = -1;
  ExpectInvalid(Plan(match), "rate[0].tokens_per_s is -1");
  rate_.tokens_per_s = 10;
  request_.rate = nullptr;
  ExpectInvalid(Plan(match), "request.rate");
  request_.rate_count = 0;
  ExpectInvalid(Plan(match), "rate has no point");
  request_.rate_count = ~std::uint64_t{0};
  ExpectInvalid(Plan(match), "request.rate");
  request_.struct_size = 3;
  ExpectInvalid(Plan(match), "request.struct_size is 3");
  terrace_block_span spans[2];
  plan_.front = 9;
  ExpectInvalid(terrace_blocks_to_load(&plan_, nullptr, spans, &error_), "must ascend");
  plan_.front = 0;
  ExpectInvalid(terrace_blocks_to_load(&plan_, nullptr, nullptr, &error_), "spans is null");
  const terrace_group_policy policy{0, 7, 0, 0};
  ExpectInvalid(terrace_blocks_to_load(&plan_, &policy, spans, &error_), "policy.policy is 7");
  terrace_result_free(match, nullptr);
}

}  // namespace
}  // namespace terrace
