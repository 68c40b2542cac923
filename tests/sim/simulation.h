// The simulation itself: for cache_simulation.cc, simulated_restart.cc and simulated_liveness.cc.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <vector>

#include "base/random.h"
#include "base/wait.h"
#include "tests/cache/cache_harness.h"
#include "tests/sim/cache_simulation.h"
#include "tests/sim/simulated_disk.h"
#include "tests/sim/simulated_gpus.h"
#include "tests/sim/simulation_oracle.h"
#include "tests/sim/simulation_plan.h"

namespace terrace::testing {

class Simulation {
 public:
  Simulation(std::uint64_t seed, SimulationProfile profile)
      : streams_(seed), plan_(DrawPlan(streams_, profile)) {}
  SimulationReport Run();

 private:
  struct SimulatedClient {
    explicit SimulatedClient(std::size_t slots) : memory(slots, SimulationPlan::kBlockBytesMost) {}
    ClientMemory memory;
    SimLink* link = nullptr;
    Nanos stopped_until = 0;
  };
  /// One lane's next call: a namespace, group, shard and a part of a chain.
  struct Target {
    const Namespace* space = nullptr;
    const ChainKeys* chain = nullptr;
    std::uint32_t group = 0;
    std::uint32_t shard = 0;
    std::size_t first = 0;
    std::size_t count = 0;
    [[nodiscard]] ChainSlice Slice(std::size_t from, std::size_t most) const {
      return SliceOf(*space, *chain, from, std::min(most, first + count - from), group, shard);
    }
  };

  bool SetUp();
  void Connect(SimulatedClient& client);
  Target DrawTarget();
  Nanos DrawDeadline();
  Task<void> Lane(SimulatedClient* client, std::size_t lane);
  enum class Forgets : std::uint8_t { kBlocks, kNamespace, kPrefix };
  Task<void> Forget(Target target, Forgets what);
  /// RemovePrefix, and what it has done to every group and shard.
  Task<void> ForgetPrefix(Target target, std::uint64_t crashes);
  /// Prefetch, touch, retain or release, or the removal of a prefix.
  Task<void> Hint(Target target);
  Task<void> Operate(SimulatedClient* client, std::size_t first_slot);
  Task<void> Prefill(SimulatedClient* client, Target target, std::size_t first_slot);
  void Stop(SimulatedClient& client);
  // Each of them is one try; false: the request or its reply was lost on the way.
  Task<bool> Put(SimulatedClient* client, Target target, std::size_t from, std::size_t first_slot);
  /// Losses of the cache when match found these blocks; kNotPromised: it did not.
  static constexpr std::uint64_t kNotPromised = ~std::uint64_t{0};
  Task<bool> Get(SimulatedClient* client, Target target, std::size_t most, std::size_t first_slot,
                 std::uint64_t losses_then);
  std::size_t Match(const Target& target);
  /// simulated_hints.cc. What is said of a request about it: the truth, or anything.
  RequestFacts DrawFacts(const Target& target);
  void RunLanes();

  // simulated_leases.cc
  /// Leases what matches find until the lanes have ended.
  Task<void> Leaser();
  Task<void> LeaseOnce(LeaseHolder holder);
  /// What was leased in DRAM is there. REQUIRES: the lease has not ended.
  void JudgeLease(const GroupsQuery& query, const GroupsAnswer& leased);

  // simulated_liveness.cc
  void Drain();
  void CheckEverythingIsBack();
  void CheckLiveness();
  /// Puts and gets again some blocks of each namespace; they end well, and in time.
  void CheckThroughput();
  /// Blocks of one call that a healthy cache takes whole, whatever it holds.
  [[nodiscard]] std::size_t BlocksOfACall() const;
  void AwaitWritten();
  void CheckDurableAgain();
  void CheckQuiet();

  // simulated_restart.cc
  /// A cache over what the disk holds. False: the report says why not.
  bool StartCache();
  /// Kills, or takes the power, a few times while the lanes run.
  Task<void> Crasher();
  /// Lets things happen to the GPUs until the lanes have ended.
  Task<void> Troubler();
  Task<void> Crash(bool power_lost);
  /// Until nothing of the old run is under way, in the cache or in a link.
  Task<void> AwaitQuiet();
  /// A block that was answered DURABLE, and what a judge must know.
  struct Promise {
    Target target;
    std::size_t position = 0;
    std::uint64_t segments = 0;  ///< begun, of the log, when its put began
  };
  void NotePromises(const Target& target, std::size_t from, const BatchAnswer& answer,
                    std::uint64_t segments);
  /// Takes out those that the cache may have broken.
  void DropExcused();
  Task<void> JudgePromises();
  [[nodiscard]] std::uint64_t SegmentsBegun() const;
  /// Of a run that ends: its counters, and what they tell (O8).
  void AddCounters();
  void AddLinks();

  void Note(const BatchAnswer& answer);
  void Note(std::uint64_t number);

  SimulatedTime time_;
  SimulationStreams streams_;
  SeededRandom& random_ = streams_.general;
  SeededRandom& nvme_random_ = streams_.nvme;
  SimulationPlan plan_;
  NamespaceRegistry registry_{1 << 20};
  std::vector<const Namespace*> spaces_;
  std::unique_ptr<SimulatedDisk> disk_;  // null without a tier
  std::unique_ptr<SimulatedGpus> gpus_;  // likewise
  std::unique_ptr<Cache> cache_;
  bool down_ = false;      // between a crash and the restart
  bool torn_ = false;      // it crashed: blocks may have records that were cut off
  std::size_t calls_ = 0;  // of lanes, under way
  std::size_t lanes_left_ = 0;
  std::vector<Promise> promises_;
  std::map<const Namespace*, std::uint64_t> forgets_;  // removals and clears, begun and ended
  std::unique_ptr<SimulationOracle> oracle_;
  std::list<SimulatedClient> clients_;
  std::list<SimLink> links_;  // all that ever were: holds in quarantine outlive a connection
  SimulationReport report_;
};

}  // namespace terrace::testing
