// Hand-off: whatever its producers, receivers and strangers do at the same time, who is told "ok"
// has the right bytes, and at the end nothing is held. The seed is printed.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "tests/tools/handoff_fixture.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::Engine;
using testing::kBlockBytes;
using testing::kBlocks;
using testing::kHandoffWays;
using testing::kLayerBytes;
using testing::kLayers;
using testing::Memory;
using testing::Parts;
using testing::ShardsHost;
using testing::Soon;
using testing::Way;

class HandoffStormTest : public ::testing::TestWithParam<Way> {
 protected:
  /// One hand-off, of which both sides may know.
  struct Round {
    Chain chain;
    HandoffToken token;
  };

  std::unique_ptr<Engine> Connect() {
    return std::make_unique<Engine>(host_.address(), GetParam().link, GetParam().memory);
  }
  static Parts LayerOf(const Engine& engine, std::uint32_t layer, bool source) {
    Parts parts;
    for (std::uint32_t i = 0; i < kBlocks; ++i) {
      const std::uint64_t at = i * kBlockBytes + layer * kLayerBytes;
      parts.Add(i, source ? engine.At(at, kLayerBytes) : engine.InDestination(at, kLayerBytes),
                {.offset = layer * kLayerBytes, .bytes = kLayerBytes});
    }
    return parts;
  }

  /// Sends in any order, and sometimes gives up, hangs up or clears everything.
  void Produce(const Round& round, SeededRandom& random, std::unique_ptr<Engine>& engine) {
    HandoffOptions options{.patience = 400ms, .keep = 100ms};
    (void)engine->client_->OpenHandoff(round.token, engine->space_, round.chain, 0, kBlocks, {},
                                       options, Soon());
    std::array<std::uint32_t, kLayers> order{0, 1, 2, 3};
    for (std::size_t i = kLayers; i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
    for (const std::uint32_t layer : order) {
      const Parts parts = LayerOf(*engine, layer, true);
      const auto ticket = engine->client_->SubmitSend(round.token, engine->space_, round.chain,
                                                      parts.blocks, {}, In(5s));
      if (!ticket.ok()) continue;
      if (random.Chance(0.1)) (void)engine->client_->Cancel(*ticket, Soon());
      if (random.Chance(0.05)) (void)engine->client_->AbortHandoff(round.token, Soon());
      if (random.Chance(0.03)) (void)engine->client_->ClearNamespace("pieces", Soon());
      if (random.Chance(0.03)) {
        engine = Connect();  // the old one dies with its calls
        return;
      }
    }
    EXPECT_TRUE(engine->client_->Drain(Soon()).ok());
    (void)engine->client_->Poll(64);
  }

  /// Receives layers, gives some up, and compares what is said to be there.
  void Consume(const Round& round, SeededRandom& random, Engine& engine) {
    std::array<Ticket, kLayers> tickets{};
    engine.FillDestination(std::byte{0xcc});
    for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
      const Parts parts = LayerOf(engine, layer, false);
      const auto ticket = engine.client_->SubmitReceive(
          round.token, engine.space_, round.chain, parts.blocks, {},
          random.Chance(0.2) ? In(std::chrono::milliseconds(random.Below(50))) : In(1s));
      if (ticket.ok()) tickets[layer] = *ticket;
      if (ticket.ok() && random.Chance(0.1)) (void)engine.client_->Cancel(*ticket, Soon());
    }
    ASSERT_TRUE(engine.client_->Drain(Soon()).ok());
    for (const Completion& done : engine.client_->Poll(64)) {
      const auto found = std::ranges::find(tickets, done.ticket);
      ASSERT_NE(found, tickets.end());
      const auto layer = static_cast<std::uint32_t>(found - tickets.begin());
      for (std::uint32_t i = 0; i < done.blocks.size(); ++i) {
        if (done.blocks[i].status != StatusCode::kOk) continue;
        ++received_;
        const std::uint64_t begin = layer * kLayerBytes;
        const auto bytes = engine.Destination().subspan(i * kBlockBytes + begin, kLayerBytes);
        ASSERT_TRUE(Engine::Holds(bytes, i, begin)) << "block " << i << " layer " << layer;
      }
    }
    if (random.Chance(0.7)) (void)engine.client_->AckHandoff(round.token, Soon());
  }

  ShardsHost host_{2, 64 << 20};
  std::atomic<std::uint64_t> received_{0};
};
INSTANTIATE_TEST_SUITE_P(All, HandoffStormTest, ::testing::ValuesIn(kHandoffWays),
                         testing::NameOfWay);

TEST_P(HandoffStormTest, WhoIsToldOkHasTheBytesAndNothingIsHeldAtTheEnd) {
  const std::uint64_t seed = SystemRandom().Next();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  constexpr int kRounds = 16;
  SeededRandom random(seed);
  auto producer = Connect();
  auto receiver = Connect();
  auto second = Connect();
  for (int i = 0; i < kRounds; ++i) {
    Round round;
    for (std::uint32_t k = 0; k < kBlocks; ++k) {
      ASSERT_TRUE(round.chain.Append(std::to_string(i) + "/" + std::to_string(k)).ok());
    }
    round.token = producer->client_->NewHandoff().value();
    SeededRandom for_receiver(random.Next());
    SeededRandom for_second(random.Next());
    std::thread receives([&] { Consume(round, for_receiver, *receiver); });
    std::thread too([&] { Consume(round, for_second, *second); });
    Produce(round, random, producer);
    receives.join();
    too.join();
  }
  EXPECT_GT(received_.load(), 0u);
  producer.reset();
  EXPECT_TRUE(host_.Await([&] { return host_.Sum(&CacheCounters::handoff_bytes) == 0; }));
  EXPECT_TRUE(host_.Await([&] { return host_.Sum(&CacheCounters::handoffs) == 0; }));
}

}  // namespace
}  // namespace terrace
