// What fuzzing once found stays found: every kept input goes through its target in every build.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "tests/fuzz/fuzz_target.h"

namespace terrace::fuzz {
namespace {

namespace fs = std::filesystem;

/// Kept small, so that a clone and a test run stay small.
constexpr std::size_t kFilesMax = 50;
constexpr std::size_t kBytesMax = 64 << 10;

std::vector<fs::path> FilesIn(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(folder, absent)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

Bytes Content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

class FuzzCorpus : public ::testing::TestWithParam<const Target*> {
 protected:
  static fs::path Folder(const char* kind) {
    return fs::path(TERRACE_FUZZ_FOLDER) / kind / GetParam()->name;
  }
  static std::size_t RunAll(const fs::path& folder) {
    const auto files = FilesIn(folder);
    for (const fs::path& path : files) {
      SCOPED_TRACE(path.string());
      GetParam()->run(Content(path));
    }
    return files.size();
  }
};

TEST_P(FuzzCorpus, KeptInputsAreTakenWithoutHarm) { EXPECT_GT(RunAll(Folder("corpus")), 0u); }

TEST_P(FuzzCorpus, InputsThatOnceFailedDoNotFailAgain) { RunAll(Folder("regressions")); }

TEST_P(FuzzCorpus, WhatTheEncodersMakeIsTakenWithoutHarm) {
  const std::vector<Bytes> seeds = GetParam()->seeds();
  EXPECT_FALSE(seeds.empty());
  for (const Bytes& seed : seeds) GetParam()->run(seed);
}

TEST_P(FuzzCorpus, TheCorpusStaysSmall) {
  const auto files = FilesIn(Folder("corpus"));
  std::size_t bytes = 0;
  for (const fs::path& path : files) bytes += fs::file_size(path);
  EXPECT_LE(files.size(), kFilesMax);
  EXPECT_LE(bytes, kBytesMax);
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzCorpus, ::testing::ValuesIn(AllTargets()),
                         [](const auto& target) { return std::string(target.param->name); });

TEST(FuzzCorpusFolders, NoFolderIsLeftOfATargetThatIsGone) {
  std::set<std::string> known;
  for (const Target* target : AllTargets()) known.insert(target->name);
  for (const char* kind : {"corpus", "regressions"}) {
    for (const fs::path& folder : FilesIn(fs::path(TERRACE_FUZZ_FOLDER) / kind)) {
      EXPECT_TRUE(known.contains(folder.filename().string())) << folder;
    }
  }
}

}  // namespace
}  // namespace terrace::fuzz
