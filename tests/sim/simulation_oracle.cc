#include "tests/sim/simulation_oracle.h"

#include <algorithm>

#include "tests/sim/simulation_plan.h"

namespace terrace::testing {

namespace {

/// Where a block's name ends and its key begins; names of spaces hold no such byte.
constexpr char kSeparator = '\x1f';

}  // namespace

std::string SimulationOracle::Name(const Namespace& space, const ChainSlice& chain, KeyView key) {
  std::string name = std::to_string(space.id) + kSeparator + std::to_string(chain.group) +
                     kSeparator + std::to_string(chain.shard) + kSeparator;
  name.append(reinterpret_cast<const char*>(key.data()), key.size());
  return name;
}

SimulationOracle::Facts& SimulationOracle::FactsOf(const Namespace& space, const ChainSlice& chain,
                                                   KeyView key) {
  return facts_[Name(space, chain, key)];
}

SimulationOracle::Facts SimulationOracle::Known(const Namespace& space, const ChainSlice& chain,
                                                KeyView key) const {
  const auto found = facts_.find(Name(space, chain, key));
  return found == facts_.end() ? Facts{} : found->second;
}

std::uint64_t SimulationOracle::Losses() const {
  const CacheCounters& counters = cache_->Counters();
  std::uint64_t losses = counters.evictions + counters.removed + counters.cleared;
  if (cache_->nvme() != nullptr) {
    const nvme::SegmentLogCounters& log = cache_->nvme()->log().Counters();
    losses += counters.nvme_evictions + counters.load_expired + counters.load_corrupt +
              counters.load_mismatched + counters.load_io_errors + counters.load_no_frame +
              log.lanes_failed + log.lanes_returned;
  }
  if (counters.hbm_gpus > 0) {
    losses += counters.hbm_evictions + counters.hbm_failures + counters.hbm_gpus_offline +
              counters.load_no_frame + counters.index_evictions;
  }
  return losses;
}

void SimulationOracle::FailUnlessLenient(const std::string& what) {
  if (!lenient_) Fail(what);
}

void SimulationOracle::Crashed(bool power_lost) {
  ++crashes_;
  for (auto& [name, facts] : facts_) {
    // One that was not there may be in the index still: only a removal that ended well tells it.
    facts.maybe = facts.Possible() || (facts.put_starts > 0 && (power_lost || !facts.gone));
    facts.stored = false;
  }
}

void SimulationOracle::Fail(const std::string& what) {
  if (!failure_.empty()) return;
  // Names of blocks hold any byte.
  for (const char character : what) {
    failure_ += character >= ' ' && character <= '~' ? character : '.';
  }
}

SimulationOracle::Began SimulationOracle::CallBegins(const ClientCall& call, Nanos now,
                                                     bool promised) const {
  Began began{.time = now,
              .crashes = crashes_,
              .promised = promised,
              .losses = Losses(),
              .put_starts = {},
              .possible = {},
              .stored = {},
              .losses_then = {}};
  for (const KeyView key : call.Keys()) {
    const Facts facts = Known(*call.space, call.request.chain, key);
    began.put_starts.push_back(facts.put_starts);
    began.possible.push_back(facts.Possible());
    began.stored.push_back(facts.stored);
    began.losses_then.push_back(facts.losses_then);
  }
  return began;
}

void SimulationOracle::PutBegins(const ClientCall& call) {
  for (const KeyView key : call.Keys()) {
    Facts& facts = FactsOf(*call.space, call.request.chain, key);
    ++facts.puts_in_flight;
    ++facts.put_starts;
    facts.gone = false;
    // With other puts of it in flight it may be there already, and gone again by now.
    if (!facts.stored && facts.puts_in_flight == 1) facts.losses_then = Losses();
  }
}

void SimulationOracle::CheckTime(const ClientCall& call, const Began& began, Nanos now) {
  if (now > std::max(call.request.deadline, began.time)) {
    Fail("O4: a call ended " + std::to_string(now - call.request.deadline) +
         " ns after its deadline");
  }
}

void SimulationOracle::PutEnds(const ClientCall& call, const BatchAnswer& answer,
                               const Began& began, Nanos now) {
  const std::vector<KeyView> keys = call.Keys();
  if (began.crashes != crashes_) {
    for (const KeyView key : keys) {
      Facts& facts = FactsOf(*call.space, call.request.chain, key);
      --facts.puts_in_flight;
      facts.maybe = true;
    }
    return;
  }
  CheckTime(call, began, now);
  if (!answer.status.ok() || answer.blocks.size() != keys.size()) {
    Fail("a put of good arguments was refused: " + StatusText(answer));
    return;
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    Facts& facts = FactsOf(*call.space, call.request.chain, keys[i]);
    --facts.puts_in_flight;
    ++facts.puts_ended;
    const StatusCode status = answer.blocks[i].status;
    if (status == StatusCode::kOk) facts.stored = true;
    if (status == StatusCode::kExists && !began.possible[i] &&
        facts.put_starts == began.put_starts[i] + 1) {
      FailUnlessLenient("O2: a put found a block that nobody had put: " +
                        Name(*call.space, call.request.chain, keys[i]));
    }
    if (status == StatusCode::kMiss || status == StatusCode::kInternal ||
        status == StatusCode::kInvalid) {
      Fail("a put answered " + StatusText(answer));
    }
  }
}

void SimulationOracle::GetEnds(const ClientCall& call, ClientMemory& memory,
                               const BatchAnswer& answer, const Began& began, Nanos now) {
  if (answer.status.ok() && WrongBlocks(call, memory, answer) != 0) Fail("O1: wrong bytes");
  if (began.crashes != crashes_) return;
  CheckTime(call, began, now);
  const std::vector<KeyView> keys = call.Keys();
  if (!answer.status.ok() || answer.blocks.size() != keys.size()) {
    Fail("a get of good arguments was refused: " + StatusText(answer));
    return;
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::string name = Name(*call.space, call.request.chain, keys[i]);
    const Facts facts = Known(*call.space, call.request.chain, keys[i]);
    const BlockAnswer& block = answer.blocks[i];
    if (block.status == StatusCode::kOk) {
      if (block.valid_tokens != ValidTokens(keys[i], call.space->spec.block_tokens)) {
        Fail("O1: wrong number of valid tokens: " + name);
      }
      if (!began.possible[i] && facts.put_starts == began.put_starts[i]) {
        FailUnlessLenient("O2: a get found a block that nobody had put: " + name);
      }
      continue;
    }
    const bool absent = block.status == StatusCode::kMiss || block.status == StatusCode::kPending;
    if (absent && began.promised && Losses() == began.losses) {
      FailUnlessLenient("O5: match promised a block that get answers " +
                        std::string(StatusCodeName(block.status)) + ": " + name);
    }
    if (block.status == StatusCode::kMiss) {
      if (began.stored[i] && Losses() == began.losses_then[i]) {
        FailUnlessLenient("O3: a block vanished: " + name);
      }
    } else if (block.status == StatusCode::kInternal || block.status == StatusCode::kInvalid) {
      Fail("a get answered " + StatusText(answer));
    }
  }
}

void SimulationOracle::Matched(const Namespace& space, const ChainSlice& chain,
                               const MatchAnswer& answer) {
  std::size_t index = 0;
  for (const RunSlice& run : chain.runs) {
    for (const KeyView key : run.keys) {
      const Facts facts = Known(space, chain, key);
      if (index < answer.tiers.size() && !facts.Possible()) {
        FailUnlessLenient("O2: match promised a block that nobody had put: " +
                          Name(space, chain, key));
      }
      if (index == answer.tiers.size() && facts.stored && Losses() == facts.losses_then) {
        FailUnlessLenient("O3: match does not know a block that is stored: " +
                          Name(space, chain, key));
      }
      ++index;
    }
  }
}

SimulationOracle::Before SimulationOracle::RemoveBegins(const Namespace& space,
                                                        const ChainSlice& chain) {
  Before before;
  for (const RunSlice& run : chain.runs) {
    for (const KeyView key : run.keys) {
      before[Name(space, chain, key)] = FactsOf(space, chain, key).Now();
    }
  }
  return before;
}

void SimulationOracle::Gone(const std::string& name, const KnownBefore& before, bool told) {
  Facts& facts = facts_[name];
  // A put that ended meanwhile may have come after it.
  if (facts.puts_ended == before.puts_ended) {
    facts.stored = facts.maybe = false;
  } else {
    facts.maybe = facts.maybe || facts.stored;
    facts.stored = false;
  }
  facts.gone = told && facts.puts_ended == before.puts_ended && facts.puts_in_flight == 0;
}

void SimulationOracle::RemoveEnds(const Namespace& space, const ChainSlice& chain,
                                  const BatchAnswer& answer, const Before& before,
                                  std::uint64_t crashes) {
  if (crashes != crashes_) return;
  std::size_t index = 0;
  for (const RunSlice& run : chain.runs) {
    for (const KeyView key : run.keys) {
      const StatusCode status = answer.blocks[index++].status;
      const std::string name = Name(space, chain, key);
      const KnownBefore& known = before.at(name);
      if (status == StatusCode::kOk && !known.possible &&
          facts_[name].put_starts == known.put_starts) {
        FailUnlessLenient("O2: removed a block that nobody had put: " + name);
      }
      Gone(name, known, status == StatusCode::kOk);
    }
  }
}

SimulationOracle::Before SimulationOracle::ClearBegins(const Namespace& space) {
  Before before;
  const std::string prefix = std::to_string(space.id) + kSeparator;
  for (auto block = facts_.lower_bound(prefix); block != facts_.end(); ++block) {
    if (!block->first.starts_with(prefix)) break;
    before[block->first] = block->second.Now();
  }
  return before;
}

void SimulationOracle::ClearEnds(const Before& before, bool told, std::uint64_t crashes) {
  if (crashes != crashes_) return;
  for (const auto& [name, known] : before) Gone(name, known, told);
}

void SimulationOracle::AllEnded() {
  const CacheCounters& counters = cache_->Counters();
  if (cache_->FlowsInProgress() != 0) {
    Fail(std::to_string(cache_->FlowsInProgress()) + " flows never ended");
  }
  if (counters.put_blocks != counters.put_stored + counters.put_exists + counters.put_pending +
                                 counters.put_no_space + counters.put_failures) {
    Fail("the outcomes of puts do not add up to the blocks put");
  }
  if (counters.get_blocks != counters.get_hits_dram + counters.get_hits_hbm +
                                 counters.get_hits_nvme + counters.get_misses +
                                 counters.get_failures) {
    Fail("the outcomes of gets do not add up to the blocks got");
  }
  // With another tier a block may leave DRAM often, and come from an earlier run.
  const bool alone = cache_->nvme() == nullptr && counters.hbm_gpus == 0;
  if (alone && counters.put_stored <
                   counters.blocks + counters.evictions + counters.removed + counters.cleared) {
    Fail("more blocks left than were ever stored");
  }
  if (counters.write_queue_bytes != 0) Fail("what waits for NVMe is never written");
  const Status valid = cache_->Validate();
  if (!valid.ok()) Fail(valid.ToString());
}

}  // namespace terrace::testing
