// Tasks, scopes, events and semaphores, on a ManualClock.
#include "base/task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <coroutine>
#include <memory>
#include <utility>
#include <vector>

#include "base/wait.h"
#include "tests/base/scheduler_loop.h"

namespace terrace {
namespace {

Task<int> Value(int value) { co_return value; }

Task<void> SumMany(int count, long* sum) {
  for (int i = 0; i < count; ++i) *sum += co_await Value(i);
}

TEST(TaskTest, ManySynchronousCompletionsKeepTheStackFlat) {
  SchedulerLoop loop;
  TaskScope scope;
  long sum = 0;
  scope.Spawn(SumMany(100'000, &sum));
  loop.RunAll();
  EXPECT_EQ(sum, 99'999L * 100'000 / 2);
  EXPECT_EQ(scope.live(), 0U);
}

Task<int> Nested(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await Nested(depth - 1);
}

Task<void> Store(Task<int> task, int* result) { *result = co_await std::move(task); }

TEST(TaskTest, DeepNestingKeepsTheStackFlat) {
  SchedulerLoop loop;
  TaskScope scope;
  int depth = 0;
  scope.Spawn(Store(Nested(100'000), &depth));
  loop.RunAll();
  EXPECT_EQ(depth, 100'000);
}

Task<std::unique_ptr<int>> MoveOnly(std::unique_ptr<int> value) {
  co_await Yield();
  co_return std::move(value);
}

Task<void> TakeMoveOnly(int* result) {
  const std::unique_ptr<int> value = co_await MoveOnly(std::make_unique<int>(17));
  *result = *value;
}

TEST(TaskTest, ResultsMayBeMoveOnly) {
  SchedulerLoop loop;
  TaskScope scope;
  int result = 0;
  scope.Spawn(TakeMoveOnly(&result));
  loop.RunAll();
  EXPECT_EQ(result, 17);
}

TEST(TaskTest, NeverStartedTaskFreesItsParameters) {
  const auto witness = std::make_shared<int>(1);
  {
    const auto unused = [](std::shared_ptr<int> held) -> Task<int> { co_return *held; }(witness);
    EXPECT_EQ(witness.use_count(), 2);
  }
  EXPECT_EQ(witness.use_count(), 1);
}

/// Parks whoever awaits it until the test resumes or destroys it.
struct Park {
  std::coroutine_handle<>* parked;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) const noexcept { *parked = waiter; }
  void await_resume() const noexcept {}
};

/// A root that the test owns, and so can destroy in the middle.
struct OwnedRoot {
  struct promise_type {
    OwnedRoot get_return_object() {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

Task<void> ParkedChild(std::coroutine_handle<>* parked, std::shared_ptr<int> witness) {
  const auto copy = witness;
  co_await Park{parked};
}

OwnedRoot ParkedRoot(std::coroutine_handle<>* parked, std::shared_ptr<int> witness) {
  co_await ParkedChild(parked, witness);
}

TEST(TaskTest, DestroyedWhileSuspendedFreesTheWholeChain) {
  SchedulerLoop loop;
  const auto witness = std::make_shared<int>(1);
  std::coroutine_handle<> parked;
  const OwnedRoot root = ParkedRoot(&parked, witness);
  loop.RunAll();
  ASSERT_TRUE(parked);
  EXPECT_GT(witness.use_count(), 2);
  root.handle.destroy();
  EXPECT_EQ(witness.use_count(), 1);
}

Task<void> SleepAndNote(Nanos time, int number, std::vector<int>* order) {
  co_await SleepUntil{time};
  order->push_back(number);
}

Task<void> JoinAll(TaskScope* scope, std::vector<int>* order) {
  co_await scope->Join();
  order->push_back(99);
}

TEST(TaskScopeTest, JoinWaitsForAllAndNotWhenEmpty) {
  SchedulerLoop loop;
  TaskScope scope;
  TaskScope joiners;
  std::vector<int> order;
  joiners.Spawn(JoinAll(&scope, &order));
  loop.RunAll();
  EXPECT_EQ(order, std::vector<int>{99});
  const Nanos now = loop.clock().Now();
  scope.Spawn(SleepAndNote(now + 20, 2, &order));
  scope.Spawn(SleepAndNote(now + 10, 1, &order));
  joiners.Spawn(JoinAll(&scope, &order));
  loop.RunAll();
  EXPECT_EQ(order, (std::vector<int>{99, 1, 2, 99}));
}

Task<void> SpawnAnother(TaskScope* scope, int depth) {
  co_await Yield();
  if (depth > 0) scope->Spawn(SpawnAnother(scope, depth - 1));
}

TEST(TaskScopeTest, JoinWaitsForWhatTasksSpawn) {
  SchedulerLoop loop;
  TaskScope scope;
  TaskScope joiners;
  std::vector<int> order;
  scope.Spawn(SpawnAnother(&scope, 10));
  joiners.Spawn(JoinAll(&scope, &order));
  loop.RunAll();
  EXPECT_EQ(order, std::vector<int>{99});
  EXPECT_EQ(scope.live(), 0U);
}

TEST(TaskScopeDeathTest, LeavingLiveTasksBehindAborts) {
  SchedulerLoop loop;
  EXPECT_DEATH(
      {
        TaskScope scope;
        std::vector<int> order;
        scope.Spawn(SleepAndNote(kForever - 1, 1, &order));
      },
      "live_ == 0");
}

Task<void> WaitFor(Event* event, Nanos deadline, int* result) {
  *result = co_await event->WaitUntil(deadline) ? 1 : 0;
}

TEST(EventTest, SetBeforeTheWaitIsSeen) {
  SchedulerLoop loop;
  TaskScope scope;
  Event event;
  int result = -1;
  event.Set();
  scope.Spawn(WaitFor(&event, loop.clock().Now(), &result));
  loop.RunAll();
  EXPECT_EQ(result, 1);
}

TEST(EventTest, DeadlineEndsTheWait) {
  SchedulerLoop loop;
  TaskScope scope;
  Event event;
  int result = -1;
  const Nanos deadline = loop.clock().Now() + kSecond;
  scope.Spawn(WaitFor(&event, deadline, &result));
  loop.RunUntil(deadline - 1);
  EXPECT_EQ(result, -1);
  loop.RunUntil(deadline);
  EXPECT_EQ(result, 0);
  event.Set();  // nobody waits any more
  loop.RunAll();
  EXPECT_EQ(result, 0);
}

TEST(EventTest, SetCancelsTheDeadline) {
  SchedulerLoop loop;
  TaskScope scope;
  Event event;
  int result = -1;
  scope.Spawn(WaitFor(&event, loop.clock().Now() + kSecond, &result));
  loop.RunReady();
  event.Set();
  EXPECT_EQ(loop.scheduler().NextTimer(), kForever);
  loop.RunReady();
  EXPECT_EQ(result, 1);
  event.Reset();
  EXPECT_FALSE(event.IsSet());
}

TEST(EventTest, SetAtTheDeadlineResumesOnce) {
  SchedulerLoop loop;
  TaskScope scope;
  Event event;
  int result = -1;
  const Nanos deadline = loop.clock().Now() + 10;
  scope.Spawn(WaitFor(&event, deadline, &result));
  loop.RunReady();
  loop.clock().AdvanceTo(deadline);
  loop.scheduler().RunTimers(deadline);  // the waiter is ready, by its deadline
  event.Set();                           // before it resumed
  loop.RunAll();
  EXPECT_EQ(result, 1);
  EXPECT_EQ(scope.live(), 0U);
}

Task<void> UseSlot(Semaphore* semaphore, int number, std::vector<int>* order, int* inside,
                   int* inside_most) {
  co_await semaphore->Acquire();
  order->push_back(number);
  *inside_most = std::max(*inside_most, ++*inside);
  co_await SleepUntil{Scheduler::Current().Now() + 10};
  --*inside;
  semaphore->Release();
}

TEST(SemaphoreTest, BoundsConcurrencyAndServesInOrder) {
  SchedulerLoop loop;
  TaskScope scope;
  Semaphore semaphore(3);
  std::vector<int> order;
  int inside = 0;
  int inside_most = 0;
  std::vector<int> expected;
  for (int i = 0; i < 20; ++i) {
    scope.Spawn(UseSlot(&semaphore, i, &order, &inside, &inside_most));
    expected.push_back(i);
  }
  loop.RunAll();
  EXPECT_EQ(order, expected);
  EXPECT_EQ(inside_most, 3);
  EXPECT_EQ(semaphore.free(), 3U);
}

TEST(SemaphoreTest, ReleasedSlotGoesToTheLongestWaiterNotToALateComer) {
  SchedulerLoop loop;
  TaskScope scope;
  Semaphore semaphore(1);
  std::vector<int> order;
  int inside = 0;
  int inside_most = 0;
  scope.Spawn(UseSlot(&semaphore, 0, &order, &inside, &inside_most));
  scope.Spawn(UseSlot(&semaphore, 1, &order, &inside, &inside_most));
  loop.RunReady();
  loop.clock().Advance(10);
  loop.scheduler().RunTimers(loop.clock().Now());
  loop.scheduler().RunReady(1);  // task 0 releases; task 1 is ready but has not run
  EXPECT_EQ(semaphore.free(), 0U);
  scope.Spawn(UseSlot(&semaphore, 2, &order, &inside, &inside_most));
  loop.RunAll();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2}));
}

}  // namespace
}  // namespace terrace
