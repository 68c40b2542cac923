#include "tests/sim/cache_simulation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "tests/sim/simulation.h"

namespace terrace::testing {

namespace {

/// More events than the busiest seed needs; a run that passes them goes in circles.
constexpr std::uint64_t kStepsMost = 20'000'000;
/// Validate looks at every block: not oftener than this, and than a part of the run.
constexpr std::uint64_t kStepsBetweenChecks = 256;
/// Tries of one call whose messages are lost.
constexpr int kTriesMax = 2;

}  // namespace

bool Simulation::SetUp() {
  if (plan_.nvme.lanes > 0) {
    disk_ = std::make_unique<SimulatedDisk>(plan_.nvme, time_.scheduler(), nvme_random_);
  }
  if (plan_.hbm.gpus > 0) gpus_ = std::make_unique<SimulatedGpus>(plan_.hbm, streams_.gpus);
  for (const NamespaceSpec& spec : plan_.spaces) {
    const Result<const Namespace*> opened = registry_.Open(spec);
    if (!opened.ok()) {
      report_.failure = opened.status().ToString();
      return false;
    }
    spaces_.push_back(*opened);
  }
  if (!StartCache()) return false;
  const bool lenient = plan_.locators_collide && (disk_ != nullptr || gpus_ != nullptr);
  oracle_ = std::make_unique<SimulationOracle>(*cache_, lenient);
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

Task<bool> Simulation::Put(SimulatedClient* client, Target target, std::size_t from,
                           std::size_t first_slot) {
  const std::size_t pieces = random_.Between(1, 4);
  ClientCall call = MakeCall(*target.space, client->memory, target.Slice(from, target.count),
                             DrawDeadline(), first_slot, pieces);
  const std::vector<KeyView> keys = call.Keys();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    call.request.places[i].valid_tokens = ValidTokens(keys[i], target.space->spec.block_tokens);
  }
  call.request.facts = DrawFacts(target);
  if (disk_ != nullptr && nvme_random_.Chance(plan_.nvme.durable)) {
    call.request.ack = Ack::kDurable;
  }
  FillSources(call, client->memory);
  SimLink* const link = client->link;
  const Status sent = co_await link->Carry(call.request.deadline);
  if (!sent.ok()) co_return sent.code() == StatusCode::kPeerDead;
  ++report_.calls;
  report_.operations += keys.size();
  const SimulationOracle::Began began = oracle_->CallBegins(call, time_.Now());
  oracle_->PutBegins(call);
  const std::uint64_t segments = SegmentsBegun();
  const std::uint64_t crashes = oracle_->crashes();
  const std::uint64_t forgets = forgets_[target.space];
  ++calls_;
  const BatchAnswer answer = co_await cache_->Put(*link, call.request);
  --calls_;
  oracle_->PutEnds(call, answer, began, time_.Now());
  if (crashes == oracle_->crashes() && forgets == forgets_[target.space]) {
    NotePromises(target, from, answer, segments);
  }
  Note(answer);
  const Status told = co_await link->Carry(std::max(call.request.deadline, time_.Now()));
  co_return told.code() != StatusCode::kTimeout;
}

Task<bool> Simulation::Get(SimulatedClient* client, Target target, std::size_t most,
                           std::size_t first_slot, std::uint64_t losses_then) {
  const std::size_t pieces = random_.Between(1, 4);
  ClientCall call = MakeCall(*target.space, client->memory, target.Slice(target.first, most),
                             DrawDeadline(), first_slot, pieces);
  call.request.facts = DrawFacts(target);
  PoisonDestinations(call, client->memory);
  SimLink* const link = client->link;
  const Status sent = co_await link->Carry(call.request.deadline);
  if (!sent.ok()) co_return sent.code() == StatusCode::kPeerDead;
  ++report_.calls;
  report_.operations += call.request.places.size();
  const bool promised = losses_then == oracle_->Losses();
  const SimulationOracle::Began began = oracle_->CallBegins(call, time_.Now(), promised);
  ++calls_;
  const BatchAnswer answer = co_await cache_->Get(*link, call.request);
  --calls_;
  oracle_->GetEnds(call, client->memory, answer, began, time_.Now());
  Note(answer);
  const Status told = co_await link->Carry(std::max(call.request.deadline, time_.Now()));
  co_return told.code() != StatusCode::kTimeout;
}

std::size_t Simulation::Match(const Target& target) {
  const ChainSlice slice = target.Slice(target.first, target.count);
  ++report_.calls;
  report_.operations += target.count;
  const MatchAnswer answer = cache_->Match(slice);
  if (!answer.status.ok()) oracle_->Fail("match refused: " + answer.status.ToString());
  oracle_->Matched(*target.space, slice, answer);
  Note(answer.tiers.size());
  return answer.tiers.size();
}

Task<void> Simulation::Forget(Target target, Forgets what) {
  // What is being forgotten is promised no more, and neither is what is put meanwhile (Put).
  ++forgets_[target.space];
  std::erase_if(promises_,
                [&](const Promise& promise) { return promise.target.space == target.space; });
  const std::uint64_t crashes = oracle_->crashes();
  ++calls_;
  ++report_.calls;
  report_.operations += what == Forgets::kNamespace ? 1 : target.count;
  if (what == Forgets::kPrefix) {
    co_await ForgetPrefix(target, crashes);
  } else if (what == Forgets::kNamespace) {
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

/// A prefill worker: match, get what is there, compute and put the rest.
Task<void> Simulation::Prefill(SimulatedClient* client, Target target, std::size_t first_slot) {
  SimLink* const link = client->link;
  const Nanos deadline = time_.Now() + 50 * kMillisecond;
  if (!(co_await link->Carry(deadline)).ok()) co_return;
  const std::uint64_t crashes = oracle_->crashes();
  const std::size_t matched = Match(target);
  const std::uint64_t losses = oracle_->Losses();
  if (!(co_await link->Carry(deadline)).ok() || crashes != oracle_->crashes()) co_return;
  if (matched > 0) {
    (void)co_await Get(client, target, matched, first_slot, losses);
  }
  if (matched == target.count || crashes != oracle_->crashes()) co_return;
  for (int attempt = 0; attempt < kTriesMax; ++attempt) {
    if (co_await Put(client, target, target.first + matched, first_slot)) break;
  }
}

void Simulation::Stop(SimulatedClient& client) {
  ++report_.clients_stalled;
  client.stopped_until =
      time_.Now() +
      static_cast<Nanos>(streams_.clients.Below(static_cast<std::uint64_t>(plan_.stop_max)));
  client.link->FreezeUntil(client.stopped_until);
}

Task<void> Simulation::Operate(SimulatedClient* client, std::size_t first_slot) {
  if (down_) co_return;
  if (disk_ != nullptr && nvme_random_.Chance(plan_.nvme.index_failure)) {
    disk_->FailIndex(static_cast<std::uint32_t>(nvme_random_.Between(1, 5)));
  }
  const Target target = DrawTarget();
  if (plan_.hint > 0 && streams_.clients.Chance(plan_.hint)) {
    co_await Hint(target);
    co_return;
  }
  const double drawn = random_.Unit();
  if (drawn < plan_.remove + plan_.clear) {
    co_await Forget(target, drawn >= plan_.remove ? Forgets::kNamespace : Forgets::kBlocks);
  } else if (drawn < plan_.remove + plan_.clear + plan_.lose_link) {
    client->link->Close();
    ++report_.links_lost;
  } else if (random_.Chance(0.5)) {
    co_await Prefill(client, target, first_slot);
  } else if (random_.Chance(0.5)) {  // a decode worker
    for (int attempt = 0; attempt < kTriesMax; ++attempt) {
      if (co_await Get(client, target, target.count, first_slot, kNotPromised)) break;
    }
  } else {
    for (int attempt = 0; attempt < kTriesMax; ++attempt) {
      if (co_await Put(client, target, target.first, first_slot)) break;
    }
  }
}

Task<void> Simulation::Lane(SimulatedClient* client, std::size_t lane) {
  for (std::size_t i = 0; i < plan_.operations && oracle_->failure().empty(); ++i) {
    co_await SleepUntil{time_.Now() + static_cast<Nanos>(random_.Below(
                                          static_cast<std::uint64_t>(plan_.pause_max)))};
    if (client->stopped_until > time_.Now()) co_await SleepUntil{client->stopped_until};
    while (down_) co_await SleepUntil{time_.Now() + kMillisecond};
    if (!client->link->Alive()) Connect(*client);
    if (plan_.stop_client > 0 && streams_.clients.Chance(plan_.stop_client)) Stop(*client);
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
  if (gpus_ != nullptr) scope.Spawn(Troubler());
  if (plan_.leases) scope.Spawn(Leaser());
  const std::uint64_t check_every =
      std::max<std::uint64_t>(kStepsBetweenChecks, plan_.operations * plan_.lanes * plan_.clients);
  std::uint64_t steps = 0;
  while (scope.live() > 0) {
    if (!time_.Step() || ++steps > kStepsMost) {
      // Coroutines that never end cannot be unwound: say what is known, and stop.
      std::fprintf(stderr, "simulation: %zu lanes hang; %s\n", scope.live(),
                   plan_.ToString().c_str());
      CheckFailed(__FILE__, __LINE__, "every lane ends");
    }
    if (steps % check_every != 0 || down_ || !oracle_->failure().empty()) continue;
    const Status valid = cache_->Validate();
    if (!valid.ok()) oracle_->Fail(valid.ToString());
  }
  time_.RunReady();
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
  AddLinks();
  if (disk_ != nullptr) disk_->AddFaults(report_);
  if (gpus_ != nullptr) gpus_->AddFaults(report_);
  report_.failure = oracle_->failure();
  return report_;
}

void SimulationCounts::Add(const SimulationCounts& other) {
  static_assert(std::is_trivially_copyable_v<SimulationCounts>);
  using Row = std::array<std::uint64_t, sizeof(SimulationCounts) / sizeof(std::uint64_t)>;
  const Row added = std::bit_cast<Row>(other);
  Row sums = std::bit_cast<Row>(*this);
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += added[i];
  *this = std::bit_cast<SimulationCounts>(sums);
}

SimulationReport SimulateCache(std::uint64_t seed, SimulationProfile profile) {
  return Simulation(seed, profile).Run();
}

std::string DescribePlan(std::uint64_t seed, SimulationProfile profile) {
  SimulationStreams streams(seed);
  return DrawPlan(streams, profile).ToString();
}

}  // namespace terrace::testing
