#include "tools/common/nearest_name.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace terrace {
namespace {

constexpr std::array<std::string_view, 4> kKnown = {"listen", "reactors", "capacity", "huge_pages"};

TEST(NearestName, TyposFindTheirName) {
  EXPECT_EQ(NearestName("lsiten", kKnown), "listen");
  EXPECT_EQ(NearestName("reactor", kKnown), "reactors");
  EXPECT_EQ(NearestName("hugepages", kKnown), "huge_pages");
  EXPECT_EQ(NearestName("capacity_bytes", kKnown), "");
}

TEST(NearestName, StrangersAndMonstersFindNothing) {
  EXPECT_EQ(NearestName("zzzzzz", kKnown), "");
  EXPECT_EQ(NearestName(std::string(100'000, 'l'), kKnown), "");
  EXPECT_EQ(NearestName("listen", {}), "");
}

}  // namespace
}  // namespace terrace
