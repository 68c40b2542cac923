// A cache over an NVMe tier whose media and index store are in memory, and which can be killed,
// lose power, and start again over what is left.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/device_faulty.h"
#include "tests/cache/cache_fixture.h"
#include "tests/tiers/scripted_device.h"
#include "tests/tiers/simulated_store.h"

namespace terrace::testing {

using Op = ScriptedDevice::Op;

class CacheNvmeTest : public CacheTest {
 protected:
  struct Medium {
    Medium(SimulatedDeviceOptions options, Random& random, const FaultyDeviceOptions& faults)
        : device(std::move(options), random), faulty(device, random, faults) {
      faulty.Enable(false);
    }
    SimulatedDevice device;
    FaultyDevice faulty;
    std::unique_ptr<ScriptedDevice> scripted;  // of one run
  };

  CacheNvmeTest() {
    tier_.log.store_id = {3, 4};
    tier_.log.salt = 77;
    tier_.log.segments = 16;
    tier_.log.segment_bytes = 1 << 20;
    tier_.block_bytes_max = 512 << 10;
    cache_options_.arena.capacity_bytes = 4 << 20;
    cache_options_.arena.huge_pages = false;
    cache_options_.policy = "leaf-lru";  // PushOut: what was used longest ago leaves DRAM
  }

  void MakeMedia(std::uint32_t lanes = 1, FaultyDeviceOptions faults = {}) {
    for (std::uint32_t lane = 0; lane < lanes; ++lane) {
      media_.emplace_back(
          SimulatedDeviceOptions{.name = "sim:" + std::to_string(lane),
                                 .size_bytes = tier_.log.segments * tier_.log.segment_bytes},
          random_, faults);
    }
    Start();
  }
  /// A run over what the media and the store hold.
  void Start() {
    auto made = Cache::Create(cache_options_, *registry_, time_.clock());
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    cache_ = std::move(made).value();
    journal_ = std::make_unique<SimulatedJournal>(store_, time_.scheduler(), random_);
    std::vector<nvme::LaneStart> lanes;
    std::vector<const SimulatedDevice*> media;
    for (Medium& medium : media_) {
      media.push_back(&medium.device);
      medium.scripted = std::make_unique<ScriptedDevice>(medium.faulty);
      nvme::LaneStart lane{
          .device = medium.scripted.get(),
          .headers = HeadersOn(medium.device, tier_.log, static_cast<std::uint32_t>(lanes.size()))};
      for (const std::uint32_t segment : unreadable_) {
        lane.headers[segment] = {};
        ++lane.unreadable_headers;
      }
      lanes.push_back(std::move(lane));
    }
    cache_->AttachNvme(tier_, std::move(lanes), *journal_, time_.scheduler());
    cache_->OnDevice([this](const std::string& name, bool online, const std::string& /*why*/) {
      changes_.push_back(name + (online ? " online" : " offline"));
    });
    const Status found = cache_->Recover(store_, ReadsOf(std::move(media)));
    ASSERT_TRUE(found.ok()) << found.ToString();
    ExpectValid();
  }
  /// Ends a run. REQUIRES: no flow is in progress.
  void Close() {
    if (cache_ == nullptr) return;
    time_.Run(cache_->Close());
    ExpectValid();
    cache_.reset();
    journal_.reset();
    for (Medium& medium : media_) medium.scripted.reset();
  }
  void Restart() {
    Settle();
    Close();
    Start();
  }
  /// kill -9: what had not reached device and store never does.
  void Kill() {
    for (Medium& medium : media_) medium.scripted->Die();
    journal_->Kill();
    Close();
    Start();
  }
  void LosePower() {
    for (Medium& medium : media_) medium.device.Crash();
    store_.Crash(random_);
    Kill();
  }
  void TearDown() override {
    if (cache_ == nullptr) return;
    Settle();
    EXPECT_EQ(cache_->FlowsInProgress(), 0u);
    EXPECT_EQ(link_.late_changes(), 0u);
    Close();
  }
  /// Everything that was queued is written.
  void Settle() {
    time_.RunUntil(time_.Now() + kSecond);
    EXPECT_EQ(cache_->Counters().write_queue_bytes, 0u);
    ExpectValid();
  }

  BatchAnswer PutDurable(const Namespace* space, const ChainKeys& chain, std::size_t first,
                         std::size_t count, Nanos timeout = kSecond) {
    ClientCall call = Call(space, chain, first, count, timeout);
    call.request.ack = Ack::kDurable;
    FillSources(call, memory_);
    return time_.Run(cache_->Put(link_, call.request));
  }
  /// Puts other blocks until `chain` is on NVMe only.
  void PushOut(const Namespace* space, const ChainKeys& chain) {
    Settle();
    const std::size_t frames = cache_options_.arena.capacity_bytes / kBlockBytes;
    for (int round = 0; round < 10 && !AllOn(TierKind::kNvme, space, chain); ++round) {
      const ChainKeys other = MakeChain("other" + std::to_string(others_++), frames / 4);
      Put(space, other, 0, other.size());
      Settle();
    }
    EXPECT_TRUE(AllOn(TierKind::kNvme, space, chain));
  }
  bool AllOn(TierKind tier, const Namespace* space, const ChainKeys& chain) {
    const MatchAnswer answer = cache_->Match(SliceOf(*space, chain, 0, chain.size()));
    for (const TierKind found : answer.tiers) {
      if (found != tier) return false;
    }
    return answer.tiers.size() == chain.size();
  }
  std::vector<std::string> Acks(const BatchAnswer& answer) {
    std::vector<std::string> acks;
    for (const BlockAnswer& block : answer.blocks) {
      acks.emplace_back(block.ack == Ack::kDurable ? "durable" : NotDurableName(block.not_durable));
    }
    return acks;
  }
  std::string Got(const Namespace* space, const ChainKeys& chain) {
    return StatusText(Get(space, chain, 0, chain.size()));
  }
  ScriptedDevice& Script(std::size_t lane = 0) {
    return *std::next(media_.begin(), static_cast<std::ptrdiff_t>(lane))->scripted;
  }
  nvme::SegmentLog& Log() { return cache_->nvme()->log(); }

  nvme::NvmeTierOptions tier_;
  CacheOptions cache_options_;
  std::list<Medium> media_;
  std::set<std::uint32_t> unreadable_;  ///< segments of each lane whose header a start cannot read
  SimulatedIndexStore store_;
  std::unique_ptr<SimulatedJournal> journal_;
  std::vector<std::string> changes_;
  int others_ = 0;
};

}  // namespace terrace::testing
