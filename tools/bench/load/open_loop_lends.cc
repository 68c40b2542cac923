#include "tools/bench/load/open_loop_lends.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <span>
#include <thread>

#include "base/random.h"
#include "tools/bench/load/block_pipeline.h"
#include "tools/bench/load/block_workload.h"

namespace terrace::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kCallMax = std::chrono::seconds(10);

/// One client's calls; `start` is the same for all.
std::vector<double> RunOne(Client& client, const OpenLoop& load, std::uint64_t seed,
                           Clock::time_point start) {
  const auto space = client.OpenNamespace(BenchNamespace(load.block_bytes), In(kCallMax));
  Require(space.status(), "open namespace");
  const Chain chain = BenchChain(static_cast<std::uint32_t>(load.set_bytes / load.block_bytes));
  SeededRandom random(seed);
  std::vector<double> times;
  double due_s = 0;
  while (true) {
    // 1 - u lies in (0, 1], so that the logarithm exists.
    const double u = static_cast<double>(random.Next() >> 11) * 0x1.0p-53;
    due_s += -std::log(1 - u) / load.calls_per_second;
    if (due_s > load.seconds) return times;
    const auto due =
        start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(due_s));
    const auto position = static_cast<std::uint32_t>(random.Next() % chain.size());
    // How late a sleeping thread wakes is the system's; that a call is late because of the one
    // before is part of its time.
    const bool held_up = Clock::now() >= due;
    if (!held_up) std::this_thread::sleep_until(due);
    const auto called = held_up ? due : Clock::now();
    auto lent = client.Lend(*space, chain, std::span(&position, 1), {}, In(kCallMax));
    Require(lent.status(), "lend");
    LentBlock& block = lent->front();
    Require(Status(block.status), "lend");
    [[maybe_unused]] const volatile std::byte first = block.bytes().front();
    Require(Status(block.Release()), "release");
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - called).count());
  }
}

}  // namespace

std::vector<double> LendByTheClock(const std::string& address, const OpenLoop& load,
                                   std::uint64_t seed) {
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < load.clients; ++i) clients.push_back(ConnectOnThisHost(address));
  std::vector<std::vector<double>> of_each(load.clients);
  std::vector<std::thread> threads;
  const auto start = Clock::now() + std::chrono::milliseconds(50);  // all are there by then
  for (std::size_t i = 0; i < load.clients; ++i) {
    threads.emplace_back(
        [&, i] { of_each[i] = RunOne(*clients[i], load, seed * load.clients + i, start); });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<double> times;
  for (const auto& some : of_each) times.insert(times.end(), some.begin(), some.end());
  return times;
}

}  // namespace terrace::bench
