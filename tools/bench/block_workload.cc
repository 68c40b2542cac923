#include "tools/bench/block_workload.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace terrace::bench {

namespace {
constexpr auto kCallMax = std::chrono::seconds(30);
}  // namespace

void Require(const Status& status, const std::string& what) {
  if (status.ok()) return;
  std::fprintf(stderr, "terrace-bench: %s: %s\n", what.c_str(), status.ToString().c_str());
  std::exit(1);
}

NamespaceDescriptor BenchNamespace(std::uint64_t block_bytes) {
  NamespaceDescriptor descriptor;
  descriptor.name = "bench-" + std::to_string(block_bytes);
  descriptor.model = "terrace-bench";
  descriptor.layout = "flat";
  descriptor.block_tokens = 512;
  descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = block_bytes}};
  return descriptor;
}

std::array<std::uint64_t, 4> BenchKey(std::uint32_t position, std::uint64_t salt) noexcept {
  std::array<std::uint64_t, 4> words{};
  for (std::uint64_t word = 0; word < words.size(); ++word) {
    words[word] = (salt << 32 | (position * 4ULL + word + 1)) * 0x9e3779b97f4a7c15ULL;
  }
  return words;
}

Chain BenchChain(std::uint32_t count, std::uint64_t salt) {
  Chain chain;
  for (std::uint32_t position = 0; position < count; ++position) {
    const auto key = BenchKey(position, salt);
    Require(chain.Append(std::as_bytes(std::span(key))), "chain");
  }
  return chain;
}

BlockWorkload::BlockWorkload(Client& client, std::uint64_t block_bytes, std::uint64_t cold_bytes)
    : client_(client),
      block_bytes_(block_bytes),
      blocks_(static_cast<std::uint32_t>(cold_bytes / block_bytes)),
      descriptor_(BenchNamespace(block_bytes)),
      chain_(BenchChain(blocks_)) {
  const Result<NamespaceId> space = client_.OpenNamespace(descriptor_, In(kCallMax));
  Require(space.status(), "open namespace");
  space_ = *space;
  const Result<RegionId> region = client_.AllocateRegion(cold_bytes);
  Require(region.status(), "allocate region");
  region_ = *region;
  const std::span<std::byte> memory = client_.RegionMemory(region_);
  for (std::uint64_t offset = 0; offset < memory.size(); offset += 4096) {
    std::memcpy(memory.data() + offset, &offset, sizeof offset);
  }
  Move(0, blocks_, std::max(1U, static_cast<std::uint32_t>((32U << 20) / block_bytes_)), true);
}

BlockWorkload::~BlockWorkload() {
  Require(client_.ClearNamespace(descriptor_.name, In(kCallMax)).status(), "clear namespace");
  Require(client_.DeregisterMemory(region_), "deregister memory");
}

double BlockWorkload::Move(std::uint32_t first, std::uint32_t count, std::uint32_t per_call,
                           bool put) {
  std::vector<BlockBuffer> buffers;
  double seconds = 0;
  for (std::uint32_t begin = first; begin < first + count; begin += per_call) {
    const std::uint32_t end = std::min(begin + per_call, first + count);
    buffers.clear();
    for (std::uint32_t position = begin; position < end; ++position) {
      buffers.push_back(
          {.position = position, .region = region_, .offset = position * block_bytes_});
    }
    const auto started = std::chrono::steady_clock::now();
    const auto results = put ? client_.Put(space_, chain_, buffers, {}, In(kCallMax))
                             : client_.Get(space_, chain_, buffers, {}, In(kCallMax));
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    Require(results.status(), put ? "put" : "get");
    for (const BlockResult& result : *results) {
      Require(Status(result.status, "of a block"), put ? "put" : "get");
    }
  }
  return seconds;
}

std::uint32_t BlockWorkload::NextBurst(std::uint64_t burst_bytes) {
  const auto count = static_cast<std::uint32_t>(burst_bytes / block_bytes_);
  if (cursor_ + count > blocks_) cursor_ = 0;
  const std::uint32_t first = cursor_;
  cursor_ += count;
  return first;
}

double BlockWorkload::Get(std::uint64_t burst_bytes, std::uint64_t call_bytes) {
  const auto count = static_cast<std::uint32_t>(burst_bytes / block_bytes_);
  const std::uint32_t first = NextBurst(burst_bytes);
  const auto per_call = static_cast<std::uint32_t>(call_bytes / block_bytes_);
  return static_cast<double>(burst_bytes) / Move(first, count, per_call, false) / 1e9;
}

double BlockWorkload::Put(std::uint64_t burst_bytes, std::uint64_t call_bytes) {
  const auto count = static_cast<std::uint32_t>(burst_bytes / block_bytes_);
  const std::uint32_t first = NextBurst(burst_bytes);
  Require(client_.Remove(space_, chain_, first, count, {}, In(kCallMax)).status(), "remove");
  const auto per_call = static_cast<std::uint32_t>(call_bytes / block_bytes_);
  return static_cast<double>(burst_bytes) / Move(first, count, per_call, true) / 1e9;
}

}  // namespace terrace::bench
