#include "base/crash_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <set>
#include <string>

namespace terrace {
namespace {

using ::testing::HasSubstr;
using ::testing::KilledBySignal;

TEST(CrashPointTest, EveryPointHasANameOfItsOwnAndAMeaning) {
  std::set<std::string_view> names;
  for (const CrashPointInfo& info : CrashPoints()) {
    EXPECT_NE(info.point, CrashPoint::kNone);
    EXPECT_FALSE(info.meaning.empty()) << info.name;
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
  }
  EXPECT_FALSE(names.empty());
  for (const CrashPointInfo& info : ClientCrashPoints()) {
    EXPECT_FALSE(info.meaning.empty()) << info.name;
    EXPECT_TRUE(info.name.starts_with("client.")) << info.name;
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
  }
}

TEST(CrashPointTest, AnUnknownNameOrNumberIsRefusedAndTheKnownNamesAreTold) {
  const Status unknown = ArmCrashPoint("put.nowhere:1");
  EXPECT_EQ(unknown.code(), StatusCode::kInvalid);
  EXPECT_THAT(unknown.message(), HasSubstr("put.nowhere"));
  for (const CrashPointInfo& info : CrashPoints()) {
    EXPECT_THAT(unknown.message(), HasSubstr(std::string(info.name)));
  }
  for (const char* const wrong :
       {"put.queued", "put.queued:", "put.queued:0", "put.queued:x", "put.queued:1x",
        "put.queued:-1", "put.queued:99999999999999999999", "", ":1"}) {
    EXPECT_EQ(ArmCrashPoint(wrong).code(), StatusCode::kInvalid) << wrong;
  }
  CrashHere(CrashPoint::kPutQueued);  // nothing was armed
}

TEST(CrashPointDeathTest, StrikesAtTheTimeThatWasNamedAndAtNoOtherPoint) {
  const auto reach = [](int times) {
    if (!ArmCrashPoint("put.queued:3").ok()) std::exit(9);
    for (int i = 0; i < 10; ++i) CrashHere(CrashPoint::kPutPublished);
    for (int i = 0; i < times; ++i) CrashHere(CrashPoint::kPutQueued);
    std::exit(0);
  };
  EXPECT_EXIT(reach(2), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(reach(3), KilledBySignal(SIGKILL), "");
}

TEST(CrashPointDeathTest, AProcessThatIsOnlyStoppedGoesOnAndIsStoppedOnce) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (!ArmCrashPoint("client.closing:2", SIGSTOP).ok()) ::_exit(9);
    for (int i = 0; i < 5; ++i) CrashHere(CrashPoint::kClientClosing);
    ::_exit(7);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status)) << status;
  ::kill(child, SIGCONT);
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << status;
}

}  // namespace
}  // namespace terrace
