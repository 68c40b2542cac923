#include "tools/bench/load/nvme_workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/checksum.h"
#include "base/random.h"
#include "tools/bench/load/block_workload.h"

namespace terrace::bench {

namespace {

constexpr auto kCallMax = std::chrono::seconds(30);
constexpr std::uint64_t kPageBytes = 4096;
constexpr double kNvmeShareMin = 0.95;
constexpr std::uint64_t kOrderSeed = 7;

std::vector<std::uint32_t> RandomOrder(std::uint32_t count) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  SeededRandom random(kOrderSeed);
  for (std::uint32_t left = count; left > 1; --left) {
    std::swap(order[left - 1], order[random.Below(left)]);
  }
  return order;
}

}  // namespace

std::string NvmeTally::Text() const {
  std::string text;
  const auto add = [&text](std::uint64_t count, std::uint64_t of, std::string_view what) {
    if (count == 0) return;
    text += fmt::format("{}{} of {} {}", text.empty() ? "" : ", ", count, of, what);
  };
  add(from_dram, gets, "gets came from DRAM");
  add(missed, gets, "gets missed");
  add(get_failures, gets, "gets failed");
  for (int code = 0; code < kStatusCodeCount; ++code) {
    add(put_statuses[static_cast<std::size_t>(code)], puts,
        "puts answered " + std::string(StatusCodeName(static_cast<StatusCode>(code))));
  }
  for (int reason = 0; reason < kNotDurableCount; ++reason) {
    add(not_durable[static_cast<std::size_t>(reason)], puts,
        "puts were not durable: " + std::string(NotDurableName(static_cast<NotDurable>(reason))));
  }
  return text.empty() ? text : text + " (not counted as speed)";
}

NvmeWorkload::NvmeWorkload(Client& client, NvmeWorkloadOptions options)
    : client_(client),
      options_(std::move(options)),
      blocks_(static_cast<std::uint32_t>(options_.set_bytes / options_.block_bytes)),
      burst_(static_cast<std::uint32_t>(options_.burst_bytes / options_.block_bytes)),
      put_(static_cast<std::uint32_t>(options_.put_bytes / options_.block_bytes)),
      order_(RandomOrder(blocks_)),
      checksums_(blocks_),
      times_put_(blocks_) {
  NamespaceDescriptor descriptor = BenchNamespace(options_.block_bytes);
  descriptor.name = options_.name;
  const Result<NamespaceId> space = client_.OpenNamespace(descriptor, In(kCallMax));
  Require(space.status(), "open namespace");
  space_ = *space;
  const Result<RegionId> region = client_.AllocateRegion(options_.memory_bytes);
  Require(region.status(), "allocate region");
  region_ = *region;
  BuildChain();
}

NvmeWorkload::~NvmeWorkload() {
  Require(client_.ClearNamespace(options_.name, In(kCallMax)).status(), "clear namespace");
  Require(client_.DeregisterMemory(region_), "deregister memory");
}

void NvmeWorkload::BuildChain() {
  chain_.clear();
  for (std::uint32_t position = 0; position < blocks_; ++position) {
    const auto key = BenchKey(position, times_put_[position]);
    Require(chain_.Append(std::as_bytes(std::span(key))), "chain");
  }
}

std::vector<BlockBuffer> NvmeWorkload::PlaceBurst(std::span<const std::uint32_t> positions) {
  std::vector<BlockBuffer> blocks;
  blocks.reserve(positions.size());
  for (const std::uint32_t position : positions) {
    if (memory_cursor_ + options_.block_bytes > options_.memory_bytes) memory_cursor_ = 0;
    blocks.push_back({.position = position, .region = region_, .offset = memory_cursor_});
    memory_cursor_ += options_.block_bytes;
  }
  return blocks;
}

std::span<std::byte> NvmeWorkload::BytesOf(const BlockBuffer& block) {
  return client_.RegionMemory(region_).subspan(block.offset, options_.block_bytes);
}

void NvmeWorkload::Compose(const BlockBuffer& block) {
  const std::span<std::byte> bytes = BytesOf(block);
  const std::uint64_t times = ++times_put_[block.position];
  for (std::uint64_t offset = 0; offset < bytes.size(); offset += kPageBytes) {
    // Block, time and page: another block's bytes, or stale ones, differ in every page.
    const std::uint64_t words[] = {block.position, times, offset};
    std::memcpy(bytes.data() + offset, words, sizeof words);
  }
  checksums_[block.position] = Checksum64(bytes);
}

void NvmeWorkload::Verify(std::uint32_t position, std::uint64_t checksum,
                          const BlockResult& result) {
  if (result.status != StatusCode::kOk || checksum == checksums_[position]) return;
  Require(Status(StatusCode::kCorrupt, "WRONG BYTES in block " + std::to_string(position) + " of " +
                                           options_.name + " from " +
                                           std::string(TierName(result.tier))),
          "get");
}

std::uint64_t NvmeWorkload::CountGets(const PipelineRun& run) {
  std::uint64_t counted = 0;
  for (const BlockResult& result : run.results) {
    ++tally_.gets;
    if (result.status == StatusCode::kMiss) {
      ++tally_.missed;
    } else if (result.status != StatusCode::kOk) {
      ++tally_.get_failures;
    } else if (result.tier != Tier::kNvme) {
      ++tally_.from_dram;
    } else {
      ++counted;
    }
  }
  return counted;
}

std::uint64_t NvmeWorkload::CountPuts(const PipelineRun& run) {
  std::uint64_t counted = 0;
  for (const BlockResult& result : run.results) {
    ++tally_.puts;
    if (result.status != StatusCode::kOk) {
      ++tally_.put_statuses[static_cast<std::size_t>(result.status)];
    } else if (result.ack != Ack::kDurable) {
      ++tally_.not_durable[static_cast<std::size_t>(result.not_durable)];
    } else {
      ++counted;
    }
  }
  tally_.durable_bytes += counted * options_.block_bytes;
  return counted;
}

NvmeBurst NvmeWorkload::BurstOf(const PipelineRun& run, std::uint64_t counted) const {
  NvmeBurst burst;
  burst.latencies_s = run.latencies_s;
  burst.cpu = run.cpu;
  const auto asked = static_cast<double>(run.results.size());
  if (static_cast<double>(counted) < kNvmeShareMin * asked) return burst;
  burst.rate = static_cast<double>(counted * options_.block_bytes) / run.seconds / 1e9;
  return burst;
}

NvmeBurst NvmeWorkload::Put() {
  if (put_cursor_ + put_ > blocks_) put_cursor_ = 0;
  std::vector<std::uint32_t> positions(put_);
  std::iota(positions.begin(), positions.end(), put_cursor_);
  put_cursor_ += put_;
  const std::vector<BlockBuffer> blocks = PlaceBurst(positions);
  for (const BlockBuffer& block : blocks) Compose(block);
  BuildChain();
  const PipelineRun run = RunPipeline({client_, space_, chain_}, blocks, PipelineKind::kPutDurable,
                                      PutDepth(options_.block_bytes));
  return BurstOf(run, CountPuts(run));
}

void NvmeWorkload::FillSet() {
  while (std::ranges::find(times_put_, 0U) != times_put_.end()) Put();
}

void NvmeWorkload::RefillSet() {
  put_cursor_ = 0;
  for (std::uint32_t done = 0; done < blocks_; done += put_) Put();
}

std::vector<BlockBuffer> NvmeWorkload::NextGets() {
  if (get_cursor_ + burst_ > blocks_) get_cursor_ = 0;
  std::vector<BlockBuffer> blocks = PlaceBurst(std::span(order_).subspan(get_cursor_, burst_));
  get_cursor_ += burst_;
  return blocks;
}

NvmeBurst NvmeWorkload::Lend() {
  const std::vector<BlockBuffer> blocks = NextGets();
  PipelineRun run = RunPipeline({client_, space_, chain_}, blocks, PipelineKind::kLend, kDepth);
  for (PipelineRun::Kept& kept : run.kept) {
    BlockResult& result = run.results[kept.index];
    const std::uint64_t checksum = Checksum64(kept.block.bytes());
    result.status = kept.block.Release();
    Verify(blocks[kept.index].position, checksum, result);
  }
  return BurstOf(run, CountGets(run));
}

NvmeBurst NvmeWorkload::Get() {
  const std::vector<BlockBuffer> blocks = NextGets();
  for (const BlockBuffer& block : blocks) std::memset(BytesOf(block).data(), 0xee, kPageBytes);
  const PipelineRun run =
      RunPipeline({client_, space_, chain_}, blocks, PipelineKind::kGet, kDepth);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    Verify(blocks[i].position, Checksum64(BytesOf(blocks[i])), run.results[i]);
  }
  return BurstOf(run, CountGets(run));
}

}  // namespace terrace::bench
