// What a reactor says about loading: believed only when it makes sense.
#include "client/plan/load_part.h"

#include <gtest/gtest.h>

#include <vector>

namespace terrace {
namespace {

std::vector<std::byte> Reply(const std::vector<std::uint8_t>& sources,
                             const std::vector<wire::LoadSource>& from) {
  return BuildMessage<wire::MatchReply>({}, [&](flatbuffers::FlatBufferBuilder& builder) {
    const auto tiers = builder.CreateVector(std::vector<std::uint8_t>(sources.size(), 2));
    const auto numbers = builder.CreateVector(sources);
    const auto shown = builder.CreateVectorOfStructs(from);
    return wire::CreateMatchReply(builder, tiers, numbers, shown);
  });
}

LoadPart Read(const std::vector<std::uint8_t>& sources, const std::vector<wire::LoadSource>& from,
              std::size_t cells) {
  const std::vector<std::byte> bytes = Reply(sources, from);
  const wire::MatchReply& reply = *(*VerifyMessage(bytes))->body_as_MatchReply();
  return ReadLoadPart(reply.sources(), reply.load_from(), cells);
}

const wire::LoadSource kConnection(1'000'000'000, 10, 100, 2, 0);
const wire::LoadSource kDevice(100'000'000, 20, 200, 3, 0);

TEST(LoadPart, ReadsAConnectionAndItsDevices) {
  const LoadPart part = Read({0, 1}, {kConnection, kDevice}, 2);
  ASSERT_EQ(part.from.size(), 2u);
  EXPECT_EQ(part.from[1].bytes_per_s, 100'000'000u);
  EXPECT_EQ(part.from[1].queue_us, 20u);
  EXPECT_EQ(part.SourceOf(1, 5), 6u);
  EXPECT_EQ(part.SourceOf(0, kNoSource), kNoSource);
}

TEST(LoadPart, AnOlderDaemonSaysNothing) {
  EXPECT_TRUE(ReadLoadPart(nullptr, nullptr, 3).from.empty());
  std::vector<LoadSource> all;
  EXPECT_EQ(AppendSources({}, kMillisecond, all), kNoSource);
  EXPECT_TRUE(LoadTimes(std::vector<std::uint16_t>{kNoSource}, all, 4096).empty());
}

TEST(LoadPart, WhatMakesNoSenseIsNotBelieved) {
  EXPECT_TRUE(Read({0}, {kConnection}, 2).from.empty()) << "another number of cells";
  EXPECT_TRUE(Read({0}, {}, 1).from.empty());
  EXPECT_TRUE(Read({0}, {kDevice}, 1).from.empty()) << "a device without a connection";
  EXPECT_TRUE(Read({0}, {kConnection, kConnection}, 1).from.empty());
  EXPECT_TRUE(Read({0}, std::vector<wire::LoadSource>(300, kDevice), 1).from.empty());
  const LoadPart part = Read({9}, {kConnection}, 1);
  EXPECT_EQ(part.SourceOf(0, 0), kNoSource) << "a source that is not there";
  EXPECT_EQ(part.SourceOf(7, 0), kNoSource);
  const wire::LoadSource no_rate(0, 0, 0, 2, 0);
  EXPECT_EQ(Read({0}, {no_rate}, 1).from[0].bytes_per_s, 1u) << "nothing is divided by 0";
}

TEST(LoadPart, TimesAreOfOneBlockAndTheCallItself) {
  std::vector<LoadSource> all;
  const LoadPart part = Read({0, 1}, {kConnection, kDevice}, 2);
  EXPECT_EQ(AppendSources(part, 50 * kMicrosecond, all), 0u);
  EXPECT_EQ(AppendSources(part, 50 * kMicrosecond, all), 2u);
  EXPECT_EQ(all[0].latency_us, 150u);
  const std::vector<std::uint16_t> sources = {0, 1, kNoSource, 3};
  EXPECT_EQ(LoadTimes(sources, all, 1'000'000),
            (std::vector<std::uint32_t>{150 + 10 + 1000, 150 + 20 + 200 + 10'000 + 1000, 0,
                                        150 + 20 + 200 + 10'000 + 1000}));
  EXPECT_EQ(LoadTimes(sources, all, std::uint64_t{1} << 60)[1], 0xffffffffu)
      << "what takes years fits as well";
}

}  // namespace
}  // namespace terrace
