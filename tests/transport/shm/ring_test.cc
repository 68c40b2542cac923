// The rings of a shared page: bytes in order, no wake-up lost, and nothing believed.
#include "transport/shm/ring.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/random.h"

namespace terrace {
namespace {

class RingTest : public testing::Test {
 protected:
  RingTest() {
    auto page = SharedPage::Create(&fd_);
    EXPECT_TRUE(page.ok()) << page.status().ToString();
    page_ = std::move(page.value());
  }
  RingEnds& ends() { return page_->layout().to_daemon; }
  std::byte* bytes() { return page_->layout().to_daemon_bytes; }

  UniqueFd fd_;
  std::shared_ptr<SharedPage> page_;
};

TEST_F(RingTest, BytesComeInOrderAcrossTheEndOfTheRing) {
  RingWriter writer(ends(), bytes());
  RingReader reader(ends(), bytes());
  SeededRandom random(1);
  std::uint8_t written = 0;
  std::uint8_t read = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> data(random.Below(3000));
    for (std::byte& byte : data) byte = std::byte{written++};
    ASSERT_EQ(writer.Write(data), data.size());
    (void)writer.Publish();
    while (reader.Waiting() > 0) {
      std::vector<std::byte> got(1 + random.Below(5000));
      got.resize(reader.Read(got));
      for (const std::byte byte : got) ASSERT_EQ(byte, std::byte{read++});
      (void)reader.Free();
    }
  }
}

TEST_F(RingTest, AFullRingTakesNoMoreAndLosesNothing) {
  RingWriter writer(ends(), bytes());
  RingReader reader(ends(), bytes());
  const std::vector<std::byte> data(kRingBytes + 1000, std::byte{7});
  EXPECT_EQ(writer.Write(data), kRingBytes);
  EXPECT_EQ(writer.Write(data), 0u);
  EXPECT_FALSE(writer.Publish()) << "nobody sleeps";
  EXPECT_FALSE(writer.WaitForRoom());
  std::vector<std::byte> got(kRingBytes + 1);
  EXPECT_EQ(reader.Read(got), kRingBytes);
  EXPECT_TRUE(reader.Free()) << "the writer asked to be told";
  EXPECT_FALSE(reader.Free()) << "once";
  EXPECT_EQ(writer.Write(data), kRingBytes);
}

TEST_F(RingTest, WhatWasNotPublishedIsNotSeen) {
  RingWriter writer(ends(), bytes());
  RingReader reader(ends(), bytes());
  EXPECT_EQ(writer.Write(std::array<std::byte, 3>{}), 3u);
  EXPECT_EQ(reader.Waiting(), 0u);
  EXPECT_TRUE(reader.Sleep());
  EXPECT_TRUE(writer.Publish()) << "the reader sleeps";
  EXPECT_EQ(reader.Waiting(), 3u);
  EXPECT_FALSE(reader.Sleep()) << "something waits";
}

TEST_F(RingTest, EndsThatAreImpossibleBreakTheRingAndReadNothing) {
  for (const std::uint64_t lie :
       {std::uint64_t{kRingBytes} + 1, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    RingReader reader(ends(), bytes());
    ends().head = lie;
    std::array<std::byte, 16> got;
    EXPECT_EQ(reader.Read(got), 0u) << lie;
    EXPECT_TRUE(reader.broken()) << lie;
    EXPECT_EQ(reader.Waiting(), 0u) << lie;
    ends().head = 0;
  }
  for (const std::uint64_t lie : {std::uint64_t{1}, ~std::uint64_t{0} - kRingBytes}) {
    RingWriter writer(ends(), bytes());
    ends().tail = lie;  // more was taken than was ever written
    EXPECT_EQ(writer.Write(std::array<std::byte, 16>{}), 0u) << lie;
    EXPECT_TRUE(writer.broken()) << lie;
    ends().tail = 0;
  }
}

// Both ends sleep whenever they may; a lost wake-up is a hang.
TEST_F(RingTest, NoWakeUpIsLostBetweenTwoThreads) {
  constexpr std::uint64_t kBytes = 8 << 20;
  std::atomic<int> reader_bell{0};
  std::atomic<int> writer_bell{0};
  const auto wait = [](std::atomic<int>& bell) {
    bell.wait(0);
    bell.store(0);
  };
  const auto ring = [](std::atomic<int>& bell) {
    bell.store(1);
    bell.notify_one();
  };
  std::thread reading([&] {
    RingReader reader(ends(), bytes());
    std::uint64_t sum = 0;
    std::array<std::byte, 1000> buffer;
    while (sum < kBytes) {
      const std::size_t got = reader.Read(buffer);
      for (std::size_t i = 0; i < got; ++i) {
        ASSERT_EQ(buffer[i], static_cast<std::byte>((sum + i) * 31 >> 3));
      }
      sum += got;
      if (got > 0 && reader.Free()) ring(writer_bell);
      if (got == 0 && reader.Sleep()) wait(reader_bell);
    }
  });
  RingWriter writer(ends(), bytes());
  SeededRandom random(2);
  for (std::uint64_t done = 0; done < kBytes;) {
    std::vector<std::byte> data(std::min<std::uint64_t>(1 + random.Below(9000), kBytes - done));
    for (std::size_t i = 0; i < data.size(); ++i) {
      data[i] = static_cast<std::byte>((done + i) * 31 >> 3);
    }
    for (std::size_t sent = 0; sent < data.size();) {
      const std::size_t part = writer.Write(std::span(data).subspan(sent));
      sent += part;
      if (part > 0 && writer.Publish()) ring(reader_bell);
      if (sent < data.size() && !writer.WaitForRoom()) wait(writer_bell);
    }
    done += data.size();
  }
  reading.join();
}

TEST(SharedPageTest, WhatIsNoSharedPageIsRefused) {
  UniqueFd fd;
  ASSERT_TRUE(SharedPage::Create(&fd).ok());
  const auto opened = SharedPage::Open(fd.get());
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  opened.value()->layout().version = kSharedPageVersion + 1;
  EXPECT_EQ(SharedPage::Open(fd.get()).code(), StatusCode::kInvalid);
  opened.value()->layout().version = kSharedPageVersion;
  opened.value()->layout().magic = 1;
  EXPECT_EQ(SharedPage::Open(fd.get()).code(), StatusCode::kInvalid);
  EXPECT_FALSE(SharedPage::Open(0).ok());
  EXPECT_FALSE(SharedPage::Open(-1).ok());
}

}  // namespace
}  // namespace terrace
