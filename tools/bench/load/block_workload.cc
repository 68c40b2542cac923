#include "tools/bench/load/block_workload.h"

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

BenchStore::BenchStore(Client& the_client, std::uint64_t block_bytes, std::uint64_t cold_bytes)
    : client(the_client),
      blocks(static_cast<std::uint32_t>(cold_bytes / block_bytes)),
      chain(BenchChain(blocks)),
      name_(BenchNamespace(block_bytes).name) {
  const Result<NamespaceId> opened =
      client.OpenNamespace(BenchNamespace(block_bytes), In(kCallMax));
  Require(opened.status(), "open namespace");
  space = *opened;
  const Result<RegionId> allocated = client.AllocateRegion(cold_bytes);
  Require(allocated.status(), "allocate region");
  region = *allocated;
}

BenchStore::~BenchStore() {
  Require(client.ClearNamespace(name_, In(kCallMax)).status(), "clear namespace");
  Require(client.DeregisterMemory(region), "deregister memory");
}

std::uint32_t BenchStore::Next(std::uint32_t count) {
  if (cursor_ + count > blocks) cursor_ = 0;
  const std::uint32_t first = cursor_;
  cursor_ += count;
  return first;
}

void BenchStore::Forget(std::uint32_t first, std::uint32_t count) {
  Require(client.Remove(space, chain, first, count, {}, In(kCallMax)).status(), "remove");
}

void RequireAll(const Result<std::vector<BlockResult>>& results, const std::string& what) {
  Require(results.status(), what);
  for (const BlockResult& result : *results) Require(Status(result.status, "of a block"), what);
}

BlockWorkload::BlockWorkload(Client& client, std::uint64_t block_bytes, std::uint64_t cold_bytes)
    : block_bytes_(block_bytes), store_(client, block_bytes, cold_bytes) {
  const std::span<std::byte> memory = client.RegionMemory(store_.region);
  for (std::uint64_t offset = 0; offset < memory.size(); offset += 4096) {
    std::memcpy(memory.data() + offset, &offset, sizeof offset);
  }
  Move(0, store_.blocks, std::max(1U, static_cast<std::uint32_t>((32U << 20) / block_bytes_)),
       true);
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
          {.position = position, .region = store_.region, .offset = position * block_bytes_});
    }
    const auto started = std::chrono::steady_clock::now();
    const auto results =
        put ? store_.client.Put(store_.space, store_.chain, buffers, {}, In(kCallMax))
            : store_.client.Get(store_.space, store_.chain, buffers, {}, In(kCallMax));
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    RequireAll(results, put ? "put" : "get");
  }
  return seconds;
}

double BlockWorkload::Get(std::uint64_t burst_bytes, std::uint64_t call_bytes) {
  const auto count = static_cast<std::uint32_t>(burst_bytes / block_bytes_);
  const auto per_call = static_cast<std::uint32_t>(call_bytes / block_bytes_);
  return static_cast<double>(burst_bytes) / Move(store_.Next(count), count, per_call, false) / 1e9;
}

double BlockWorkload::Put(std::uint64_t burst_bytes, std::uint64_t call_bytes) {
  const auto count = static_cast<std::uint32_t>(burst_bytes / block_bytes_);
  const std::uint32_t first = store_.Next(count);
  store_.Forget(first, count);
  const auto per_call = static_cast<std::uint32_t>(call_bytes / block_bytes_);
  return static_cast<double>(burst_bytes) / Move(first, count, per_call, true) / 1e9;
}

}  // namespace terrace::bench
