// A terrace::Client without a daemon, linked in place of the real library: blocks are files in the
// folder $TERRACE_FAKE_STORE, so that worker processes share them. $TERRACE_FAKE_FAULT makes it
// misbehave, to see that terrace-replay notices:
//   flip    one bit of a delivered block is wrong
//   short   the last byte of a delivered block is not written
//   other   another block's bytes are delivered
//   tokens  valid_tokens is wrong
//   dead    every 5th call answers kPeerDead
//   doubt   every 7th block of a get or put ends in doubt, and the region never gets quiescent
//   invalid every call but the first few answers kInvalid
//   abort   the process dies in its 20th call
//   nvme    every second block comes from NVMe, and the counters of such a tier rise
//   restart as dead, and from the second Stat on the daemon is another one with blocks on NVMe
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "client/terrace.hpp"

namespace terrace {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string Hex(std::span<const std::byte> key) {
  std::string text;
  for (const std::byte byte : key) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[std::to_integer<unsigned>(byte) >> 4];
    text += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  return text;
}

}  // namespace

class Client::Impl {
 public:
  std::filesystem::path store = Environment("TERRACE_FAKE_STORE");
  std::string fault = Environment("TERRACE_FAKE_FAULT");
  std::map<std::uint32_t, std::vector<std::byte>> regions;
  std::uint64_t block_bytes = 0;
  std::uint64_t calls = 0;
  std::uint64_t blocks = 0;
  std::string last_key;
  int stats = 0;
  std::chrono::steady_clock::time_point second_stat;

  Status Enter() {
    ++calls;
    if (fault == "abort" && calls == 20) std::abort();
    if (fault == "invalid" && calls > 9) return Status::Invalid("fake");
    if ((fault == "dead" || fault == "restart") && calls % 5 == 0)
      return Status(StatusCode::kPeerDead, "fake");
    return Status::Ok();
  }
  [[nodiscard]] std::span<std::byte> Place(const BlockBuffer& buffer) {
    return std::span(regions[buffer.region.value]).subspan(buffer.offset, block_bytes);
  }
  StatusCode Read(const std::string& key, const BlockBuffer& buffer, std::uint32_t& tokens) {
    const std::string from = fault == "other" && !last_key.empty() ? last_key : key;
    std::ifstream file(store / from, std::ios::binary);
    if (!file) return StatusCode::kMiss;
    last_key = key;
    const std::span<std::byte> place = Place(buffer);
    file.read(reinterpret_cast<char*>(&tokens), sizeof tokens);
    const std::size_t bytes = place.size() - (fault == "short" ? 1 : 0);
    file.read(reinterpret_cast<char*>(place.data()), static_cast<std::streamsize>(bytes));
    if (fault == "flip") place[4097] ^= std::byte{16};
    if (fault == "tokens") --tokens;
    return StatusCode::kOk;
  }
  StatusCode Write(const std::string& key, const BlockBuffer& buffer) {
    if (std::filesystem::exists(store / key)) return StatusCode::kExists;
    const std::filesystem::path part =
        store / (key + "." + std::to_string(getpid()) + "." + std::to_string(calls) + ".part");
    std::ofstream file(part, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&buffer.valid_tokens), sizeof buffer.valid_tokens);
    const std::span<std::byte> place = Place(buffer);
    file.write(reinterpret_cast<const char*>(place.data()),
               static_cast<std::streamsize>(place.size()));
    file.close();
    std::filesystem::rename(part, store / key);
    return StatusCode::kOk;
  }
  bool InDoubt() { return fault == "doubt" && ++blocks % 7 == 0; }
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

Result<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  if (options.address == "127.0.0.1:1") return Status(StatusCode::kPeerDead, "fake");
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>()));
}

Result<NamespaceId> Client::OpenNamespace(const NamespaceDescriptor& descriptor, Deadline) {
  impl_->block_bytes = descriptor.groups.at(0).block_bytes;
  return NamespaceId{1};
}

Result<RegionId> Client::AllocateRegion(std::uint64_t length) {
  const auto id = static_cast<std::uint32_t>(impl_->regions.size() + 1);
  impl_->regions[id].resize(length);
  return RegionId{id};
}
Result<RegionId> Client::RegisterMemory(void*, std::uint64_t) {
  return Status(StatusCode::kUnsupported);
}
std::span<std::byte> Client::RegionMemory(RegionId region) const {
  return impl_->regions[region.value];
}
Status Client::DeregisterMemory(RegionId) { return Status::Ok(); }
Status Client::Quiesce(RegionId, Deadline) { return Status(StatusCode::kTimeout); }

Result<MatchResult> Client::Match(NamespaceId, const Chain& chain, BlockKind, Deadline) {
  Status status = impl_->Enter();
  if (!status.ok()) return status;
  MatchResult result;
  while (result.matched < chain.size() &&
         std::filesystem::exists(impl_->store / Hex(chain.key(result.matched)))) {
    ++result.matched;
    result.tiers.push_back(Tier::kDram);
  }
  return result;
}

Result<std::vector<BlockResult>> Client::Get(NamespaceId, const Chain& chain,
                                             std::span<const BlockBuffer> blocks, BlockKind,
                                             Deadline) {
  Status status = impl_->Enter();
  if (!status.ok()) return status;
  std::vector<BlockResult> results;
  for (const BlockBuffer& buffer : blocks) {
    BlockResult& result = results.emplace_back();
    const bool nvme = impl_->fault == "nvme" && results.size() % 2 == 0;
    result.tier = nvme ? Tier::kNvme : Tier::kDram;
    result.status = impl_->InDoubt()
                        ? StatusCode::kInDoubt
                        : impl_->Read(Hex(chain.key(buffer.position)), buffer, result.valid_tokens);
  }
  return results;
}

Result<std::vector<BlockResult>> Client::Put(NamespaceId, const Chain& chain,
                                             std::span<const BlockBuffer> blocks, BlockKind,
                                             Deadline, Ack) {
  Status status = impl_->Enter();
  if (!status.ok()) return status;
  std::vector<BlockResult> results;
  for (const BlockBuffer& buffer : blocks) {
    results.emplace_back().status = impl_->Write(Hex(chain.key(buffer.position)), buffer);
  }
  return results;
}

Status Client::WaitForCompletion(Deadline) { return Status(StatusCode::kTimeout); }
Result<std::vector<Sample>> Client::Stat(Deadline) {
  const auto now = std::chrono::steady_clock::now();
  if (impl_->stats++ == 1) impl_->second_stat = now;
  std::vector<Sample> samples = {{"terrace_tier_capacity_bytes", "tier=\"dram\"", 1e12},
                                 {"terrace_reactors", "", 1}};
  if (impl_->fault != "nvme" && impl_->fault != "restart") return samples;
  const auto stats = static_cast<double>(impl_->stats);
  samples.push_back({"terrace_tier_capacity_bytes", "tier=\"nvme\"", 1ULL << 30});
  samples.push_back({"terrace_tier_used_bytes", "tier=\"nvme\"", 70 * 12288});
  samples.push_back({"terrace_tier_blocks", "tier=\"nvme\"", 70});
  samples.push_back({"terrace_tier_blocks", "tier=\"dram\"", 7});
  samples.push_back({"terrace_nvme_blocks_written_total", "reason=\"put\"", 20 * stats});
  samples.push_back({"terrace_nvme_blocks_written_total", "reason=\"reinsert\"", 3 * stats});
  samples.push_back({"terrace_nvme_device_written_bytes_total", "device=\"0\"", 5000 * stats});
  samples.push_back({"terrace_nvme_device_written_bytes_total", "device=\"1\"", 5000 * stats});
  const std::chrono::duration<double> uptime = now - impl_->second_stat;
  const bool restarted = impl_->fault == "restart" && impl_->stats > 1;
  samples.push_back({"terrace_process_uptime_seconds", "", restarted ? uptime.count() : 1000});
  return samples;
}
Result<std::uint64_t> Client::ClearNamespace(std::string_view, Deadline) {
  return Status(StatusCode::kMiss);
}
std::string Client::LinkName() const { return "fake"; }
std::uint64_t Client::Reconnects() const {
  return impl_->fault == "dead" || impl_->fault == "restart" ? 1 : 0;
}

}  // namespace terrace
