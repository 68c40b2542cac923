#include "tests/peers/victim.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string_view>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/crash_point.h"
#include "tests/peers/peer_load.h"

namespace terrace::peers {

namespace {

using namespace std::chrono_literals;

/// Nobody writes to it: it ends when the campaign wants the victim to end.
bool ToldToEnd() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return ::poll(&input, 1, 0) != 0;
}

void Say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void StrikeSelf(int signal) {
  ::kill(::getpid(), signal);
  if (signal == SIGKILL) ::pause();  // it takes a moment
}

/// A moment within which bytes move: blocks of 4 MiB take about 1 ms by copy, 4 over TCP.
void Moment(Random& random) {
  std::this_thread::sleep_for(std::chrono::microseconds(random.Below(5000)));
}

/// Comes to one of kVictimPoints. False: it is none.
bool ComeTo(std::string_view point, PeerLoad& load, Random& random, int signal) {
  const auto chain = static_cast<std::uint32_t>(random.Below(kChains));
  load.Put(chain, 0, kChainBlocks, Ack::kCommitted);
  if (point == "victim.lent_held") {
    std::vector<LentBlock> lent = load.Lend(chain, kChainBlocks);
    const auto held = std::count_if(lent.begin(), lent.end(), [](const LentBlock& block) {
      return block.status == StatusCode::kOk;
    });
    Say("lent " + std::to_string(held));
    StrikeSelf(signal);
    Say("told-expired " + std::to_string(load.Release(chain, std::move(lent))));
    return true;
  }
  if (point == "victim.lent_released") {
    load.Release(chain, load.Lend(chain, kChainBlocks));
    StrikeSelf(signal);
    return true;
  }
  if (point == "victim.get_moves") {
    load.BeginGet(chain, 5s);
  } else if (point == "victim.put_moves") {
    load.Clear();
    load.BeginPut(chain, Ack::kCommitted);
  } else if (point == "victim.durable_waits") {
    load.Clear();
    load.BeginPut(chain, Ack::kDurable);
  } else if (point == "victim.match_waits") {
    for (int i = 0; i < 64; ++i) load.BeginMatch(chain);
  } else if (point == "victim.remove_waits") {
    load.BeginRemove(chain);
  } else if (point == "victim.clear_waits") {
    std::thread clears([&load] { load.Clear(); });
    Moment(random);
    StrikeSelf(signal);
    clears.join();
    return true;
  } else {
    return false;
  }
  Moment(random);
  StrikeSelf(signal);
  load.Drain();
  return true;
}

/// Says when the daemon went away and came back, on the machine's clock, until told to end.
class Watch {
 public:
  explicit Watch(Client& client) : thread_([this, &client] { Run(client); }) {}
  ~Watch() {
    stop_ = true;
    thread_.join();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  void Run(Client& client) {
    bool there = true;
    while (!stop_) {
      if (client.Connected() != there) {
        there = !there;
        Say((there ? "back " : "away ") + std::to_string(SteadyClock().Now()));
      }
      std::this_thread::sleep_for(2ms);
    }
  }
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// Calls with pauses, or none while all is well; every call must end in time.
void WorkCalmly(PeerLoad& load, bool idle) {
  const Watch watch(load.client());
  std::uint64_t reconnects = load.client().Reconnects();
  while (!ToldToEnd()) {
    std::this_thread::sleep_for(10ms);
    if (idle && load.client().Reconnects() == reconnects) continue;
    const std::uint64_t good = load.counts().good;
    const Nanos began = SteadyClock().Now();
    load.Get(0, 0, kChainBlocks);
    load.Put(1, 0, 4, Ack::kCommitted);
    const Nanos took = SteadyClock().Now() - began;
    if (load.counts().good < good + 2) {
      Say("lost " + std::to_string(SteadyClock().Now()) + " took " + std::to_string(took) + " " +
          load.counts().last_loss);
    } else if (load.client().Reconnects() != reconnects) {
      reconnects = load.client().Reconnects();
      Say("good " + std::to_string(SteadyClock().Now()));
    }
  }
}

void WorkAtRandom(PeerLoad& load, const VictimOptions& options) {
  SeededRandom random(options.seed);
  bool told_wrong = false;
  while (!ToldToEnd()) {
    if (options.point.starts_with("client.cancel")) {
      load.Put(0, 0, kChainBlocks, Ack::kCommitted);
      load.BeginGet(0, 200us);  // most are given up
      load.Drain();
    }
    if (options.point.starts_with("client.extent_recalled")) {
      // It maps what it puts, and wants most of the arena, as another tenant does (campaign.cc).
      const auto chain = static_cast<std::uint32_t>(random.Below(kManyChains));
      load.Put(chain, 0, kChainBlocks, Ack::kCommitted);
      load.Release(chain, load.Lend(chain, kChainBlocks));
    }
    load.Any(random, true);
    const PeerLoad::Counts& counts = load.counts();
    if (counts.wrong > 0 && !std::exchange(told_wrong, true)) Say("wrong " + counts.first_wrong);
  }
}

}  // namespace

int RunVictim(const VictimOptions& options) {
  const bool of_library = options.point.starts_with("client.");
  if (of_library) {
    if (Status armed = ArmCrashPoint(options.point, options.signal); !armed.ok()) {
      std::fprintf(stderr, "victim: %s\n", armed.ToString().c_str());
      return 2;
    }
  }
  auto load = PeerLoad::Connect({.address = options.address,
                                 .name = "victim",
                                 .tcp = options.tcp,
                                 .store = options.store,
                                 .number = options.number,
                                 .pieces = true,
                                 .patience = options.calm ? 2000ms : 5000ms});
  if (!load.ok()) {
    std::fprintf(stderr, "victim: %s\n", load.status().ToString().c_str());
    return 3;
  }
  SeededRandom random(options.seed);
  (*load)->Put(0, 0, kChainBlocks, Ack::kCommitted);
  Say("ready");
  if (!of_library && !options.point.empty()) {
    if (!ComeTo(options.point, **load, random, options.signal)) return 2;
  }
  if (options.calm) {
    WorkCalmly(**load, options.idle);
  } else if (!options.point.starts_with("client.clos")) {
    WorkAtRandom(**load, options);
  }
  const PeerLoad::Counts counts = (*load)->counts();
  load->reset();
  Say("done good=" + std::to_string(counts.good) + " retry=" + std::to_string(counts.retry) +
      " lost=" + std::to_string(counts.lost) + " expired=" + std::to_string(counts.expired) +
      " wrong=" + std::to_string(counts.wrong));
  return counts.wrong == 0 ? 0 : 1;
}

}  // namespace terrace::peers
