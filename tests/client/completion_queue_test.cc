#include "client/request/completion_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

namespace terrace {
namespace {

bool Readable(const CompletionQueue& queue) {
  pollfd file{.fd = queue.Fd(), .events = POLLIN, .revents = 0};
  return ::poll(&file, 1, 0) == 1;
}

Completion Numbered(Ticket ticket) {
  Completion completion;
  completion.ticket = ticket;
  return completion;
}

TEST(CompletionQueue, DescriptorIsReadableExactlyWhileSomethingWaits) {
  const auto queue = std::move(CompletionQueue::Create().value());
  EXPECT_FALSE(Readable(*queue));
  queue->Push(Numbered(1), {});
  queue->Push(Numbered(2), {});
  queue->Push(Numbered(3), {});
  EXPECT_TRUE(Readable(*queue));
  EXPECT_EQ(queue->Take(2).size(), 2U);
  EXPECT_TRUE(Readable(*queue)) << "one is left";
  EXPECT_EQ(queue->Take(2).front().ticket, 3U);
  EXPECT_FALSE(Readable(*queue));
  EXPECT_TRUE(queue->Take(2).empty());
  queue->Push(Numbered(4), {});
  EXPECT_TRUE(queue->Take(0).empty());
  EXPECT_TRUE(Readable(*queue));
}

TEST(CompletionQueue, SlotIsTakenUntilTheCompletionIs) {
  const auto queue = std::move(CompletionQueue::Create().value());
  CallLimit limit;
  for (std::uint32_t i = 0; i < kCallsMax; ++i) {
    CallSlot slot = limit.Take();
    ASSERT_TRUE(slot);
    queue->Push(Numbered(i + 1), std::move(slot));
  }
  EXPECT_FALSE(limit.Take()) << "a caller that never polls must not fill the memory";
  EXPECT_EQ(queue->Take(1).size(), 1U);
  EXPECT_TRUE(limit.Take());
}

TEST(CompletionQueue, EveryThreadThatAwaitsIsToldOfTheFirstAndNoneAfterItStopped) {
  const auto queue = std::move(CompletionQueue::Create().value());
  Signal one;
  Signal other;
  Signal gone;
  ASSERT_TRUE(queue->Await(one));
  ASSERT_TRUE(queue->Await(other));
  ASSERT_TRUE(queue->Await(gone));
  queue->StopAwaiting(gone);
  std::thread pusher([&queue] { queue->Push(Numbered(7), {}); });
  const SteadyClock clock;
  EXPECT_TRUE(one.WaitUntil(clock.Now() + 30 * kSecond));
  EXPECT_TRUE(other.WaitUntil(clock.Now() + 30 * kSecond));
  pusher.join();
  EXPECT_FALSE(gone.IsSet());
  Signal late;
  EXPECT_FALSE(queue->Await(late)) << "there is something already";
  queue->StopAwaiting(one);
  queue->StopAwaiting(other);
  EXPECT_EQ(queue->Take(64).front().ticket, 7U);
}

}  // namespace
}  // namespace terrace
