#include "cache/load_estimate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "base/counter.h"
#include "base/load_time.h"

namespace terrace {

namespace {

// Before the first block has moved. Of a machine of today, and soon forgotten.
constexpr TransferMeter::Rate kSameHostPrior = {.latency_s = 30e-6, .bytes_per_s = 4e9};
constexpr TransferMeter::Rate kTcpPrior = {.latency_s = 150e-6, .bytes_per_s = 1e9};
constexpr TransferMeter::Rate kRdmaPrior = {.latency_s = 30e-6, .bytes_per_s = 10e9};
constexpr TransferMeter::Rate kDevicePrior = {.latency_s = 100e-6, .bytes_per_s = 2e9};

std::uint32_t Microseconds(double seconds) {
  constexpr double kMost = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::min(std::max(seconds, 0.0) * 1e6, kMost));
}

LoadSource SourceOf(TierKind tier, const TransferMeter::Rate& rate, std::uint64_t queue_bytes) {
  return {.tier = tier,
          .bytes_per_s = static_cast<std::uint64_t>(rate.bytes_per_s),
          .queue_us = Microseconds(static_cast<double>(queue_bytes) / rate.bytes_per_s),
          .latency_us = Microseconds(rate.latency_s)};
}

}  // namespace

LoadEstimate::LoadEstimate(Clock& clock, LoadCounters& counters)
    : clock_(clock), counters_(counters) {
  kinds_.fill(kTcpPrior);
  kinds_[static_cast<std::size_t>(LinkKind::kShm)] = kSameHostPrior;
  kinds_[static_cast<std::size_t>(LinkKind::kRdma)] = kRdmaPrior;
}

void LoadEstimate::AddDevices(std::uint32_t count, std::uint64_t read_bytes_per_s) {
  TransferMeter::Rate prior = kDevicePrior;
  if (read_bytes_per_s > 0) {
    prior.bytes_per_s = std::min(prior.bytes_per_s, static_cast<double>(read_bytes_per_s));
  }
  devices_.resize(devices_.size() + count, Device{.meter = TransferMeter(prior)});
  ShowDevices();
}

TransferMeter::Rate LoadEstimate::PriorOf(LinkKind kind) const {
  return kinds_[static_cast<std::size_t>(kind)];
}

std::vector<LoadSource> LoadEstimate::Sources(const Link& link) const {
  const Nanos now = clock_.Now();
  std::vector<LoadSource> sources;
  sources.reserve(devices_.size() + 1);
  const Link::Load& load = link.load();
  sources.push_back(SourceOf(TierKind::kDram,
                             load.meter ? load.meter->Expected(now) : PriorOf(link.kind()),
                             load.waiting_bytes));
  for (const Device& device : devices_) {
    sources.push_back(SourceOf(TierKind::kNvme, device.meter.Expected(now),
                               device.waiting_bytes + device.reading_bytes));
  }
  return sources;
}

void LoadEstimate::BeginPush(Link& link) {
  std::optional<TransferMeter>& meter = link.load().meter;
  if (!meter) meter.emplace(PriorOf(link.kind()));
  meter->Begin(clock_.Now());
}

void LoadEstimate::EndPush(Link& link, std::uint64_t bytes) {
  TransferMeter& meter = *link.load().meter;
  const std::uint64_t before = meter.samples();
  const Nanos now = clock_.Now();
  meter.End(now, bytes);
  if (meter.samples() == before) return;
  const TransferMeter::Rate rate = meter.Expected(now);
  kinds_[static_cast<std::size_t>(link.kind())] = rate;
  counters_.link_bytes_per_s.store(static_cast<std::uint64_t>(rate.bytes_per_s),
                                   std::memory_order_relaxed);
  counters_.link_latency_us.store(Microseconds(rate.latency_s), std::memory_order_relaxed);
}

void LoadEstimate::BeginRead(std::uint32_t device, std::uint64_t bytes) {
  devices_[device].reading_bytes += bytes;
  devices_[device].meter.Begin(clock_.Now());
}

void LoadEstimate::EndRead(std::uint32_t device, std::uint64_t bytes, bool came) {
  Device& its = devices_[device];
  TERRACE_CHECK(its.reading_bytes >= bytes);
  its.reading_bytes -= bytes;
  const std::uint64_t before = its.meter.samples();
  its.meter.End(clock_.Now(), came ? bytes : 0);
  if (its.meter.samples() != before) ShowDevices();
}

void LoadEstimate::ShowDevices() {
  if (devices_.empty()) return;
  const Nanos now = clock_.Now();
  double bytes_per_s = 0;
  double latency_s = 0;
  for (const Device& device : devices_) {
    const TransferMeter::Rate rate = device.meter.Expected(now);
    bytes_per_s += rate.bytes_per_s;
    latency_s += rate.latency_s / static_cast<double>(devices_.size());
  }
  counters_.nvme_bytes_per_s.store(static_cast<std::uint64_t>(bytes_per_s),
                                   std::memory_order_relaxed);
  counters_.nvme_latency_us.store(Microseconds(latency_s), std::memory_order_relaxed);
}

void LoadEstimate::AddWaiting(std::uint8_t source, std::uint64_t bytes) {
  devices_[source - 1U].waiting_bytes += bytes;
}

void LoadEstimate::TakeWaiting(std::uint8_t source, std::uint64_t bytes) {
  TERRACE_CHECK(devices_[source - 1U].waiting_bytes >= bytes);
  devices_[source - 1U].waiting_bytes -= bytes;
}

void LoadEstimate::Compare(TierKind slowest, double predicted_seconds, double actual_seconds) {
  LoadCounters::Predictions& noted = slowest == TierKind::kNvme ? counters_.nvme : counters_.dram;
  const double ratio = actual_seconds / std::max(predicted_seconds, 1e-6);
  const auto at = static_cast<std::size_t>(std::ranges::lower_bound(kLoadRatioEnds, ratio) -
                                           kLoadRatioEnds.begin());
  constexpr double kErrorMax = 1e6;  // what was held up for minutes must not hide all others
  Count(noted.by_ratio[at]);
  Count(noted.count);
  Count(noted.error_millionths,
        static_cast<std::uint64_t>(std::min(std::abs(ratio - 1), kErrorMax) * 1e6));
  Count(noted.predicted_us, Microseconds(predicted_seconds));
  Count(noted.actual_us, Microseconds(actual_seconds));
}

GetLoads::GetLoads(LoadEstimate& estimate, Link& link, std::size_t blocks)
    : estimate_(estimate), link_(link), blocks_(blocks) {}

GetLoads::~GetLoads() {
  for (std::size_t index = 0; index < blocks_.size(); ++index) OnEnd(index);
}

void GetLoads::Add(std::size_t index, std::uint8_t source, std::uint64_t block_bytes,
                   std::uint64_t moved_bytes) {
  blocks_[index] = {.device_source = source,
                    .device_bytes = source == 0 ? 0 : block_bytes,
                    .link_bytes = moved_bytes};
  largest_ = std::max(largest_, block_bytes);
  whole_ = whole_ && moved_bytes == block_bytes;
  if (slowest_ != TierKind::kNvme) slowest_ = source == 0 ? TierKind::kDram : TierKind::kNvme;
}

void GetLoads::Predict() {
  started_ = estimate_.Now();
  const std::vector<LoadSource> sources = estimate_.Sources(link_);
  std::vector<std::uint64_t> bytes(sources.size());
  for (const Block& block : blocks_) {
    bytes[block.device_source] += block.device_source == 0 ? block.link_bytes : block.device_bytes;
    if (block.device_source != 0) {
      estimate_.AddWaiting(block.device_source, block.device_bytes);
    }
    link_.load().waiting_bytes += block.link_bytes;
  }
  predicted_ = LoadSeconds(sources, bytes, largest_);
}

void GetLoads::OnRead(std::size_t index) {
  Block& block = blocks_[index];
  if (block.device_source == 0) return;
  estimate_.TakeWaiting(block.device_source, block.device_bytes);
  block.device_source = 0;
}

void GetLoads::OnEnd(std::size_t index) {
  OnRead(index);
  Block& block = blocks_[index];
  TERRACE_CHECK(link_.load().waiting_bytes >= block.link_bytes);
  link_.load().waiting_bytes -= block.link_bytes;
  block.link_bytes = 0;
}

void GetLoads::OnAllCame() {
  if (!whole_ || predicted_ <= 0) return;
  estimate_.Compare(slowest_, predicted_, static_cast<double>(estimate_.Now() - started_) * 1e-9);
}

}  // namespace terrace
