// A cache with GPUs (doubles) beside it, over an NVMe tier or over nothing.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/cache/cache_nvme_fixture.h"
#include "tiers/hbm/hbm_tier.h"
#include "tiers/hbm/host_device_memory.h"

namespace terrace::testing {

/// Base: CacheNvmeTest, or CacheTest.
template <typename Base>
class OverHbm : public Base {
 protected:
  void AddGpus(std::size_t gpus, std::uint64_t pool_bytes, bool lendable = false) {
    std::vector<HbmTier*> tiers;
    for (std::size_t i = 0; i < gpus; ++i) {
      devices_.push_back(std::make_unique<HostDeviceMemory>(
          HostDeviceOptions{.name = "gpu " + std::to_string(i)}));
      auto tier = HbmTier::Create(
          *devices_.back(), {.capacity_bytes = pool_bytes, .copies = {}, .lendable = lendable});
      ASSERT_TRUE(tier.ok()) << tier.status().ToString();
      tiers_.push_back(std::move(*tier));
      tiers.push_back(tiers_.back().get());
    }
    const Status attached = this->cache_->AttachHbm(tiers);
    ASSERT_TRUE(attached.ok()) << attached.ToString();
    this->cache_->OnGpuLost([this](const std::string& name, const std::string& why) {
      lost_.push_back(name + ": " + why);
    });
  }
  /// In this order: the tiers have the arena pinned.
  void TearDown() override {
    if (this->cache_ == nullptr) return;
    Wait();
    EXPECT_EQ(this->link_.late_changes(), 0u);
    this->time_.Run(this->cache_->Close());
    EXPECT_TRUE(this->cache_->Closed().ok()) << this->cache_->Closed().ToString();
    EndHbm();
  }
  /// REQUIRES: the cache is closed.
  void EndHbm() {
    this->ExpectValid();
    EXPECT_EQ(this->cache_->arena().Pins(), 0u);
    for (const auto& tier : tiers_) EXPECT_EQ(tier->Stats().frames, 0u);
    tiers_.clear();
    for (const auto& device : devices_) EXPECT_EQ(device->pinned_ranges(), 0u);
    this->cache_.reset();
  }
  /// Until what goes on in the background has ended.
  void Wait() {
    this->time_.RunUntil(this->time_.Now() + kSecond);
    this->ExpectValid();
  }

  /// Puts a chain and uses it until it has copies.
  ChainKeys PutAndUse(const Namespace* space, const std::string& name, std::size_t blocks) {
    ChainKeys chain = MakeChain(name, blocks);
    this->Put(space, chain, 0, blocks);
    Wait();
    for (int use = 0; use < 3; ++use) {
      this->Get(space, chain, 0, blocks);
      Wait();
    }
    return chain;
  }
  /// Puts other blocks until the chain has left DRAM.
  void LeaveDram(const Namespace* space, const ChainKeys& chain) {
    Wait();
    for (int round = 0; round < 20 && AnyOn(TierKind::kDram, space, chain); ++round) {
      const ChainKeys other = MakeChain("filler" + std::to_string(fillers_++), 16);
      this->Put(space, other, 0, other.size());
      Wait();
    }
    EXPECT_FALSE(AnyOn(TierKind::kDram, space, chain));
  }
  bool AnyOn(TierKind tier, const Namespace* space, const ChainKeys& chain) {
    const MatchAnswer answer = this->cache_->Match(SliceOf(*space, chain, 0, chain.size()));
    return std::ranges::count(answer.tiers, tier) > 0;
  }
  /// "hbm hbm dram" of the leading blocks that a match finds.
  std::string Found(const Namespace* space, const ChainKeys& chain) {
    return Names(this->cache_->Match(SliceOf(*space, chain, 0, chain.size())).tiers);
  }
  /// "ok:hbm miss:device" of a get; fails the test on a wrong byte.
  std::string GotFrom(const Namespace* space, const ChainKeys& chain) {
    std::string text;
    for (const BlockAnswer& block : this->Get(space, chain, 0, chain.size()).blocks) {
      if (!text.empty()) text += ' ';
      const bool ok = block.status == StatusCode::kOk;
      text += std::string(StatusCodeName(block.status)) + ':' +
              std::string(ok ? TierName(block.tier) : MissReasonName(block.reason));
    }
    return text;
  }
  [[nodiscard]] std::uint64_t Copies() const { return this->cache_->Counters().blocks_hbm; }

  std::vector<std::unique_ptr<HostDeviceMemory>> devices_;
  std::vector<std::unique_ptr<HbmTier>> tiers_;
  std::vector<std::string> lost_;
  int fillers_ = 0;

 private:
  static std::string Names(const std::vector<TierKind>& tiers) {
    std::string text;
    for (const TierKind tier : tiers)
      text += (text.empty() ? "" : " ") + std::string(TierName(tier));
    return text;
  }
};

}  // namespace terrace::testing
