// The ring of events: what is kept, what is lost, and that it says so.
#include "cache/event_log.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/random.h"

namespace terrace {
namespace {

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What an event was made of, to compare with what the log gives back.
struct Story {
  std::uint64_t number = 0;
  std::string key, parent, placement, tokens;

  [[nodiscard]] BlockEvent Event() const {
    BlockEvent event;
    event.kind = static_cast<EventKind>(1 + number % 4);
    event.cause = static_cast<EventCause>(number % kEventCauseEnd);
    event.tiers = static_cast<TierSet>(number);
    event.namespace_id = static_cast<std::uint32_t>(number * 3);
    event.identity = {.low = number, .high = ~number};
    event.position = static_cast<std::uint32_t>(number + 1);
    event.valid_tokens = static_cast<std::uint32_t>(number + 2);
    event.group = static_cast<std::uint32_t>(number + 3);
    event.shard = static_cast<std::uint32_t>(number + 4);
    event.key = Bytes(key);
    event.parent = Bytes(parent);
    event.placement = Bytes(placement);
    event.tokens = Bytes(tokens);
    return event;
  }
};

Story RandomStory(Random& random, std::uint64_t number) {
  const auto text = [&random](std::uint64_t most) {
    return std::string(random.Below(most + 1), static_cast<char>('a' + random.Below(26)));
  };
  const bool long_one = random.Below(50) == 0;
  return {.number = number,
          .key = text(kKeyBytesMax),
          .parent = text(kKeyBytesMax),
          .placement = text(kKeyBytesMax),
          .tokens = text(long_one ? 4 * kEventTokensMax : 64)};
}

void ExpectSame(const BlockEvent& found, const Story& story) {
  const BlockEvent wanted = story.Event();
  ASSERT_EQ(found.kind, wanted.kind);
  ASSERT_EQ(found.cause, wanted.cause);
  ASSERT_EQ(found.tiers, wanted.tiers);
  ASSERT_EQ(found.namespace_id, wanted.namespace_id);
  ASSERT_EQ(found.identity, wanted.identity);
  ASSERT_EQ(found.position, wanted.position);
  ASSERT_EQ(found.valid_tokens, wanted.valid_tokens);
  ASSERT_EQ(found.group, wanted.group);
  ASSERT_EQ(found.shard, wanted.shard);
  ASSERT_EQ(Text(found.key), story.key);
  ASSERT_EQ(Text(found.parent), story.parent);
  ASSERT_EQ(Text(found.placement), story.placement);
  ASSERT_EQ(Text(found.tokens), story.tokens);
}

TEST(EventLogTest, EveryEventThatIsKeptIsTheOneThatWasWritten) {
  SeededRandom random(7);
  auto log = EventLog::Create(1);
  ASSERT_TRUE(log.ok()) << log.status().ToString();
  std::deque<Story> stories;  // of the events that are kept
  for (std::uint64_t number = 1; number <= 60'000; ++number) {
    ASSERT_EQ(log->next(), number);
    stories.push_back(RandomStory(random, number));
    log->Append(stories.back().Event());
    ASSERT_LE(log->first(), number);
    while (stories.front().number < log->first()) stories.pop_front();
    ASSERT_EQ(stories.front().number, log->first());
    const std::size_t some = random.Below(stories.size());
    ExpectSame(log->At(log->first()), stories.front());
    ExpectSame(log->At(log->first() + some), stories[some]);
    ExpectSame(log->At(number), stories.back());
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(log->first(), 1u);
  EXPECT_EQ(log->Counters().kept, log->next() - log->first());
}

TEST(EventLogTest, TheRingKeepsAsManyAsItHasRoomFor) {
  auto log = EventLog::Create(EventLog::kBytesMin);
  ASSERT_TRUE(log.ok());
  const std::string key(32, 'k');
  const Story story{.number = 1, .key = key, .parent = key, .placement = key, .tokens = ""};
  for (int i = 0; i < 100'000; ++i) log->Append(story.Event());
  // 64 bytes and three keys of 32 each.
  const std::uint64_t kept = log->next() - log->first();
  EXPECT_GE(kept, EventLog::kBytesMin / 160 - 1);
  EXPECT_LE(kept, EventLog::kBytesMin / 160);
  const Story smallest{.number = 2, .key = "", .parent = "", .placement = "", .tokens = ""};
  for (int i = 0; i < 100'000; ++i) log->Append(smallest.Event());
  EXPECT_EQ(log->next() - log->first(), EventLog::kBytesMin / 64);
  EXPECT_LE(log->Bytes(), EventLog::kBytesMin + EventLog::kBytesMin / 8);
}

TEST(EventLogTest, ALogOfNoBytesNumbersNothing) {
  auto log = EventLog::Create(0);
  ASSERT_TRUE(log.ok());
  log->Append({});
  EXPECT_FALSE(log->enabled());
  EXPECT_EQ(log->next(), 1u);
  EXPECT_EQ(log->Bytes(), 0u);
  EXPECT_EQ(EventLog::Create(EventLog::kBytesMax + 1).status().code(), StatusCode::kInvalid);
}

TEST(EventLogTest, WhoWatchesIsToldOnceAndWhoLeftIsNot) {
  auto log = EventLog::Create(1);
  ASSERT_TRUE(log.ok());
  Event one;
  Event two;
  log->Watch(&one);
  log->Watch(&two);
  log->Unwatch(&two);
  log->Append({});
  EXPECT_TRUE(one.IsSet());
  EXPECT_FALSE(two.IsSet());
  one.Reset();
  log->Append({});
  EXPECT_FALSE(one.IsSet());
}

}  // namespace
}  // namespace terrace
