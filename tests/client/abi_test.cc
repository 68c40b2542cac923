// A C++ program that was compiled with other headers must not start with this library: its soname
// has a number, TERRACE_LIBRARY_ABI of client/CMakeLists.txt, which grows with the public structs.
#include <gtest/gtest.h>

#include "client/terrace.hpp"

namespace terrace {
namespace {

// Who changes a size here raises the number, here and there, and says so in docs/client.md.
TEST(LibraryAbiTest, AStructThatGrewHasANewSoname) {
  EXPECT_EQ(TERRACE_LIBRARY_ABI, 1);
  EXPECT_EQ(sizeof(Chain), 120U);
  EXPECT_EQ(sizeof(MatchResult), 120U);
  EXPECT_EQ(sizeof(PrefixMatch), 104U);
  EXPECT_EQ(sizeof(ClientOptions), 128U);
}

}  // namespace
}  // namespace terrace
