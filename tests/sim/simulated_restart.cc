// The cache dies and starts again over what the disk holds, and what was promised is judged.
#include <algorithm>
#include <string>
#include <utility>

#include "tests/sim/simulation.h"

namespace terrace::testing {

namespace {

constexpr Nanos kLook = 100 * kMicrosecond;

}  // namespace

bool Simulation::StartCache() {
  auto cache = Cache::Create(plan_.cache, registry_, time_.clock());
  Status status = cache.status();
  if (status.ok()) {
    cache_ = std::move(cache).value();
    if (disk_ != nullptr) status = disk_->Attach(*cache_);
    if (status.ok() && gpus_ != nullptr) status = gpus_->Attach(*cache_);
  }
  if (status.ok()) status = cache_->Validate();
  report_.failure = status.ok() ? "" : status.ToString();
  return status.ok();
}

Task<void> Simulation::Crasher() {
  for (std::size_t crash = 0; crash < plan_.nvme.crashes; ++crash) {
    const Nanos at = time_.Now() + static_cast<Nanos>(nvme_random_.Below(
                                       static_cast<std::uint64_t>(plan_.nvme.between_crashes)));
    while (time_.Now() < at && lanes_left_ > 0) co_await SleepUntil{time_.Now() + kMillisecond};
    if (lanes_left_ == 0 || !oracle_->failure().empty()) co_return;
    co_await Crash(nvme_random_.Chance(plan_.nvme.power_loss));
  }
}

Task<void> Simulation::Troubler() {
  while (lanes_left_ > 0) {
    const auto pause = streams_.gpus.Below(static_cast<std::uint64_t>(plan_.hbm.between_troubles));
    co_await SleepUntil{time_.Now() + static_cast<Nanos>(pause)};
    gpus_->Trouble(time_.Now());
  }
}

Task<void> Simulation::AwaitQuiet() {
  const auto quiet = [this] {
    return calls_ == 0 && cache_->FlowsInProgress() == 0 &&
           std::ranges::all_of(links_, [](const SimLink& link) {
             return link.in_flight() == 0 && link.quarantined() == 0;
           });
  };
  while (!quiet()) co_await SleepUntil{time_.Now() + kLook};
}

Task<void> Simulation::Crash(bool power_lost) {
  down_ = true;
  DropExcused();
  oracle_->Crashed(power_lost);
  ++(power_lost ? report_.power_losses : report_.kills);
  if (power_lost) {
    disk_->LosePower();
  } else {
    disk_->Kill();
  }
  // The coroutines of the process that is gone cannot be unwound: they run on, and reach nothing.
  for (SimLink& link : links_) link.Close();
  co_await AwaitQuiet();
  if (gpus_ != nullptr) gpus_->EndFaults();  // what hangs would hold up the test, not a process
  co_await cache_->Close();
  AddCounters();
  if (gpus_ != nullptr) gpus_->Detach();
  torn_ = true;  // also by kill -9: a start takes up what the log has, by its headers alone
  cache_.reset();
  disk_->EndRun();
  if (!StartCache()) {
    oracle_->Fail("the cache does not start again: " + report_.failure);
    CheckFailed(__FILE__, __LINE__, report_.failure.c_str());
  }
  oracle_->Restarted(*cache_);
  report_.recovered += cache_->Counters().blocks_nvme;
  disk_->EnableFaults(false);
  co_await JudgePromises();
  disk_->EnableFaults(true);
  down_ = false;
}

std::uint64_t Simulation::SegmentsBegun() const {
  return cache_->nvme() == nullptr ? 0 : cache_->nvme()->log().Counters().segments_begun.load();
}

void Simulation::NotePromises(const Target& target, std::size_t from, const BatchAnswer& answer,
                              std::uint64_t segments) {
  for (std::size_t i = 0; i < answer.blocks.size(); ++i) {
    const BlockAnswer& block = answer.blocks[i];
    if (block.ack != Ack::kDurable) continue;
    ++report_.durable;
    // One that was there already may have an old record, whose segment goes any time.
    if (block.status != StatusCode::kOk) continue;
    promises_.push_back({.target = target, .position = from + i, .segments = segments});
  }
}

void Simulation::DropExcused() {
  const CacheCounters& counters = cache_->Counters();
  const nvme::SegmentLogCounters& log = cache_->nvme()->log().Counters();
  // A device that lied, a record that was read wrong, an index that was full: it may be gone.
  const bool misread = counters.load_corrupt > 0 && plan_.nvme.Lies();
  if (disk_->Lies() > 0 || misread || counters.load_mismatched > 0 || log.lanes_failed > 0 ||
      counters.index_evictions > 0 || plan_.cache.blocks_max != 0 || plan_.locators_collide) {
    promises_.clear();
  }
  // Its segment is reused after a whole turn of its ring at the earliest.
  std::erase_if(promises_, [this](const Promise& promise) {
    return SegmentsBegun() - promise.segments + 4 > plan_.nvme.tier.log.segments;
  });
}

Task<void> Simulation::JudgePromises() {
  if (cache_->Counters().index_evictions > 0) promises_.clear();  // not all found room
  ClientMemory memory(1, SimulationPlan::kBlockBytesMost);
  SimLink link(time_.scheduler(), nvme_random_, memory.memory(), {});
  for (const Promise& promise : std::exchange(promises_, {})) {
    const ClientCall call =
        MakeCall(*promise.target.space, memory, promise.target.Slice(promise.position, 1),
                 time_.Now() + kSecond);
    const BatchAnswer answer = co_await cache_->Get(link, call.request);
    ++report_.durable_judged;
    if (StatusText(answer) != "ok" || WrongBlocks(call, memory, answer) != 0) {
      oracle_->Fail("O7: a block that was DURABLE is answered " + StatusText(answer) +
                    " after a crash");
    }
  }
}

void Simulation::AddCounters() {
  const CacheCounters& counters = cache_->Counters();
  report_.stored += counters.put_stored;
  report_.got += counters.get_hits_dram;
  report_.missed += counters.get_misses;
  report_.pending += counters.put_pending;
  report_.no_space += counters.put_no_space;
  report_.evictions += counters.evictions;
  report_.removed += counters.removed;
  report_.cleared += counters.cleared;
  report_.key_mismatches += counters.key_mismatches;
  report_.got_hbm += counters.get_hits_hbm;
  report_.copied_to_hbm += counters.hbm_promotions;
  if (disk_ == nullptr) return;
  const nvme::NvmeTier& tier = *cache_->nvme();
  report_.got_nvme += counters.get_hits_nvme;
  report_.nvme_evictions += counters.nvme_evictions;
  report_.corrupt_records += counters.load_corrupt;
  report_.expired_reads += tier.log().Counters().expired;
  report_.reinserted += tier.Counters().blocks_reinserted;
  report_.generations += tier.log().Counters().segments_begun;
  report_.lanes_failed += tier.log().Counters().lanes_failed;
  report_.lanes_returned += tier.log().Counters().lanes_returned;
  // Where the header of a generation was lost behind our back, a later life gives its number again,
  // and a place may name another record of it.
  if (counters.load_mismatched > 0 && !plan_.locators_collide && disk_->Lies() == 0) {
    oracle_->Fail("O8: a record that was read is another block's");
  }
  if (counters.load_corrupt > 0 && !torn_ && !plan_.nvme.Lies()) {
    oracle_->Fail("O8: a record is corrupt, and no device lied");
  }
}

void Simulation::AddLinks() {
  for (const SimLink& link : links_) {
    report_.bit_flips += link.corruptions();
    report_.clients_died += link.deaths();
    report_.transfers_stalled += link.stalls();
    report_.messages_dropped += link.messages_dropped();
    report_.messages_reordered += link.messages_reordered();
  }
  report_.clients_died += report_.links_lost;
}

}  // namespace terrace::testing
