#include "tools/terraced/start_guard.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace terrace {
namespace {

constexpr std::int64_t kNow = 1'800'000'000;

class StartGuardTest : public ::testing::Test {
 protected:
  StartGuardTest() {
    std::string name = (std::filesystem::temp_directory_path() / "terrace-guard-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~StartGuardTest() override { std::filesystem::remove_all(folder_); }

  /// A daemon that starts and is killed.
  void Crash(std::int64_t at) {
    StartGuard guard(folder_);
    EXPECT_TRUE(guard.NoteStart(at));
  }
  bool Tripped(std::int64_t at) { return StartGuard(folder_).Tripped(at); }
  void WriteFile(const std::string& text) { std::ofstream(folder_ + "/starts") << text; }

  std::string folder_;
};

TEST_F(StartGuardTest, ThreeCrashesWithinAMinuteTripIt) {
  EXPECT_FALSE(Tripped(kNow));
  Crash(kNow);
  Crash(kNow + 10);
  EXPECT_FALSE(Tripped(kNow + 11));
  Crash(kNow + 20);
  EXPECT_TRUE(Tripped(kNow + 21));
  EXPECT_TRUE(Tripped(kNow + 60));
  EXPECT_FALSE(Tripped(kNow + 61)) << "an operator who waits may try again";
}

TEST_F(StartGuardTest, CrashesFarApartDoNot) {
  for (int day = 0; day < 10; ++day) {
    Crash(kNow + day * 86'400);
    EXPECT_FALSE(Tripped(kNow + day * 86'400 + 1));
  }
}

TEST_F(StartGuardTest, AGoodEndForgetsTheCrashesBeforeIt) {
  Crash(kNow);
  Crash(kNow + 1);
  StartGuard guard(folder_);
  EXPECT_TRUE(guard.NoteStart(kNow + 2));
  guard.Clear();
  EXPECT_FALSE(Tripped(kNow + 3));
  EXPECT_FALSE(std::filesystem::exists(guard.path()));
  Crash(kNow + 4);
  Crash(kNow + 5);
  EXPECT_FALSE(Tripped(kNow + 6));
}

TEST_F(StartGuardTest, AClockThatWasSetBackDoesNotLockTheStoreAway) {
  for (int start = 0; start < 3; ++start) Crash(kNow + start);
  EXPECT_FALSE(Tripped(kNow - 3600));
}

TEST_F(StartGuardTest, AFileThatIsNoneCountsAsNoCrash) {
  WriteFile("what is this");
  EXPECT_FALSE(Tripped(kNow));
  WriteFile(std::string(1 << 20, '\0'));
  EXPECT_FALSE(Tripped(kNow));
  WriteFile("99999999999999999999999999999\n");
  EXPECT_FALSE(Tripped(kNow));
}

TEST_F(StartGuardTest, TheFileStaysShort) {
  std::string text;
  for (int start = 0; start < 100'000; ++start) text += std::to_string(kNow) + "\n";
  WriteFile(text);
  EXPECT_TRUE(Tripped(kNow));
  Crash(kNow + 1);
  EXPECT_LT(std::filesystem::file_size(folder_ + "/starts"), 100u);
  EXPECT_TRUE(Tripped(kNow + 2));
}

TEST_F(StartGuardTest, AFolderThatCannotBeWrittenIsSaid) {
  StartGuard guard(folder_ + "/missing");
  EXPECT_FALSE(guard.NoteStart(kNow));
  EXPECT_FALSE(guard.Tripped(kNow + 1));
}

}  // namespace
}  // namespace terrace
