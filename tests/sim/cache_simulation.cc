#include "tests/sim/cache_simulation.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "tests/sim/simulation.h"

namespace terrace::testing {

namespace {

/// More events than the busiest seed needs; a run that passes them goes in circles.
constexpr std::uint64_t kStepsMost = 2'000'000;
constexpr std::uint64_t kStepsBetweenChecks = 256;

}  // namespace

bool Simulation::SetUp() {
  if (plan_.nvme.lanes > 0) {
    disk_ = std::make_unique<SimulatedDisk>(plan_.nvme, time_.scheduler(), nvme_random_);
  }
  for (const NamespaceSpec& spec : plan_.spaces) {
    const Result<const Namespace*> opened = registry_.Open(spec);
    if (!opened.ok()) {
      report_.failure = opened.status().ToString();
      return false;
    }
    spaces_.push_back(*opened);
  }
  if (!StartCache()) return false;
  oracle_ = std::make_unique<SimulationOracle>(*cache_, plan_.locators_collide && disk_ != nullptr);
  for (std::size_t i = 0; i < plan_.clients; ++i) {
    clients_.emplace_back(plan_.lanes * SimulationPlan::kBlocksPerCall);
    Connect(clients_.back());
  }
  return true;
}

void Simulation::Connect(SimulatedClient& client) {
  client.link =
      &links_.emplace_back(time_.scheduler(), random_, client.memory.memory(), plan_.faults);
}

Simulation::Target Simulation::DrawTarget() {
  const std::size_t number = random_.Below(spaces_.size());
  Target target{.space = spaces_[number],
                .chain = &plan_.chains[number][random_.Below(plan_.chains[number].size())]};
  target.group = static_cast<std::uint32_t>(random_.Below(target.space->spec.groups.size()));
  target.shard = static_cast<std::uint32_t>(random_.Below(target.space->spec.shard_count));
  if (random_.Chance(0.3)) target.first = random_.Below(target.chain->size());
  target.count = random_.Between(1, std::min<std::uint64_t>(SimulationPlan::kBlocksPerCall,
                                                            target.chain->size() - target.first));
  return target;
}

Nanos Simulation::DrawDeadline() {
  if (random_.Chance(plan_.short_deadline)) {
    const auto around = static_cast<std::uint64_t>(plan_.faults.latency_max);
    return time_.Now() + static_cast<Nanos>(random_.Below(2 * around));
  }
  return time_.Now() + static_cast<Nanos>(random_.Between(20, 200)) * kMillisecond;
}

void Simulation::Note(std::uint64_t number) {
  const std::uint64_t mixed[] = {report_.digest, number};
  report_.digest = Checksum64(std::as_bytes(std::span(mixed)));
}

void Simulation::Note(const BatchAnswer& answer) {
  Note(static_cast<std::uint64_t>(time_.Now()));
  for (const BlockAnswer& block : answer.blocks) {
    Note(static_cast<std::uint64_t>(block.status) << 32 | block.valid_tokens);
    if (block.status == StatusCode::kTimeout) ++report_.timeouts;
    if (block.status == StatusCode::kPeerDead) ++report_.peer_deaths;
    if (block.status == StatusCode::kCorrupt) ++report_.corruptions;
  }
}

Task<void> Simulation::Put(SimulatedClient* client, Target target, std::size_t from,
                           std::size_t first_slot) {
  const std::size_t pieces = random_.Between(1, 4);
  ClientCall call = MakeCall(*target.space, client->memory, target.Slice(from, target.count),
                             DrawDeadline(), first_slot, pieces);
  const std::vector<KeyView> keys = call.Keys();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    call.request.places[i].valid_tokens = ValidTokens(keys[i], target.space->spec.block_tokens);
  }
  if (disk_ != nullptr && nvme_random_.Chance(plan_.nvme.durable)) {
    call.request.ack = Ack::kDurable;
  }
  FillSources(call, client->memory);
  const SimulationOracle::Began began = oracle_->CallBegins(call, time_.Now());
  oracle_->PutBegins(call);
  const std::uint64_t segments = SegmentsBegun();
  const std::uint64_t crashes = oracle_->crashes();
  const std::uint64_t forgets = forgets_[target.space];
  ++calls_;
  const BatchAnswer answer = co_await cache_->Put(*client->link, call.request);
  --calls_;
  oracle_->PutEnds(call, answer, began, time_.Now());
  if (crashes == oracle_->crashes() && forgets == forgets_[target.space]) {
    NotePromises(target, from, answer, segments);
  }
  Note(answer);
}

Task<void> Simulation::Get(SimulatedClient* client, Target target, std::size_t most,
                           std::size_t first_slot, bool promised) {
  const std::size_t pieces = random_.Between(1, 4);
  const ClientCall call = MakeCall(*target.space, client->memory, target.Slice(target.first, most),
                                   DrawDeadline(), first_slot, pieces);
  PoisonDestinations(call, client->memory);
  const SimulationOracle::Began began = oracle_->CallBegins(call, time_.Now(), promised);
  ++calls_;
  const BatchAnswer answer = co_await cache_->Get(*client->link, call.request);
  --calls_;
  oracle_->GetEnds(call, client->memory, answer, began, time_.Now());
  Note(answer);
}

std::size_t Simulation::Match(const Target& target) {
  const ChainSlice slice = target.Slice(target.first, target.count);
  const MatchAnswer answer = cache_->Match(slice);
  if (!answer.status.ok()) oracle_->Fail("match refused: " + answer.status.ToString());
  oracle_->Matched(*target.space, slice, answer);
  Note(answer.tiers.size());
  return answer.tiers.size();
}

Task<void> Simulation::Forget(Target target, bool clear) {
  // What is being forgotten is promised no more, and neither is what is put meanwhile (Put).
  ++forgets_[target.space];
  std::erase_if(promises_,
                [&](const Promise& promise) { return promise.target.space == target.space; });
  const std::uint64_t crashes = oracle_->crashes();
  ++calls_;
  if (clear) {
    const std::uint64_t untold = cache_->Counters().removals_not_logged;
    const auto before = oracle_->ClearBegins(*target.space);
    Note(co_await cache_->Clear(target.space->id));
    const bool told = cache_->Counters().removals_not_logged == untold;
    oracle_->ClearEnds(before, told, crashes);
  } else {
    const ChainSlice slice = target.Slice(target.first, target.count);
    const auto before = oracle_->RemoveBegins(*target.space, slice);
    const BatchAnswer answer = co_await cache_->Remove(slice);
    oracle_->RemoveEnds(*target.space, slice, answer, before, crashes);
    Note(answer);
  }
  --calls_;
  std::erase_if(promises_,
                [&](const Promise& promise) { return promise.target.space == target.space; });
  ++forgets_[target.space];
}

Task<void> Simulation::Operate(SimulatedClient* client, std::size_t first_slot) {
  if (down_) co_return;
  if (disk_ != nullptr && nvme_random_.Chance(plan_.nvme.index_failure)) {
    disk_->FailIndex(static_cast<std::uint32_t>(nvme_random_.Between(1, 5)));
  }
  const Target target = DrawTarget();
  const double drawn = random_.Unit();
  if (drawn < plan_.remove + plan_.clear) {
    co_await Forget(target, drawn >= plan_.remove);
  } else if (drawn < plan_.remove + plan_.clear + plan_.lose_link) {
    client->link->Close();
    ++report_.links_lost;
  } else if (random_.Chance(0.5)) {
    // A prefill worker: match, get what is there, compute and put the rest.
    const std::uint64_t crashes = oracle_->crashes();
    const std::size_t matched = Match(target);
    if (matched > 0) co_await Get(client, target, matched, first_slot, true);
    if (matched < target.count && crashes == oracle_->crashes()) {
      co_await Put(client, target, target.first + matched, first_slot);
    }
  } else if (random_.Chance(0.5)) {
    co_await Get(client, target, target.count, first_slot, false);  // a decode worker
  } else {
    co_await Put(client, target, target.first, first_slot);
  }
}

Task<void> Simulation::Lane(SimulatedClient* client, std::size_t lane) {
  for (std::size_t i = 0; i < plan_.operations && oracle_->failure().empty(); ++i) {
    co_await SleepUntil{time_.Now() + static_cast<Nanos>(random_.Below(
                                          static_cast<std::uint64_t>(plan_.pause_max)))};
    while (down_) co_await SleepUntil{time_.Now() + kMillisecond};
    if (!client->link->Alive()) Connect(*client);
    co_await Operate(client, lane * SimulationPlan::kBlocksPerCall);
  }
  --lanes_left_;
}

void Simulation::RunLanes() {
  TaskScope scope;
  for (SimulatedClient& client : clients_) {
    for (std::size_t lane = 0; lane < plan_.lanes; ++lane) {
      ++lanes_left_;
      scope.Spawn(Lane(&client, lane));
    }
  }
  if (disk_ != nullptr) scope.Spawn(Crasher());
  std::uint64_t steps = 0;
  while (scope.live() > 0) {
    if (!time_.Step() || ++steps > kStepsMost) {
      // Coroutines that never end cannot be unwound: say what is known, and stop.
      std::fprintf(stderr, "simulation: %zu lanes hang; %s\n", scope.live(),
                   plan_.ToString().c_str());
      CheckFailed(__FILE__, __LINE__, "every lane ends");
    }
    if (steps % kStepsBetweenChecks != 0 || down_ || !oracle_->failure().empty()) continue;
    const Status valid = cache_->Validate();
    if (!valid.ok()) oracle_->Fail(valid.ToString());
  }
  time_.RunReady();
}

void Simulation::Drain() {
  plan_.faults.stall = plan_.faults.death = plan_.faults.corruption = 0;
  for (SimLink& link : links_) report_.quarantined += link.quarantined();
  time_.RunUntil(time_.Now() + 2 * plan_.faults.quarantine_max);
  if (disk_ != nullptr) {
    // What hangs ends, and devices that were offline are taken back.
    disk_->EnableFaults(false);
    disk_->FailIndex(0);
    time_.RunUntil(time_.Now() + 10 * kSecond);
  }
  for (SimLink& link : links_) {
    if (link.in_flight() != 0 || link.quarantined() != 0) oracle_->Fail("a link never drained");
  }
  oracle_->AllEnded();
}

void Simulation::CheckLiveness() {
  SimulatedClient& client = clients_.front();
  Connect(client);
  const ChainKeys chain = MakeChain("after", 3);
  for (const Namespace* space : spaces_) {
    ClientCall call =
        MakeCall(*space, client.memory, SliceOf(*space, chain, 0, 3), time_.Now() + kSecond);
    FillSources(call, client.memory);
    // A frame that is being written to NVMe keeps its extent from another tenant meanwhile.
    if (disk_ != nullptr) time_.RunUntil(time_.Now() + 100 * kMillisecond);
    call.request.deadline = time_.Now() + kSecond;
    const BatchAnswer put = time_.Run(cache_->Put(*client.link, call.request));
    PoisonDestinations(call, client.memory);
    const BatchAnswer got = time_.Run(cache_->Get(*client.link, call.request));
    Note(got);
    if (WrongBlocks(call, client.memory, got) != 0) oracle_->Fail("O1: wrong bytes at the end");
    if (plan_.locators_collide) continue;
    if (StatusText(put) != "ok ok ok") oracle_->Fail("put after the faults: " + StatusText(put));
    if (StatusText(got) != "ok ok ok") oracle_->Fail("get after the faults: " + StatusText(got));
  }
  if (disk_ != nullptr) CheckDurableAgain();
}

void Simulation::CheckQuiet() {
  oracle_->AllEnded();
  std::uint64_t corruptions = 0;
  for (SimLink& link : links_) {
    corruptions += link.corruptions();
    if (link.late_changes() != 0) {
      oracle_->Fail("a frame changed while a transport still used it");
    }
  }
  if (corruptions != report_.corruptions) {
    oracle_->Fail("O6: " + std::to_string(report_.corruptions) + " blocks answered corrupt, " +
                  std::to_string(corruptions) + " were corrupted");
  }
  for (const Namespace* space : spaces_) time_.Run(cache_->Clear(space->id));
  time_.RunUntil(time_.Now() + kSecond);
  time_.Run(cache_->Close());
  // A frame that is still pinned would stay, doomed.
  if (const std::uint64_t frames = cache_->arena().Stats().frames; frames != 0) {
    oracle_->Fail(std::to_string(frames) + " frames stay after everything was cleared");
  }
}

SimulationReport Simulation::Run() {
  report_.plan = plan_.ToString();
  if (!SetUp()) return report_;
  RunLanes();
  Drain();
  if (oracle_->failure().empty()) CheckLiveness();
  if (oracle_->failure().empty()) {
    CheckQuiet();
  } else {
    time_.Run(cache_->Close());
  }
  AddCounters();
  if (disk_ != nullptr) report_.device_faults = disk_->Faults();
  report_.failure = oracle_->failure();
  return report_;
}

void SimulationReport::Add(const SimulationReport& other) {
  stored += other.stored;
  got += other.got;
  missed += other.missed;
  pending += other.pending;
  no_space += other.no_space;
  evictions += other.evictions;
  timeouts += other.timeouts;
  peer_deaths += other.peer_deaths;
  corruptions += other.corruptions;
  links_lost += other.links_lost;
  removed += other.removed;
  cleared += other.cleared;
  key_mismatches += other.key_mismatches;
  quarantined += other.quarantined;
  got_nvme += other.got_nvme;
  nvme_evictions += other.nvme_evictions;
  reinserted += other.reinserted;
  corrupt_records += other.corrupt_records;
  kills += other.kills;
  power_losses += other.power_losses;
  recovered += other.recovered;
  durable += other.durable;
  durable_judged += other.durable_judged;
  device_faults += other.device_faults;
  lanes_failed += other.lanes_failed;
  lanes_returned += other.lanes_returned;
}

SimulationReport SimulateCache(std::uint64_t seed) { return Simulation(seed).Run(); }

}  // namespace terrace::testing
