#include "base/streaming_copy.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace terrace {
namespace {

TEST(StreamingCopyTest, CopiesEveryByteAndNoOtherWhateverTheAlignment) {
  constexpr std::size_t kRoom = 64;
  constexpr std::byte kUntouched{0xa5};
  std::vector<std::byte> source(kRoom + 4096);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 131 >> 2);
  for (const std::size_t size : {0UL, 1UL, 15UL, 63UL, 64UL, 65UL, 127UL, 128UL, 1000UL, 4096UL}) {
    for (std::size_t to = 0; to < kRoom; ++to) {
      const std::size_t from = (to * 7) % kRoom;
      std::vector<std::byte> destination(2 * kRoom + size, kUntouched);
      StreamingCopy(destination.data() + to, source.data() + from, size);
      for (std::size_t i = 0; i < destination.size(); ++i) {
        const bool inside = i >= to && i < to + size;
        ASSERT_EQ(destination[i], inside ? source[from + i - to] : kUntouched)
            << size << " bytes to " << to << ", at " << i;
      }
    }
  }
}

}  // namespace
}  // namespace terrace
