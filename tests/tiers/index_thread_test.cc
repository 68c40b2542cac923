// IndexThread and its journals over real threads and real reactors.
#include "tiers/nvme/index_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/index_store_sim.h"

namespace terrace::nvme {
namespace {

using Kind = IndexStore::Change::Kind;
using Changes = IndexJournal::Changes;

constexpr auto kPatience = std::chrono::seconds(20);  // of a test that hangs; no speed is asserted

/// A store that a test can hold up and look at from its own thread.
class WatchedStore final : public IndexStore {
 public:
  Status Write(std::span<const Change> changes, bool durable) override {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !held_; });
    --waiting_;
    if (fail_after_ > 0 && --fail_after_ == 0) store_.FailNext(1);
    const Status status = store_.Write(changes, durable);
    if (!status.ok()) return status;
    batches_.push_back(changes.size());
    for (const Change& change : changes) keys_.push_back(change.key);
    return status;
  }
  Status Sync() override {
    const std::lock_guard lock(mutex_);
    return store_.Sync();
  }
  Status Scan(std::string_view prefix,
              const std::function<bool(std::string_view, std::string_view)>& visit) override {
    const std::lock_guard lock(mutex_);
    return store_.Scan(prefix, visit);
  }

  void Hold() {
    const std::lock_guard lock(mutex_);
    held_ = true;
  }
  /// True when the index thread is in Write, and held there.
  bool AwaitHeld() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this] { return waiting_ > 0; });
  }
  void LetGo() {
    const std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  void FailNext(std::uint32_t calls) {
    const std::lock_guard lock(mutex_);
    store_.FailNext(calls);
  }
  /// The call of Write after `calls` more fails.
  void FailAfter(int calls) {
    const std::lock_guard lock(mutex_);
    fail_after_ = calls + 1;
  }
  std::vector<std::string> keys() {
    const std::lock_guard lock(mutex_);
    return keys_;
  }
  std::vector<std::size_t> batches() {
    const std::lock_guard lock(mutex_);
    return batches_;
  }
  std::size_t UnsyncedBatches() {
    const std::lock_guard lock(mutex_);
    return store_.UnsyncedBatches();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  SimulatedIndexStore store_;
  bool held_ = false;
  int waiting_ = 0;
  int fail_after_ = 0;
  std::vector<std::string> keys_;
  std::vector<std::size_t> batches_;
};

Changes Put(const std::string& key) {
  Changes changes;
  changes.push_back({.kind = Kind::kPut, .key = key, .value = "v"});
  return changes;
}

/// Submits and waits for the answer.
Status WriteNow(IndexThread& thread, Changes changes, bool durable) {
  auto answer = std::make_shared<std::promise<Status>>();
  std::future<Status> future = answer->get_future();
  const bool accepted = thread.Submit(std::move(changes), durable, [answer](Status status) {
    answer->set_value(std::move(status));
  });
  if (!accepted) return {StatusCode::kRetry, "refused"};
  if (future.wait_for(kPatience) != std::future_status::ready) return Status::Internal("no answer");
  return future.get();
}

IndexThread::Options Period(Nanos sync_period) {
  IndexThread::Options options;
  options.sync_period = sync_period;
  return options;
}
IndexThread::Options LongPeriod() { return Period(3600 * kSecond); }

TEST(IndexThreadTest, ChangesTakeEffectInTheOrderOfTheCallsOverAllReactors) {
  WatchedStore store;
  SteadyClock clock;
  std::vector<std::string> expected;
  {
    IndexThread thread(store, LongPeriod());
    std::vector<std::unique_ptr<Reactor>> reactors;
    std::vector<std::unique_ptr<IndexJournal>> journals;
    for (int i = 0; i < 2; ++i) {
      reactors.push_back(std::move(Reactor::Create({}, clock)).value());
      journals.push_back(thread.JournalFor(*reactors.back()));
      reactors.back()->Start();
    }
    for (std::size_t turn = 0; turn < 200; ++turn) {
      const std::string key = "key" + std::to_string(turn);
      expected.push_back(key);
      std::promise<void> called;
      reactors[turn % 2]->Post([&, turn] {
        EXPECT_TRUE(journals[turn % 2]->Enqueue(Put(key)));
        called.set_value();
      });
      ASSERT_EQ(called.get_future().wait_for(kPatience), std::future_status::ready);
    }
    for (const auto& reactor : reactors) {
      reactor->Stop();
      reactor->Join();
    }
  }
  EXPECT_EQ(store.keys(), expected);
}

TEST(IndexThreadTest, AReactorHearsTheOutcomeOfItsWrite) {
  WatchedStore store;
  SteadyClock clock;
  IndexThread thread(store, LongPeriod());
  auto reactor = std::move(Reactor::Create({}, clock)).value();
  const auto journal = thread.JournalFor(*reactor);
  reactor->Start();
  std::promise<std::pair<Status, Status>> answers;
  TaskScope scope;
  reactor->Post([&] {
    scope.Spawn([](IndexJournal* to, WatchedStore* failing,
                   std::promise<std::pair<Status, Status>>* result) -> Task<void> {
      const Status good = co_await to->Write(Put("a"), true);
      failing->FailNext(1);
      const Status bad = co_await to->Write(Put("b"), true);
      result->set_value({good, bad});
    }(journal.get(), &store, &answers));
  });
  auto future = answers.get_future();
  ASSERT_EQ(future.wait_for(kPatience), std::future_status::ready);
  const auto [good, bad] = future.get();
  EXPECT_TRUE(good.ok());
  EXPECT_EQ(bad.code(), StatusCode::kIo);
  std::promise<void> drained;
  reactor->Post([&drained] { drained.set_value(); });
  drained.get_future().wait();
  reactor->Stop();
  reactor->Join();
}

TEST(IndexThreadTest, WhatComesWhileABatchIsWrittenGoesTogetherInTheNext) {
  WatchedStore store;
  IndexThread thread(store, LongPeriod());
  store.Hold();
  ASSERT_TRUE(thread.Submit(Put("first"), false, {}));
  ASSERT_TRUE(store.AwaitHeld());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(thread.Submit(Put(std::to_string(i)), i == 25, {}));
  store.LetGo();
  EXPECT_TRUE(WriteNow(thread, Put("last"), false).ok());
  const std::vector<std::size_t> batches = store.batches();
  ASSERT_GE(batches.size(), 2u);
  EXPECT_EQ(batches[0], 1u);
  EXPECT_GE(batches[1], 50u);
  EXPECT_EQ(thread.Counters().durable_batches, 1u);
}

TEST(IndexThreadTest, BeyondItsBoundTheQueueRefusesAndChangesNothing) {
  WatchedStore store;
  {
    IndexThread::Options options = LongPeriod();
    options.queued_max = 3;
    IndexThread thread(store, std::move(options));
    store.Hold();
    ASSERT_TRUE(thread.Submit(Put("first"), false, {}));
    ASSERT_TRUE(store.AwaitHeld());
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(thread.Submit(Put("second"), false, {}));
    EXPECT_FALSE(thread.Submit(Put("refused"), false, [](const Status&) { FAIL(); }));
    EXPECT_TRUE(thread.Submit({}, true, {})) << "a call without changes takes no room";
    EXPECT_EQ(thread.Counters().refused, 1u);
    store.LetGo();
  }
  EXPECT_EQ(store.keys().size(), 4u);
}

TEST(IndexThreadTest, WhatMustNotBeRefusedFindsRoomInAFullQueue) {
  WatchedStore store;
  {
    IndexThread::Options options = LongPeriod();
    options.queued_max = 1;
    IndexThread thread(store, std::move(options));
    store.Hold();
    ASSERT_TRUE(thread.Submit(Put("first"), false, {}));
    ASSERT_TRUE(store.AwaitHeld());
    EXPECT_TRUE(thread.Submit(Put("second"), false, {}));
    EXPECT_FALSE(thread.Submit(Put("refused"), false, {}));
    thread.SubmitAlways(Put("namespace"));
    store.LetGo();
  }
  EXPECT_EQ(store.keys().size(), 3u);
}

TEST(IndexThreadTest, WordThatWhatCameBeforeIsWrittenCostsNoSyncAndNoFalseOk) {
  WatchedStore store;
  IndexThread thread(store, LongPeriod());
  EXPECT_TRUE(thread.Submit(Put("a"), false, {}));
  EXPECT_TRUE(WriteNow(thread, {}, false).ok());
  EXPECT_EQ(store.keys().size(), 1u);
  EXPECT_EQ(store.UnsyncedBatches(), 1u);
  store.FailNext(2);
  EXPECT_TRUE(thread.Submit(Put("b"), false, {}));
  while (thread.Counters().failures == 0) std::this_thread::yield();
  EXPECT_FALSE(WriteNow(thread, {}, false).ok()) << "b is kept, and not written";
  EXPECT_TRUE(WriteNow(thread, {}, false).ok());
  EXPECT_EQ(store.keys().size(), 2u);
}

TEST(IndexThreadTest, ADurableCallWithoutChangesMakesEverythingBeforeItDurable) {
  WatchedStore store;
  IndexThread thread(store, LongPeriod());
  EXPECT_TRUE(WriteNow(thread, Put("a"), false).ok());
  EXPECT_EQ(store.UnsyncedBatches(), 1u);
  EXPECT_TRUE(WriteNow(thread, {}, true).ok());
  EXPECT_EQ(store.UnsyncedBatches(), 0u);
}

TEST(IndexThreadTest, WhatIsNotDurableIsSyncedOnceAPeriod) {
  WatchedStore store;
  IndexThread thread(store, Period(5 * kMillisecond));
  EXPECT_TRUE(WriteNow(thread, Put("a"), false).ok());
  for (int look = 0; look < 20'000 && thread.Counters().syncs == 0; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(store.UnsyncedBatches(), 0u);
  EXPECT_EQ(thread.Counters().syncs, 1u);
}

TEST(IndexThreadTest, AStoreThatFailsIsUnhealthyUntilItResumes) {
  WatchedStore store;
  std::atomic<int> resumes{0};
  IndexThread::Options options = Period(5 * kMillisecond);
  options.resume = [&resumes] {
    // The first try comes too early.
    return ++resumes < 2 ? Status(StatusCode::kRetry, "not yet") : Status::Ok();
  };
  IndexThread thread(store, std::move(options));
  store.FailNext(1);
  EXPECT_EQ(WriteNow(thread, Put("a"), true).code(), StatusCode::kIo);
  EXPECT_FALSE(thread.Healthy());
  EXPECT_NE(thread.LastError(), "");
  for (int look = 0; look < 20'000 && !thread.Healthy(); ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(thread.Healthy());
  EXPECT_EQ(resumes.load(), 2);
  EXPECT_TRUE(WriteNow(thread, Put("b"), true).ok());
  EXPECT_EQ(store.keys(), std::vector<std::string>{"b"}) << "a was answered: it did not happen";
}

TEST(IndexThreadTest, AChangeThatNobodyWaitsForOutlivesAFailureOfTheStore) {
  WatchedStore store;
  IndexThread thread(store, LongPeriod());
  store.Hold();
  ASSERT_TRUE(thread.Submit(Put("first"), false, {}));
  ASSERT_TRUE(store.AwaitHeld());
  // The next batch fails. One part of it is answered, the other nobody would ever hear of.
  ASSERT_TRUE(thread.Submit(Put("entry"), false, {}));
  auto heard = std::make_shared<std::promise<Status>>();
  ASSERT_TRUE(thread.Submit(Put("answered"), false,
                            [heard](Status status) { heard->set_value(std::move(status)); }));
  store.FailAfter(1);
  store.LetGo();
  auto answer = heard->get_future();
  ASSERT_EQ(answer.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(answer.get().code(), StatusCode::kIo);
  // A call for durability alone is a promise about everything before it.
  EXPECT_TRUE(WriteNow(thread, {}, true).ok());
  EXPECT_EQ(store.keys(), (std::vector<std::string>{"first", "entry"}));
  EXPECT_EQ(store.UnsyncedBatches(), 0u);
  EXPECT_TRUE(thread.Healthy());
}

TEST(IndexThreadTest, WhatIsQueuedAtTheEndIsWrittenAndSynced) {
  WatchedStore store;
  {
    IndexThread thread(store, LongPeriod());
    store.Hold();
    ASSERT_TRUE(thread.Submit(Put("first"), false, {}));
    ASSERT_TRUE(store.AwaitHeld());
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(thread.Submit(Put(std::to_string(i)), false, {}));
    store.LetGo();
  }
  EXPECT_EQ(store.keys().size(), 21u);
  EXPECT_EQ(store.UnsyncedBatches(), 0u);
}

}  // namespace
}  // namespace terrace::nvme
