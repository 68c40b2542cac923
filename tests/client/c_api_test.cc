// The C interface against a FakeDaemon: what it does with good arguments, and with those that only
// C can get wrong.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "client/terrace.h"
#include "client/terrace_events.h"
#include "tests/client/c_api_fixture.h"
#include "tests/client/c_story.h"

namespace terrace {
namespace {

using testing::CApiTest;
using testing::InSomeTime;
using testing::kBytes;

TEST_F(CApiTest, AProgramInC11PutsMatchesAndGetsByWaitingAndBySubmitting) {
  EXPECT_EQ(CStory(daemon_.address().c_str(), 24, &error_), TERRACE_OK) << error_.message;
  EXPECT_EQ(CLayoutVersion(), terrace_abi_version());
}

TEST_F(CApiTest, NamesOfStatusesAreThoseOfCxx) {
  for (int code = 0; code < kStatusCodeCount; ++code) {
    EXPECT_STREQ(terrace_status_name(code),
                 std::string(StatusCodeName(static_cast<StatusCode>(code))).c_str());
  }
  EXPECT_STREQ(terrace_status_name(kStatusCodeCount), "unknown");
  EXPECT_STREQ(terrace_status_name(-1), "unknown");
  EXPECT_EQ(TERRACE_INTERNAL, static_cast<int>(StatusCode::kInternal));
  EXPECT_STREQ(terrace_tier_name(TERRACE_TIER_NVME), "nvme");
  EXPECT_STREQ(terrace_tier_name(9), "unknown");
  EXPECT_STREQ(terrace_not_durable_name(1), "no_tier");
}

TEST_F(CApiTest, AHandleThatWasClosedFreedOrMadeUpIsAnErrorThatNamesIt) {
  terrace_result result = 0;
  ASSERT_EQ(terrace_stat(client_, InSomeTime(), &result, &error_), TERRACE_OK) << error_.message;
  ExpectInvalid(terrace_ping(0, InSomeTime(), &error_), "client is 0");
  ExpectInvalid(terrace_ping(12345, InSomeTime(), &error_), "which no call gave out");
  ExpectInvalid(terrace_ping(chain_, InSomeTime(), &error_), "client is the handle of a chain");
  ExpectInvalid(terrace_chain_clear(client_, &error_), "chain is the handle of a client");
  ASSERT_EQ(terrace_result_free(result, &error_), TERRACE_OK);
  terrace_answer answer;
  answer.struct_size = sizeof answer;
  ExpectInvalid(terrace_result_answer(result, &answer, &error_), "result was freed");
  ExpectInvalid(terrace_result_free(result, &error_), "result was freed");
  const terrace_chain chain = chain_;
  ASSERT_EQ(terrace_chain_free(chain_, &error_), TERRACE_OK);
  ASSERT_EQ(terrace_chain_new(&chain_, &error_), TERRACE_OK);  // the same place, another number
  EXPECT_NE(chain, chain_);
  std::uint32_t matched = 0;
  ExpectInvalid(terrace_match(client_, space_, chain, {}, InSomeTime(), &matched, nullptr, &error_),
                "chain was freed");
  ASSERT_EQ(terrace_close(client_, &error_), TERRACE_OK);
  ExpectInvalid(terrace_ping(client_, InSomeTime(), &error_), "client was closed");
  ExpectInvalid(terrace_close(client_, &error_), "client was closed");
}

TEST_F(CApiTest, NullPointersAreErrorsThatNameTheArgument) {
  const terrace_block block = Block(0);
  terrace_client other = 0;
  const terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
  ExpectInvalid(terrace_connect(nullptr, &other, &error_), "options is null");
  ExpectInvalid(terrace_connect(&options, nullptr, &error_), "client is null");
  terrace_space space = 0;
  ExpectInvalid(terrace_open_namespace(client_, nullptr, InSomeTime(), &space, &error_),
                "descriptor is null");
  terrace_descriptor descriptor = TERRACE_DESCRIPTOR_INIT;
  ExpectInvalid(terrace_open_namespace(client_, &descriptor, InSomeTime(), &space, &error_),
                "descriptor.name is null");
  descriptor.name = "x";
  descriptor.group_count = 1;
  ExpectInvalid(terrace_open_namespace(client_, &descriptor, InSomeTime(), &space, &error_),
                "descriptor.groups is null");
  descriptor.group_count = 0;
  descriptor.prefill_rate_count = 2;
  ExpectInvalid(terrace_open_namespace(client_, &descriptor, InSomeTime(), &space, &error_),
                "descriptor.prefill_rate is null");
  ExpectInvalid(
      terrace_get(client_, space_, chain_, {}, nullptr, 1, InSomeTime(), results_, &error_),
      "blocks is null");
  ExpectInvalid(terrace_get(client_, space_, chain_, {}, &block, 1, InSomeTime(), nullptr, &error_),
                "results is null");
  ExpectInvalid(terrace_match(client_, space_, chain_, {}, InSomeTime(), nullptr, nullptr, &error_),
                "matched is null");
  ExpectInvalid(
      terrace_submit_get(client_, space_, chain_, {}, &block, 1, InSomeTime(), nullptr, &error_),
      "ticket is null");
  ExpectInvalid(terrace_register_memory(client_, nullptr, 1, &region_, &error_), "base is null");
  ExpectInvalid(terrace_chain_append(chain_, nullptr, 1, 1, &error_), "keys is null");
  ExpectInvalid(terrace_chain_append_each(chain_, "a", nullptr, 1, &error_), "key_bytes is null");
  ExpectInvalid(terrace_poll(client_, nullptr, 1, nullptr, &error_), "count is null");
  // Without an error to fill the status alone says it.
  EXPECT_EQ(terrace_get(client_, space_, chain_, {}, nullptr, 1, InSomeTime(), results_, nullptr),
            TERRACE_INVALID);
}

TEST_F(CApiTest, AStructOfAWrongSizeIsRefusedAndNothingBeyondItIsRead) {
  terrace_client other = 0;
  terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
  for (const std::uint32_t size : {0U, 8U, 47U, 5000U, 0xffffffffU}) {
    options.struct_size = size;
    ExpectInvalid(terrace_connect(&options, &other, &error_),
                  "options.struct_size is " + std::to_string(size));
  }
  terrace_answer answer;
  terrace_result result = 0;
  ASSERT_EQ(terrace_stat(client_, InSomeTime(), &result, &error_), TERRACE_OK);
  answer.struct_size = 16;
  ExpectInvalid(terrace_result_answer(result, &answer, &error_), "answer.struct_size is 16");
  ASSERT_EQ(terrace_result_free(result, &error_), TERRACE_OK);
}

TEST_F(CApiTest, ANewerCallersStructIsTakenWhileItAsksForNothingNew) {
  const std::string address = daemon_.address();
  struct Newer {
    terrace_client_options known;
    std::uint64_t added;
  };
  Newer newer = {TERRACE_CLIENT_OPTIONS_INIT, 0};
  newer.known.struct_size = sizeof newer;
  newer.known.address = address.c_str();
  newer.known.connect_timeout_ms = 20000;
  terrace_client other = 0;
  ASSERT_EQ(terrace_connect(&newer.known, &other, &error_), TERRACE_OK) << error_.message;
  EXPECT_EQ(terrace_close(other, &error_), TERRACE_OK);
  newer.added = 1;
  EXPECT_EQ(terrace_connect(&newer.known, &other, &error_), TERRACE_UNSUPPORTED);
  newer.added = 0;
  newer.known.abi_version = TERRACE_ABI_VERSION + 0x10000;
  EXPECT_EQ(terrace_connect(&newer.known, &other, &error_), TERRACE_INCOMPATIBLE);
  EXPECT_NE(std::string(error_.message).find("abi_version is 2.6"), std::string::npos)
      << error_.message;
}

TEST_F(CApiTest, ACallerOfTheFirstVersionConnectsAndANewOneMaySpin) {
  const std::string address = daemon_.address();
  terrace_client_options options = TERRACE_CLIENT_OPTIONS_INIT;
  options.address = address.c_str();
  options.connect_timeout_ms = 20000;
  options.abi_version = 0x00010000;
  terrace_client other = 0;
  ASSERT_EQ(terrace_connect(&options, &other, &error_), TERRACE_OK) << error_.message;
  EXPECT_EQ(terrace_close(other, &error_), TERRACE_OK);
  options.abi_version = TERRACE_ABI_VERSION;
  options.spin_us = 20;
  ASSERT_EQ(terrace_connect(&options, &other, &error_), TERRACE_OK) << error_.message;
  EXPECT_EQ(terrace_close(other, &error_), TERRACE_OK);
  options.spin_us = 1'000'001;
  ExpectInvalid(terrace_connect(&options, &other, &error_), "spin");
}

TEST_F(CApiTest, AQueryForEventsIsLookedAtAsEveryOtherStruct) {
  terrace_event_query query = TERRACE_EVENT_QUERY_INIT;
  terrace_result result = 0;
  const auto read = [&] {
    return terrace_read_events(client_, nullptr, 0, &query, InSomeTime(), &result, &error_);
  };
  query.struct_size = 16;
  ExpectInvalid(read(), "query.struct_size is 16");
  query.struct_size = 0x7fffffff;  // not prepared: whatever was there
  ExpectInvalid(read(), "query.struct_size is 2147483647");
  struct {
    terrace_event_query known;
    std::uint64_t added;
  } newer{};
  newer.known = TERRACE_EVENT_QUERY_INIT;
  newer.known.struct_size = sizeof newer;
  newer.added = 1;
  EXPECT_EQ(terrace_read_events(client_, nullptr, 0, &newer.known, InSomeTime(), &result, &error_),
            TERRACE_UNSUPPORTED);
}

TEST_F(CApiTest, WrongArgumentsOfAQuestionForStoriesAreNamed) {
  terrace_block_story stories[2]{};
  const std::uint32_t lengths[2] = {1, 65};
  const auto ask = [&](const char* space, const std::uint32_t* key_bytes, std::uint32_t count) {
    return terrace_explain(client_, space, {}, "kkkk", key_bytes, count, InSomeTime(), stories,
                           &error_);
  };
  ExpectInvalid(ask(nullptr, lengths, 1), "space is null");
  ExpectInvalid(ask("c", nullptr, 1), "key_bytes is null");
  ExpectInvalid(ask("c", lengths, 0), "keys has 0 entries");
  ExpectInvalid(ask("c", lengths, 2), "keys[1] has 65 bytes");
  ExpectInvalid(ask("", lengths, 1), "space has 0 bytes");
  EXPECT_STREQ(terrace_miss_reason_name(2), "evicted");
  EXPECT_STREQ(terrace_miss_reason_name(200), "unknown");
}

TEST_F(CApiTest, HintsThatAreWrongAreRefusedByNameAndTheRestAreKept) {
  terrace_hints hints = TERRACE_HINTS_INIT;
  hints.session = "s1";
  hints.category = "chat";
  hints.turn = 3;
  hints.continuation = TERRACE_WILL_CONTINUE;
  EXPECT_EQ(terrace_chain_hint(chain_, &hints, &error_), TERRACE_OK) << error_.message;
  EXPECT_EQ(terrace_chain_hint(chain_, nullptr, &error_), TERRACE_OK) << error_.message;
  hints.continuation = 3;
  ExpectInvalid(terrace_chain_hint(chain_, &hints, &error_), "hints.continuation is 3");
  hints.continuation = TERRACE_DONE;
  hints.turn = 65536;
  ExpectInvalid(terrace_chain_hint(chain_, &hints, &error_), "hints.turn is 65536");
  hints.turn = 1;
  hints.reserved = 1;
  ExpectInvalid(terrace_chain_hint(chain_, &hints, &error_), "hints.reserved is 1");
  hints.reserved = 0;
  const std::string longer(65, 'x');
  hints.category = longer.c_str();
  ExpectInvalid(terrace_chain_hint(chain_, &hints, &error_), "hints.category is 65");
  hints.category = nullptr;
  hints.session = nullptr;
  hints.struct_size = 8;
  ExpectInvalid(terrace_chain_hint(chain_, &hints, &error_), "hints.struct_size is 8");
  ExpectInvalid(terrace_chain_hint(client_, nullptr, &error_), "chain is the handle of a client");
  std::uint32_t keys = 0;
  EXPECT_EQ(terrace_chain_size(chain_, &keys, &error_), TERRACE_OK);
  EXPECT_EQ(keys, 4U);
}

TEST_F(CApiTest, ReservedFieldsAndUnknownConstantsAreRefused) {
  terrace_block block = Block(0);
  block.reserved = 7;
  ExpectInvalid(
      terrace_get(client_, space_, chain_, {}, &block, 1, InSomeTime(), results_, &error_),
      "blocks[0].reserved is 7");
  block.reserved = 0;
  ExpectInvalid(
      terrace_put(client_, space_, chain_, {}, &block, 1, 300, InSomeTime(), results_, &error_),
      "ack is 300");
  ExpectInvalid(terrace_get(client_, space_, chain_, {}, &block, std::uint64_t{1} << 60,
                            InSomeTime(), results_, &error_),
                "blocks has 1152921504606846976 entries");
  // What C++ checks keeps its text.
  block.position = 9;
  ExpectInvalid(
      terrace_get(client_, space_, chain_, {}, &block, 1, InSomeTime(), results_, &error_),
      "blocks[0].position is 9");
}

TEST_F(CApiTest, PiecesMustBeNamedByTheBlocksExactly) {
  terrace_block_pieces blocks[2]{};
  blocks[0].piece_count = 1;
  blocks[1].position = 1;
  blocks[1].piece_count = 2;
  const terrace_piece pieces[4] = {{0, kBytes, region_, 0},
                                   {kBytes, kBytes / 2, region_, 0},
                                   {2 * kBytes, kBytes / 2, region_, 0},
                                   {3 * kBytes, kBytes / 2, region_, 0}};
  ExpectInvalid(terrace_get_pieces(client_, space_, chain_, {}, blocks, 2, pieces, 2, InSomeTime(),
                                   results_, &error_),
                "blocks[1].piece_count is 2, pieces has 1 left");
  ExpectInvalid(terrace_get_pieces(client_, space_, chain_, {}, blocks, 2, pieces, 4, InSomeTime(),
                                   results_, &error_),
                "pieces has 1 more");
}

TEST_F(CApiTest, KeysAreAppendedAllOrNone) {
  const std::uint32_t lengths[3] = {1, 65, 1};
  const std::string keys(67, 'k');
  ExpectInvalid(terrace_chain_append_each(chain_, keys.data(), lengths, 3, &error_),
                "key 5 has 65 bytes");
  std::uint32_t size = 0;
  ASSERT_EQ(terrace_chain_size(chain_, &size, &error_), TERRACE_OK);
  EXPECT_EQ(size, 4U);
}

TEST_F(CApiTest, ClosingWhileOthersAreInsideLetsThemGoAndHurtsNobody) {
  daemon_.behaviour().drop = true;  // calls wait until their deadline
  std::atomic<int> ended{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      std::uint32_t matched = 0;
      terrace_error error{};
      // Until the handle is void; no call may crash or wait for its deadline.
      while (terrace_match(client_, space_, chain_, {}, terrace_in_ms(200000), &matched, nullptr,
                           &error) != TERRACE_INVALID) {
      }
      EXPECT_STREQ(error.message, "client was closed");
      ++ended;
    });
  }
  while (daemon_.behaviour().matches_dropped < 4) std::this_thread::yield();
  EXPECT_EQ(terrace_close(client_, &error_), TERRACE_OK);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ended, 4);
}

TEST_F(CApiTest, CancelFenceAndDrainLetGoOfTheMemory) {
  daemon_.behaviour().drop = true;
  const terrace_block block = Block(1);
  terrace_ticket tickets[2] = {};
  for (terrace_ticket& ticket : tickets) {
    ASSERT_EQ(terrace_submit_get(client_, space_, chain_, {}, &block, 1, terrace_in_ms(60000),
                                 &ticket, &error_),
              TERRACE_OK)
        << error_.message;
  }
  EXPECT_EQ(terrace_drain(client_, terrace_in_ms(0), &error_), TERRACE_TIMEOUT);
  EXPECT_EQ(terrace_cancel(client_, tickets[0], InSomeTime(), &error_), TERRACE_OK)
      << error_.message;
  const terrace_piece byte = {kBytes, 1, region_, 0};
  EXPECT_EQ(terrace_fence(client_, &byte, 1, InSomeTime(), &error_), TERRACE_OK) << error_.message;
  EXPECT_EQ(terrace_drain(client_, InSomeTime(), &error_), TERRACE_OK) << error_.message;
  terrace_result taken[3] = {};
  std::uint64_t count = 0;
  ASSERT_EQ(terrace_poll(client_, taken, 3, &count, &error_), TERRACE_OK);
  ASSERT_EQ(count, 2U);
  for (std::uint64_t i = 0; i < count; ++i) {
    terrace_answer answer;
    answer.struct_size = sizeof answer;
    ASSERT_EQ(terrace_result_answer(taken[i], &answer, &error_), TERRACE_OK);
    ASSERT_EQ(answer.block_count, 1U);
    EXPECT_EQ(answer.blocks[0].status, TERRACE_CANCELLED);
    EXPECT_EQ(terrace_result_free(taken[i], &error_), TERRACE_OK);
  }
  EXPECT_EQ(terrace_deregister_memory(client_, region_, &error_), TERRACE_OK) << error_.message;

  ExpectInvalid(terrace_cancel(client_, 12345, InSomeTime(), &error_), "ticket 12345");
  ExpectInvalid(terrace_fence(client_, &byte, 1, InSomeTime(), &error_), "memory[0].region");
  ExpectInvalid(terrace_fence(client_, nullptr, 1, InSomeTime(), &error_), "memory is null");
  ASSERT_EQ(terrace_close(client_, &error_), TERRACE_OK);
  ExpectInvalid(terrace_cancel(client_, tickets[0], InSomeTime(), &error_), "client was closed");
  ExpectInvalid(terrace_drain(client_, InSomeTime(), &error_), "client was closed");
}

TEST_F(CApiTest, WrongArgumentsOfHintsAreNamed) {
  terrace_prefetch_options prefetch = TERRACE_PREFETCH_OPTIONS_INIT;
  const auto prefetched = [&] {
    return terrace_prefetch(client_, space_, chain_, {}, 0, 4, &prefetch, InSomeTime(), results_,
                            &error_);
  };
  prefetch.target = TERRACE_TIER_NVME;
  ExpectInvalid(prefetched(), "options.target is nvme");
  prefetch.target = 77;
  ExpectInvalid(prefetched(), "options.target is 77");
  prefetch.struct_size = 3;
  ExpectInvalid(prefetched(), "options.struct_size is 3");
  terrace_retain_options retain = TERRACE_RETAIN_OPTIONS_INIT;
  const auto retained = [&] {
    return terrace_retain(client_, space_, chain_, {}, 0, 4, &retain, InSomeTime(), results_,
                          &error_);
  };
  ExpectInvalid(retained(), "options.label is null");
  retain.label = "session";
  retain.time_ms = ~std::uint64_t{0};
  ExpectInvalid(retained(), "options.time");
  ExpectInvalid(
      terrace_retain(client_, space_, chain_, {}, 0, 4, nullptr, InSomeTime(), results_, &error_),
      "options is null");
  ExpectInvalid(terrace_touch(client_, space_, chain_, {}, 3, 2, InSomeTime(), results_, &error_),
                "first 3");
  std::uint64_t count = 0;
  ExpectInvalid(terrace_release_retained(client_, nullptr, InSomeTime(), &count, &error_),
                "label is null");
  ExpectInvalid(terrace_release_retained(client_, "session", InSomeTime(), nullptr, &error_),
                "blocks is null");
  ExpectInvalid(terrace_remove_prefix(client_, space_, chain_, 4, InSomeTime(), &count, &error_),
                "first is 4");
  ExpectInvalid(
      terrace_remove_prefix(client_, space_ + 1, chain_, 0, InSomeTime(), &count, &error_),
      "namespace");
  ExpectInvalid(terrace_clear_tenant(client_, InSomeTime(), nullptr, &error_), "blocks is null");
  terrace_ticket ticket = 0;
  ExpectInvalid(terrace_submit_register_memory(client_, nullptr, 1, &ticket, &error_), "base");
  ExpectInvalid(terrace_submit_allocate_region(client_, 0, &ticket, &error_), "length");
}

TEST_F(CApiTest, AfterShutdownRegionsStayAndCompletionsCanBeTaken) {
  terrace_region allocated = 0;
  ASSERT_EQ(terrace_allocate_region(client_, kBytes, &allocated, &error_), TERRACE_OK);
  void* memory = nullptr;
  ASSERT_EQ(terrace_region_memory(client_, allocated, &memory, nullptr, &error_), TERRACE_OK);
  daemon_.behaviour().drop = true;
  terrace_ticket ticket = 0;
  ASSERT_EQ(terrace_submit_match(client_, space_, chain_, {}, InSomeTime(), &ticket, &error_),
            TERRACE_OK);
  ASSERT_EQ(terrace_shutdown(client_, &error_), TERRACE_OK);
  ASSERT_EQ(terrace_shutdown(client_, &error_), TERRACE_OK);
  std::memset(memory, 1, kBytes);
  terrace_result result = 0;
  std::uint64_t count = 0;
  ASSERT_EQ(terrace_poll(client_, &result, 1, &count, &error_), TERRACE_OK);
  ASSERT_EQ(count, 1U);
  terrace_answer answer;
  answer.struct_size = sizeof answer;
  ASSERT_EQ(terrace_result_answer(result, &answer, &error_), TERRACE_OK);
  EXPECT_EQ(answer.ticket, ticket);
  EXPECT_EQ(answer.status, TERRACE_CANCELLED) << answer.message;
  EXPECT_EQ(terrace_result_free(result, &error_), TERRACE_OK);
  const terrace_status after = terrace_ping(client_, InSomeTime(), &error_);
  EXPECT_TRUE(after == TERRACE_CANCELLED || after == TERRACE_PEER_DEAD) << error_.message;
}

TEST_F(CApiTest, ForkedChildIsToldAndHurtsNobody) {
  std::uint32_t matched = 0;
  const pid_t child = ::fork();
  if (child == 0) {
    bool right = terrace_match(client_, space_, chain_, {}, InSomeTime(), &matched, nullptr,
                               &error_) == TERRACE_INVALID;
    right &= std::strstr(error_.message, "after fork()") != nullptr;
    right &= terrace_close(client_, &error_) == TERRACE_OK;
    right &= terrace_ping(client_, InSomeTime(), &error_) == TERRACE_INVALID;
    ::_exit(right ? 0 : 1);
  }
  ASSERT_GT(child, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_EQ(terrace_ping(client_, InSomeTime(), &error_), TERRACE_OK) << error_.message;
}

TEST_F(CApiTest, AChainMayBeChangedWhileCallsUseItAndTheyKeepWhatItWas) {
  daemon_.behaviour().delay = 20 * kMillisecond;
  std::thread other([&] {
    std::uint32_t matched = 0;
    terrace_error error{};
    EXPECT_EQ(terrace_match(client_, space_, chain_, {}, InSomeTime(), &matched, nullptr, &error),
              TERRACE_OK)
        << error.message;
  });
  while (daemon_.behaviour().matches == 0) std::this_thread::yield();
  EXPECT_EQ(terrace_chain_clear(chain_, &error_), TERRACE_OK) << error_.message;
  EXPECT_EQ(terrace_chain_append(chain_, "other", 1, 5, &error_), TERRACE_OK) << error_.message;
  other.join();
}

}  // namespace
}  // namespace terrace
