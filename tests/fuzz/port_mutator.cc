// port_mutator: connections that go wrong, thrown at the ports of a real daemon, and now and then a
// look whether it is still what it was: alive, serving the right bytes, holding nothing.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <thread>

#include "client/terrace.hpp"
#include "tests/fuzz/hostile_client.h"
#include "tests/fuzz/hostile_plane.h"
#include "tests/fuzz/mutator_daemon.h"

namespace terrace::fuzz {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 10s;
/// Until the daemon must have let go of what hostile clients left. A TCP client that said hello and
/// opened no data plane is closed after client_timeout_ms.
constexpr auto kSettleTime = 30s;
/// What the arena (64 MiB) and RocksDB touch only in time, and what ASan keeps of freed memory.
#if defined(__has_feature) && __has_feature(address_sanitizer)
constexpr std::size_t kMemoryGrowthMib = 768;
#else
constexpr std::size_t kMemoryGrowthMib = 128;
#endif
constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::uint32_t kBlocks = 8;

/// What must not grow.
struct Holdings {
  double connections = 0, frames_in_doubt = 0, lent = 0;
  std::size_t descriptors = 0, memory_mib = 0;
  // These may grow: they tell what the hostile clients reached. Nobody else borrows.
  double malformed = 0, leases_granted = 0;
  [[nodiscard]] bool AtMost(const Holdings& most) const {
    return connections <= most.connections && frames_in_doubt <= most.frames_in_doubt &&
           lent <= most.lent && descriptors <= most.descriptors && memory_mib <= most.memory_mib;
  }
  [[nodiscard]] std::string ToString() const {
    return std::to_string(static_cast<int>(connections)) + " connections, " +
           std::to_string(static_cast<int>(frames_in_doubt)) + " quarantined frames, " +
           std::to_string(static_cast<int>(lent)) + " lent blocks, " + std::to_string(descriptors) +
           " descriptors, " + std::to_string(memory_mib) + " MiB; " +
           std::to_string(static_cast<int>(malformed)) + " messages were malformed, " +
           std::to_string(static_cast<int>(leases_granted)) + " blocks were lent";
  }
};

/// A client that does nothing wrong, and to which nothing wrong may happen.
class HonestClient {
 public:
  static Result<std::unique_ptr<HonestClient>> Connect(const std::string& address,
                                                       LinkChoice link) {
    ClientOptions options;
    options.address = address;
    options.tenant = "honest";
    options.link = link;
    options.connect_timeout = kPatience;
    auto client = Client::Connect(options);
    if (!client.ok()) return client.status();
    auto honest = std::make_unique<HonestClient>(std::move(client).value());
    const auto region = honest->client_->AllocateRegion(2 * kBlocks * kBlockBytes);
    if (!region.ok()) return region.status();
    honest->region_ = *region;
    NamespaceDescriptor descriptor;
    descriptor.name = "space";
    descriptor.model = "none";
    descriptor.block_tokens = 16;
    descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
    const auto space = honest->client_->OpenNamespace(descriptor, In(kPatience));
    if (!space.ok()) return space.status();
    honest->space_ = *space;
    return honest;
  }
  explicit HonestClient(std::unique_ptr<Client> client) : client_(std::move(client)) {}

  /// Puts blocks that nobody put before, and gets them.
  Status PutAndGet(std::uint64_t number) {
    Chain chain;
    std::vector<BlockBuffer> sources;
    std::vector<BlockBuffer> destinations;
    const auto memory = client_->RegionMemory(region_);
    for (std::uint32_t block = 0; block < kBlocks; ++block) {
      const std::string key = std::to_string(number) + "/" + std::to_string(block);
      (void)chain.Append(std::as_bytes(std::span(key)));
      sources.push_back({.position = block, .region = region_, .offset = block * kBlockBytes});
      destinations.push_back(
          {.position = block, .region = region_, .offset = (kBlocks + block) * kBlockBytes});
    }
    for (std::size_t at = 0; at < kBlocks * kBlockBytes; ++at) {
      memory[at] = static_cast<std::byte>((number * 31 + at * 7 + at / 256) & 0xff);
      memory[kBlocks * kBlockBytes + at] = std::byte{0xa5};
    }
    const auto put = client_->Put(space_, chain, sources, {}, In(kPatience));
    if (!put.ok()) return put.status();
    const auto got = client_->Get(space_, chain, destinations, {}, In(kPatience));
    if (!got.ok()) return got.status();
    for (std::uint32_t block = 0; block < kBlocks; ++block) {
      for (const auto& [what, result] : {std::pair("put", (*put)[block]), {"get", (*got)[block]}}) {
        if (result.status == StatusCode::kOk) continue;
        return {result.status, std::string(what) + " of block " + std::to_string(block)};
      }
    }
    const auto half = memory.subspan(0, kBlocks * kBlockBytes);
    if (!std::ranges::equal(half, memory.subspan(kBlocks * kBlockBytes))) {
      return {StatusCode::kCorrupt, "a get gave wrong bytes"};
    }
    return {};
  }
  Result<Holdings> Look(const MutatorDaemon& daemon) {
    const auto samples = client_->Stat(In(kPatience));
    if (!samples.ok()) return samples.status();
    Holdings held;
    for (const Sample& sample : *samples) {
      if (sample.name == "terrace_client_connections") held.connections += sample.value;
      if (sample.name == "terrace_quarantined_frames") held.frames_in_doubt += sample.value;
      if (sample.name == "terrace_lent_blocks") held.lent += sample.value;
      if (sample.name == "terrace_malformed_messages_total") held.malformed += sample.value;
      if (sample.name == "terrace_leases_granted_total") held.leases_granted += sample.value;
    }
    held.descriptors = daemon.OpenDescriptors();
    held.memory_mib = daemon.MemoryMib();
    return held;
  }

 private:
  std::unique_ptr<Client> client_;
  RegionId region_;
  NamespaceId space_;
};

struct Options {
  std::string daemon;
  std::uint64_t rounds = 2000;
  std::uint64_t seed = 0;
  std::uint64_t check_every = 500;
  std::uint64_t planes = 1;  // of 8 rounds
};

class Campaign {
 public:
  Campaign(const Options& options, const std::string& folder)
      : options_(options), daemon_(options.daemon, folder), random_(options.seed) {}

  Status Run() {
    if (Status status = daemon_.Start(); !status.ok()) return status;
    if (Status status = Baseline(); !status.ok()) return status;
    HostileClient hostile(daemon_.port(), daemon_.http_port(), random_);
    HostilePlane plane(hostile, daemon_.port(), random_);
    for (; round_ < options_.rounds;) {
      const bool over_plane = random_.Below(8) < options_.planes;
      const bool reached = over_plane ? plane.Round() : hostile.Round();
      if (!reached && !daemon_.Ended().empty()) break;
      if (over_plane) ++plane_rounds_;
      if (++round_ % options_.check_every != 0 && round_ != options_.rounds) continue;
      if (Status status = Check(); !status.ok()) return status;
      std::printf("round %llu: %s; %s\n", static_cast<unsigned long long>(round_),
                  now_.ToString().c_str(), plane.reached().ToString().c_str());
      std::fflush(stdout);
    }
    if (!daemon_.Ended().empty()) return Status::Internal("the daemon ended: " + daemon_.Ended());
    // A campaign that gets no further than the door would test little.
    // Some 5 blocks are lent in 1,000 rounds.
    const std::uint64_t rounds = round_ - plane_rounds_;
    if ((rounds >= 500 && now_.malformed == 0) || (rounds >= 3000 && now_.leases_granted == 0)) {
      return Status::Internal("the hostile clients reached too little: " + now_.ToString());
    }
    if (Status status = Reached(plane.reached()); !status.ok()) return status;
    if (hostile.welcomed() * 4 < options_.rounds - plane_rounds_) {
      return Status::Internal("only " + std::to_string(hostile.welcomed()) +
                              " hellos had an answer");
    }
    same_host_.reset();
    tcp_.reset();
    return daemon_.Stop();
  }
  [[nodiscard]] std::uint64_t round() const noexcept { return round_; }

 private:
  Status Baseline() {
    auto same_host = HonestClient::Connect(daemon_.address(), LinkChoice::kAuto);
    if (!same_host.ok()) return same_host.status();
    same_host_ = std::move(same_host).value();
    auto tcp = HonestClient::Connect(daemon_.address(), LinkChoice::kTcp);
    if (!tcp.ok()) return tcp.status();
    tcp_ = std::move(tcp).value();
    if (Status status = Serve(); !status.ok()) return status;
    std::this_thread::sleep_for(3s);  // what connecting the two left open is closed by then
    const auto held = same_host_->Look(daemon_);
    if (!held.ok()) return held.status();
    baseline_ = *held;
    // RocksDB opens and closes files by itself; a leak in 500 rounds is many more.
    baseline_.descriptors += 24;
    baseline_.memory_mib += kMemoryGrowthMib;
    return {};
  }
  /// Whether what was to be tested over the data plane was.
  [[nodiscard]] Status Reached(const HostilePlane::Reached& reached) const {
    if (plane_rounds_ < 100) return {};
    // Of a hundred planes about three send bytes that are corrupt; in some hundreds none may.
    // Likewise pulls: three for two planes in the long run, those that came in time.
    const bool few = plane_rounds_ < 500;
    const bool corrupt = reached.corrupt > 0 || few;
    const std::uint64_t pulls = few ? plane_rounds_ / 4 : plane_rounds_;
    if (reached.opened * 2 >= plane_rounds_ && reached.pulled > pulls && reached.stored > 0 &&
        corrupt && reached.pushed > 0) {
      return {};
    }
    return Status::Internal("the hostile data planes reached too little in " +
                            std::to_string(plane_rounds_) + " rounds: " + reached.ToString());
  }
  Status Serve() {
    for (HonestClient* const client : {same_host_.get(), tcp_.get()}) {
      const auto deadline = std::chrono::steady_clock::now() + kSettleTime;
      Status status;
      do {
        status = client->PutAndGet(next_++);
        if (status.code() != StatusCode::kRetry) break;
        // Hostile puts may hold the frames until their deadlines.
        std::this_thread::sleep_for(50ms);
      } while (std::chrono::steady_clock::now() < deadline);
      if (!status.ok()) return status;
    }
    return {};
  }
  Status Check() {
    if (!daemon_.Ended().empty()) return Status::Internal("the daemon ended: " + daemon_.Ended());
    if (Status status = Serve(); !status.ok()) {
      return {status.code(), "an honest client: " + status.message()};
    }
    const auto deadline = std::chrono::steady_clock::now() + kSettleTime;
    while (true) {
      const auto held = same_host_->Look(daemon_);
      if (!held.ok()) return held.status();
      now_ = *held;
      if (now_.AtMost(baseline_)) return {};
      if (std::chrono::steady_clock::now() > deadline) {
        return Status::Internal("the daemon holds " + now_.ToString() + ", at most " +
                                baseline_.ToString() + " before");
      }
      std::this_thread::sleep_for(50ms);
    }
  }

  const Options& options_;
  MutatorDaemon daemon_;
  SeededRandom random_;
  std::unique_ptr<HonestClient> same_host_;
  std::unique_ptr<HonestClient> tcp_;
  Holdings baseline_;
  Holdings now_;
  std::uint64_t next_ = 1;
  std::uint64_t round_ = 0;
  std::uint64_t plane_rounds_ = 0;
};

int Main(int argc, char** argv) {
  Options options;
  options.daemon = std::filesystem::path(argv[0]).parent_path() / "terraced";
  options.seed = SystemRandom().Next() >> 33;
  CLI::App app("Throws broken connections at the ports of a real daemon.");
  app.add_option("--daemon", options.daemon, "terraced to run; default: the one beside this");
  app.add_option("--rounds", options.rounds, "connections");
  app.add_option("--seed", options.seed, "of all that is random");
  app.add_option("--planes", options.planes, "of 8 connections, how many have a data plane");
  app.add_option("--check-every", options.check_every, "rounds between two looks");
  CLI11_PARSE(app, argc, argv);
  std::string folder = std::filesystem::temp_directory_path() / "port-mutator-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) {
    std::fprintf(stderr, "port_mutator: no temporary folder\n");
    return 2;
  }
  std::printf("port_mutator: seed %llu\n", static_cast<unsigned long long>(options.seed));
  Campaign campaign(options, folder);
  const Status status = campaign.Run();
  std::printf("port_mutator: seed=%llu rounds=%llu findings=%d%s%s\n",
              static_cast<unsigned long long>(options.seed),
              static_cast<unsigned long long>(campaign.round()), status.ok() ? 0 : 1,
              status.ok() ? "" : ": ", status.ok() ? "" : status.ToString().c_str());
  if (status.ok()) {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    return 0;
  }
  std::printf("  run it again: port_mutator --daemon %s --seed %llu --rounds %llu\n  kept: %s\n",
              options.daemon.c_str(), static_cast<unsigned long long>(options.seed),
              static_cast<unsigned long long>(options.rounds), folder.c_str());
  return 1;
}

}  // namespace
}  // namespace terrace::fuzz

int main(int argc, char** argv) { return terrace::fuzz::Main(argc, argv); }
