#include "cache/transfer_slots.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/cache/cache_harness.h"

namespace terrace {
namespace {

using testing::SimulatedTime;

/// Links are only names here.
const Link* Name(std::uintptr_t number) { return reinterpret_cast<const Link*>(number << 4); }
const Link* const kLink = Name(1);

Task<void> TakeAndNote(TransferSlots* slots, const Link* link, Nanos deadline, int number,
                       std::vector<int>* order, std::vector<StatusCode>* outcomes) {
  const Status status = co_await slots->Acquire(link, deadline);
  order->push_back(number);
  outcomes->push_back(status.code());
}

TEST(TransferSlotsTest, LongestWaiterComesFirst) {
  SimulatedTime time;
  TransferSlots slots(1);
  TaskScope scope;
  std::vector<int> order;
  std::vector<StatusCode> outcomes;
  for (int i = 0; i < 3; ++i) {
    scope.Spawn(TakeAndNote(&slots, kLink, time.Now() + kSecond, i, &order, &outcomes));
  }
  time.RunReady();
  EXPECT_EQ(order, std::vector<int>({0}));
  EXPECT_EQ(slots.waiting(), 2u);
  slots.Release(kLink);
  slots.Release(kLink);
  time.RunReady();
  EXPECT_EQ(order, std::vector<int>({0, 1, 2}));
  slots.Release(kLink);
  EXPECT_EQ(slots.free(), 1u);
}

TEST(TransferSlotsTest, AWaitEndsAtItsDeadlineAndLeavesTheQueue) {
  SimulatedTime time;
  TransferSlots slots(1);
  EXPECT_TRUE(time.Run(slots.Acquire(kLink, time.Now() + kSecond)).ok());
  const Nanos deadline = time.Now() + kSecond;
  EXPECT_EQ(time.Run(slots.Acquire(kLink, deadline)).code(), StatusCode::kTimeout);
  EXPECT_EQ(time.Now(), deadline);
  EXPECT_EQ(slots.waiting(), 0u);
  slots.Release(kLink);
  EXPECT_EQ(slots.free(), 1u);
}

TEST(TransferSlotsTest, ASlotGrantedAsTheDeadlinePassesIsNotLost) {
  SimulatedTime time;
  TransferSlots slots(1);
  EXPECT_TRUE(time.Run(slots.Acquire(kLink, time.Now() + kSecond)).ok());
  TaskScope scope;
  std::vector<int> order;
  std::vector<StatusCode> outcomes;
  const Nanos deadline = time.Now() + kSecond;
  scope.Spawn(TakeAndNote(&slots, kLink, deadline, 1, &order, &outcomes));
  time.RunReady();
  time.clock().AdvanceTo(deadline);
  time.scheduler().RunTimers(deadline);  // the waiter is ready, but has not run
  slots.Release(kLink);
  time.RunReady();
  ASSERT_EQ(outcomes, std::vector<StatusCode>({StatusCode::kOk}));
  slots.Release(kLink);
  EXPECT_EQ(slots.free(), 1u);
}

TEST(TransferSlotsTest, OneStalledClientLeavesSlotsToTheOthers) {
  SimulatedTime time;
  TransferSlots slots(8);
  TaskScope scope;
  std::vector<int> order;
  std::vector<StatusCode> outcomes;
  for (int i = 0; i < 5; ++i) {
    scope.Spawn(TakeAndNote(&slots, kLink, time.Now() + kSecond, i, &order, &outcomes));
  }
  time.RunReady();
  EXPECT_EQ(order, std::vector<int>({0, 1})) << "a quarter of the slots";
  EXPECT_TRUE(time.Run(slots.Acquire(Name(2), time.Now() + kSecond)).ok());
  EXPECT_EQ(slots.free(), 5u);
  slots.Release(kLink);
  time.RunReady();
  EXPECT_EQ(order, std::vector<int>({0, 1, 2}));
  time.RunUntil(time.Now() + 2 * kSecond);
  EXPECT_EQ(outcomes.back(), StatusCode::kTimeout);
  slots.Release(kLink);
  slots.Release(kLink);
  slots.Release(Name(2));
  EXPECT_EQ(slots.free(), 8u);
}

TEST(TransferSlotsTest, ClientsTakeTurns) {
  SimulatedTime time;
  TransferSlots slots(1);
  EXPECT_TRUE(time.Run(slots.Acquire(kLink, time.Now() + kSecond)).ok());
  TaskScope scope;
  std::vector<int> order;
  std::vector<StatusCode> outcomes;
  const Nanos deadline = time.Now() + kSecond;
  for (int i = 0; i < 3; ++i) {
    scope.Spawn(TakeAndNote(&slots, Name(2), deadline, 20 + i, &order, &outcomes));
  }
  for (int i = 0; i < 2; ++i) {
    scope.Spawn(TakeAndNote(&slots, Name(3), deadline, 30 + i, &order, &outcomes));
  }
  time.RunReady();
  slots.Release(kLink);
  for (const std::uintptr_t holder : {2U, 3U, 2U, 3U, 2U}) {
    time.RunReady();
    slots.Release(Name(holder));
  }
  EXPECT_EQ(order, std::vector<int>({20, 30, 21, 31, 22}));
  EXPECT_EQ(slots.free(), 1u);
}

}  // namespace
}  // namespace terrace
