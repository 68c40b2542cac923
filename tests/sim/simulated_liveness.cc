// When the faults have ended: everything drains, everything is back, and it works at full speed.
#include <algorithm>
#include <string>

#include "tests/sim/simulation.h"

namespace terrace::testing {

namespace {

/// Patience with what was under way when the faults ended: a delayed operation, a probe, the watch.
constexpr Nanos kRecovers = 10 * kSecond;
/// Patience with what waits to be written to devices that are healthy.
constexpr Nanos kWrites = 2 * kSecond;
constexpr Nanos kCopies = 200 * kMillisecond;
constexpr Nanos kLook = kMillisecond;
/// Until the last lease has ended by its time, and more.
constexpr Nanos kLeasesEnd = 200 * kMillisecond;
/// Calls of each kind on each namespace.
constexpr int kRounds = 4;
constexpr std::size_t kBlocksOfACall = 4;
/// Of one read of a record, at most: two reads of the simulated device, and the wait for a write.
constexpr Nanos kDeviceReads = 4 * kMillisecond;

}  // namespace

void Simulation::Drain() {
  SimLinkFaults& faults = plan_.faults;
  faults.stall = faults.death = faults.corruption = faults.message_drop = 0;
  faults.message_delay_max = 0;
  for (SimLink& link : links_) report_.quarantined += link.quarantined();
  time_.RunUntil(time_.Now() + 2 * plan_.faults.quarantine_max);
  if (disk_ != nullptr) {
    // What hangs ends, and devices that were offline are taken back.
    disk_->EnableFaults(false);
    disk_->FailIndex(0);
    time_.RunUntil(time_.Now() + kRecovers);
  }
  if (gpus_ != nullptr) {
    gpus_->EndFaults();
    time_.RunUntil(time_.Now() + kRecovers);
  }
  time_.RunUntil(time_.Now() + kLeasesEnd);
  const MatchLeaseCounters& leases = cache_->Counters().leases;
  if (leases.now != 0 || leases.blocks_now != 0 || leases.bytes_now != 0) {
    oracle_->Fail("O10: leases are left after their time");
  }
  if (const Status valid = cache_->leases().Validate(); !valid.ok()) {
    oracle_->Fail(valid.ToString());
  }
  for (SimLink& link : links_) {
    if (link.in_flight() != 0 || link.quarantined() != 0) oracle_->Fail("a link never drained");
  }
  oracle_->AllEnded();
  CheckEverythingIsBack();
}

void Simulation::CheckEverythingIsBack() {
  if (disk_ == nullptr && gpus_ == nullptr) return;
  const std::uint64_t online =
      disk_ == nullptr ? 0 : cache_->nvme()->log().Counters().lanes_online.load();
  if (online != plan_.nvme.lanes) {
    oracle_->Fail("O9: " + std::to_string(online) + " of " + std::to_string(plan_.nvme.lanes) +
                  " devices are online after the faults");
  }
  // A pin on a frame is some transfer's, load's or write's; none of them is under way.
  if (const std::uint64_t pins = cache_->arena().Pins(); pins != 0) {
    oracle_->Fail("O9: " + std::to_string(pins) + " pins are nobody's");
  }
}

void Simulation::AwaitWritten() {
  // A copy on its way to a GPU keeps its frame, too.
  if (gpus_ != nullptr) time_.RunUntil(time_.Now() + kCopies);
  if (disk_ == nullptr) return;
  const Nanos end = time_.Now() + kWrites;
  while (cache_->Counters().write_queue_bytes != 0) {
    if (time_.Now() >= end) {
      oracle_->Fail("O9: healthy devices do not take what waits to be written");
      return;
    }
    time_.RunUntil(time_.Now() + kLook);
  }
}

std::size_t Simulation::BlocksOfACall() const {
  const std::uint64_t index = plan_.cache.blocks_max == 0 ? ~0U : plan_.cache.blocks_max;
  return static_cast<std::size_t>(std::min<std::uint64_t>(kBlocksOfACall, index / 2));
}

void Simulation::CheckThroughput() {
  SimulatedClient& client = clients_.front();
  const std::size_t blocks = BlocksOfACall();
  // Blocks of a call may go one after the other, and not slower than this.
  const Nanos patience = static_cast<Nanos>(blocks) *
                         (plan_.faults.latency_max + plan_.faults.latency_min + kDeviceReads);
  const auto check = [&](const char* what, const BatchAnswer& answer, Nanos began) {
    for (const BlockAnswer& block : answer.blocks) {
      if (block.status == StatusCode::kOk || plan_.locators_collide) continue;
      oracle_->Fail(std::string("O9: ") + what + " after the faults: " + StatusText(answer));
    }
    if (time_.Now() - began > patience) {
      oracle_->Fail(std::string("O9: ") + what + " after the faults took " +
                    std::to_string((time_.Now() - began) / kMicrosecond) + " us, at most " +
                    std::to_string(patience / kMicrosecond) + " us");
    }
  };
  for (int round = 0; round < kRounds; ++round) {
    const ChainKeys chain = MakeChain("after" + std::to_string(round), blocks);
    for (const Namespace* space : spaces_) {
      ClientCall call = MakeCall(*space, client.memory, SliceOf(*space, chain, 0, blocks), 0);
      FillSources(call, client.memory);
      // A frame that is being written to NVMe keeps its extent from another tenant meanwhile.
      AwaitWritten();
      const Nanos put_began = time_.Now();
      call.request.deadline = put_began + kSecond;
      check("put", time_.Run(cache_->Put(*client.link, call.request)), put_began);
      PoisonDestinations(call, client.memory);
      const Nanos get_began = time_.Now();
      const BatchAnswer got = time_.Run(cache_->Get(*client.link, call.request));
      check("get", got, get_began);
      Note(got);
      if (WrongBlocks(call, client.memory, got) != 0) oracle_->Fail("O1: wrong bytes at the end");
    }
  }
}

void Simulation::CheckLiveness() {
  Connect(clients_.front());
  CheckThroughput();
  if (disk_ != nullptr) CheckDurableAgain();
}

/// With healthy devices a put is made durable again.
void Simulation::CheckDurableAgain() {
  SimulatedClient& client = clients_.front();
  const ChainKeys chain = MakeChain("durable", 2);
  for (const Namespace* space : spaces_) {
    ClientCall call = MakeCall(*space, client.memory, SliceOf(*space, chain, 0, 2), 0);
    call.request.ack = Ack::kDurable;
    AwaitWritten();
    call.request.deadline = time_.Now() + kSecond;
    FillSources(call, client.memory);
    const BatchAnswer put = time_.Run(cache_->Put(*client.link, call.request));
    for (const BlockAnswer& block : put.blocks) {
      if (block.status != StatusCode::kOk || block.not_durable == NotDurable::kNone ||
          block.not_durable == NotDurable::kTooLarge ||
          block.not_durable == NotDurable::kWriteBudget) {
        continue;
      }
      oracle_->Fail("O9: not durable after the faults: " +
                    std::string(NotDurableName(block.not_durable)));
    }
  }
}

void Simulation::CheckQuiet() {
  AwaitWritten();  // the last put may have pushed out what is worth a write
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
  if (!cache_->Closed().ok()) oracle_->Fail(cache_->Closed().ToString());
  if (gpus_ != nullptr && gpus_->Frames() != 0) oracle_->Fail("frames of HBM stay");
  // A frame that is still pinned would stay, doomed.
  if (const std::uint64_t frames = cache_->arena().Stats().frames; frames != 0) {
    oracle_->Fail(std::to_string(frames) + " frames stay after everything was cleared");
  }
}

}  // namespace terrace::testing
