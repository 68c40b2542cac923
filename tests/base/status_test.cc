#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "base/link.h"
#include "base/result.h"
#include "base/tier_kind.h"

namespace terrace {
namespace {

TEST(StatusTest, EveryCodeHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int code = 0; code < kStatusCodeCount; ++code) {
    names.insert(StatusCodeName(static_cast<StatusCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(kStatusCodeCount));
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_EQ(StatusCodeName(static_cast<StatusCode>(kStatusCodeCount)), "unknown");
  EXPECT_EQ(StatusCodeName(static_cast<StatusCode>(255)), "unknown");
}

TEST(StatusTest, WireNumbersStayAsTheyAre) {
  EXPECT_EQ(static_cast<int>(StatusCode::kMiss), 1);
  EXPECT_EQ(static_cast<int>(StatusCode::kCorrupt), 6);
  EXPECT_EQ(static_cast<int>(StatusCode::kInDoubt), 14);
  EXPECT_EQ(static_cast<int>(StatusCode::kInternal), 15);
  EXPECT_EQ(StatusCodeName(StatusCode::kPeerDead), "peer_dead");
  EXPECT_EQ(StatusCodeName(StatusCode::kInDoubt), "in_doubt");
}

TEST(StatusTest, TextHasCodeAndCause) {
  EXPECT_EQ(Status().ToString(), "ok");
  EXPECT_EQ(Status(StatusCode::kMiss).ToString(), "miss");
  EXPECT_EQ(Status::Invalid("keys[3] has 65 bytes, at most 64").ToString(),
            "invalid: keys[3] has 65 bytes, at most 64");
}

TEST(ResultTest, HoldsMoveOnlyValues) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(5));
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result.status().ok());
  EXPECT_EQ(result.code(), StatusCode::kOk);
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 5);
}

TEST(ResultTest, OkStatusWithoutValueIsABugNotSuccess) {
  const Result<int> result(Status::Ok());
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.code(), StatusCode::kInternal);
}

TEST(ResultTest, CarriesTheStatus) {
  const Result<std::string> result(Status(StatusCode::kIo, "disk gone"));
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.status().ToString(), "io: disk gone");
}

TEST(ResultDeathTest, UsingAnAbsentValueAborts) {
  const Result<int> result{Status(StatusCode::kMiss)};
  EXPECT_DEATH((void)result.value(), "");
}

TEST(NamesTest, TiersAndLinksAreNamed) {
  EXPECT_EQ(TierName(TierKind::kDram), "dram");
  EXPECT_EQ(TierName(static_cast<TierKind>(77)), "none");
  EXPECT_EQ(LinkKindName(LinkKind::kShm), "shm");
  EXPECT_EQ(LinkKindName(static_cast<LinkKind>(77)), "none");
}

}  // namespace
}  // namespace terrace
