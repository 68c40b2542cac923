#include "tests/peers/abort.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "client/terrace.hpp"
#include "tests/common/block_content.h"
#include "tests/common/daemon_process.h"
#include "tests/peers/bystander.h"
#include "tests/peers/piece_layout.h"

namespace terrace::peers {

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kAbortBlocks = 8;
constexpr std::uint64_t kGuardBytes = 4096;
constexpr std::uint64_t kStride = kBlockBytes + kGuardBytes;
constexpr std::uint64_t kRegionBytes =
    std::max(kAbortBlocks * kStride + kGuardBytes, PieceLayout::BytesFor(kAbortBlocks));
constexpr std::uint32_t kSpace = 500;
constexpr auto kPatience = 10s;

/// Word i of what round number `round` writes.
std::uint64_t WordOf(std::uint64_t round, std::size_t i) {
  return (round * 0x9e3779b97f4a7c15U) ^ (i * 0xbf58476d1ce4e5b9U);
}
void Write(std::span<std::byte> bytes, std::uint64_t round) {
  for (std::size_t i = 0; i < bytes.size() / 8; ++i) {
    const std::uint64_t word = WordOf(round, i);
    std::memcpy(bytes.data() + 8 * i, &word, sizeof word);
  }
}
/// The first byte that is not as written; its size when all are.
std::size_t Differs(std::span<const std::byte> bytes, std::uint64_t round) {
  for (std::size_t i = 0; i < bytes.size() / 8; ++i) {
    const std::uint64_t word = WordOf(round, i);
    if (std::memcmp(bytes.data() + 8 * i, &word, sizeof word) != 0) return 8 * i;
  }
  return bytes.size();
}

Chain ChainOf(std::uint32_t chain) {
  Chain made;
  for (std::uint32_t i = 0; i < kAbortBlocks; ++i) (void)made.Append(crash::KeyOf(chain, i));
  return made;
}

/// What a round does, drawn in turn: as many rounds of each.
struct RoundKind {
  bool pieces = false;  // GetPieces and PutPieces, else Get and Put
  bool puts = false;
};

/// One client, with memory that the daemon maps and memory that it cannot.
class Aborter {
 public:
  Aborter(std::unique_ptr<Client> client, std::uint64_t store, AbortTotals& totals)
      : client_(std::move(client)), store_(store), totals_(totals), own_(kRegionBytes) {}

  Status Begin() {
    NamespaceDescriptor descriptor;
    descriptor.name = "aborts";
    descriptor.model = "none/peer-faults";
    descriptor.block_tokens = 16;
    descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
    const Result<NamespaceId> space = client_->OpenNamespace(descriptor, In(20s));
    if (!space.ok()) return space.status();
    space_ = *space;
    const Result<RegionId> mapped = client_->AllocateRegion(kRegionBytes);
    const Result<RegionId> plain = client_->RegisterMemory(own_.data(), own_.size());
    const Result<RegionId> check = client_->AllocateRegion(kRegionBytes);
    for (const auto& made : {mapped, plain, check}) {
      if (!made.ok()) return made.status();
    }
    regions_ = {*mapped, *plain};
    check_ = *check;
    return {};
  }

  Status Round(std::uint64_t round, RoundKind kind, Random& random) {
    const RegionId region = regions_[random.Below(2)];
    const std::span<std::byte> memory = client_->RegionMemory(region);
    const bool puts = kind.puts;
    layout_ = kind.pieces ? PieceLayout(region, kAbortBlocks, random) : PieceLayout();
    pieces_ = kind.pieces;
    // Put anew in each round, got again and again.
    const auto chain = static_cast<std::uint32_t>(puts ? 1000 + round : random.Below(4));
    if (!puts) {
      if (Status status = Store(chain); !status.ok()) return status;
    }
    Write(memory, round);
    if (puts) Fill(chain, memory, pieces_);
    const Result<Ticket> ticket = Submit(region, chain, puts);
    if (!ticket.ok()) return ticket.status();
    std::this_thread::sleep_for(std::chrono::microseconds(random.Below(1500)));
    const bool looks_first = random.Below(2) == 0;
    if (Status status = GiveUp(*ticket, region, random); !status.ok()) {
      ++totals_.stuck;
      return status;
    }
    std::vector<Completion> done;
    if (looks_first) {
      done = client_->Poll(2);
      if (!puts) CheckGot(chain, memory, done);
    }
    Write(memory, ~round);
    if (!looks_first) done = client_->Poll(2);
    Judge(*ticket, done);
    // Time for a stray byte to arrive, in which the client's loop runs.
    const Deadline end = In(std::chrono::microseconds(random.Below(4000)));
    while (std::chrono::steady_clock::now() < end) {
      (void)client_->Match(space_, ChainOf(chain), {}, In(kPatience));
    }
    const std::size_t at = Differs(memory, ~round);
    if (at != memory.size()) {
      ++totals_.stray;
      std::fprintf(stderr,
                   "round %llu: byte %zu of the memory of a %s%s that was given up changed\n",
                   static_cast<unsigned long long>(round), at, puts ? "put" : "get",
                   pieces_ ? " of pieces" : "");
    }
    return puts ? CheckStored(chain) : Status();
  }

 private:
  [[nodiscard]] crash::BlockName NameOf(std::uint32_t chain, std::uint32_t position) const {
    return {.store = store_, .space = kSpace, .chain = chain, .position = position};
  }
  static std::span<std::byte> BlockOf(std::span<std::byte> memory, std::uint32_t block) {
    return memory.subspan(block * kStride + kGuardBytes, kBlockBytes);
  }
  static std::vector<BlockBuffer> Places(RegionId region) {
    std::vector<BlockBuffer> blocks;
    for (std::uint32_t i = 0; i < kAbortBlocks; ++i) {
      blocks.push_back({.position = i, .region = region, .offset = i * kStride + kGuardBytes});
    }
    return blocks;
  }
  Result<Ticket> Submit(RegionId region, std::uint32_t chain, bool puts) {
    const Chain keys = ChainOf(chain);
    if (pieces_) {
      const std::vector<BlockPieces> blocks = layout_.Blocks(0, kAbortBlocks);
      return puts ? client_->SubmitPutPieces(space_, keys, blocks, {}, In(30s))
                  : client_->SubmitGetPieces(space_, keys, blocks, {}, In(30s));
    }
    return puts ? client_->SubmitPut(space_, keys, Places(region), {}, In(30s))
                : client_->SubmitGet(space_, keys, Places(region), {}, In(30s));
  }
  void Fill(std::uint32_t chain, std::span<std::byte> memory, bool pieces) const {
    std::vector<std::byte> bytes(kBlockBytes);
    for (std::uint32_t i = 0; i < kAbortBlocks; ++i) {
      crash::FillBlock(NameOf(chain, i), 1, pieces ? bytes : BlockOf(memory, i));
      if (pieces) layout_.Scatter(bytes, i, memory);
    }
  }
  /// Sees to it that a chain is there to be got.
  Status Store(std::uint32_t chain) {
    const auto match = client_->Match(space_, ChainOf(chain), {}, In(kPatience));
    if (!match.ok()) return match.status();
    if (match->matched == kAbortBlocks) return {};
    Fill(chain, client_->RegionMemory(check_), false);
    return client_->Put(space_, ChainOf(chain), Places(check_), {}, In(kPatience)).status();
  }
  Status GiveUp(Ticket ticket, RegionId region, Random& random) {
    const Nanos began = SteadyClock().Now();
    Status status;
    switch (random.Below(3)) {
      case 0: status = client_->Cancel(ticket, In(kPatience)); break;
      case 1: {
        const MemoryPiece all{.region = region, .offset = 0, .length = kRegionBytes};
        status = client_->Fence({{all}}, In(kPatience));
        break;
      }
      default: {
        // One byte of each block: every one of them is of the call.
        std::vector<MemoryPiece> bytes;
        for (std::uint32_t i = 0; i < kAbortBlocks; ++i) {
          const std::uint64_t inside = random.Below(kBlockBytes);
          const std::uint64_t at = pieces_ ? layout_[i][inside / PieceLayout::kPieceBytes].offset +
                                                 inside % PieceLayout::kPieceBytes
                                           : i * kStride + kGuardBytes + inside;
          bytes.push_back({.region = region, .offset = at, .length = 1});
        }
        status = client_->Fence(bytes, In(kPatience));
      }
    }
    totals_.slowest_ms = std::max(totals_.slowest_ms,
                                  static_cast<double>(SteadyClock().Now() - began) / kMillisecond);
    return status;
  }
  void CheckGot(std::uint32_t chain, std::span<std::byte> memory,
                const std::vector<Completion>& done) {
    for (const Completion& completion : done) {
      for (std::uint32_t i = 0; i < completion.blocks.size(); ++i) {
        if (completion.blocks[i].status != StatusCode::kOk) continue;
        if (pieces_) {
          CheckBlock(chain, i, layout_.Gather(i, memory), "a get of pieces that was given up");
        } else {
          CheckBlock(chain, i, BlockOf(memory, i), "a get that was given up");
        }
      }
    }
  }
  void CheckBlock(std::uint32_t chain, std::uint32_t block, std::span<const std::byte> bytes,
                  const char* how) {
    const Result<std::uint32_t> version = crash::VersionOf(NameOf(chain, block), bytes);
    if (version.ok()) return;
    ++totals_.wrong;
    std::fprintf(stderr, "%s: block %u of chain %u: %s\n", how, block, chain,
                 version.status().message().c_str());
  }
  void Judge(Ticket ticket, const std::vector<Completion>& done) {
    if (done.size() != 1 || done[0].ticket != ticket) {
      ++totals_.lost;
      return;
    }
    for (const BlockResult& block : done[0].blocks) {
      if (block.status == StatusCode::kCancelled) ++totals_.cancelled;
      if (block.status == StatusCode::kOk) ++totals_.whole;
    }
  }
  Status CheckStored(std::uint32_t chain) {
    const std::span<std::byte> memory = client_->RegionMemory(check_);
    const auto got = client_->Get(space_, ChainOf(chain), Places(check_), {}, In(kPatience));
    if (!got.ok()) return got.status();
    for (std::uint32_t i = 0; i < kAbortBlocks; ++i) {
      if ((*got)[i].status != StatusCode::kOk) continue;
      CheckBlock(chain, i, BlockOf(memory, i),
                 pieces_ ? "a put of pieces that was given up" : "a put that was given up");
    }
    return client_->Remove(space_, ChainOf(chain), 0, kAbortBlocks, {}, In(kPatience)).status();
  }

  const std::unique_ptr<Client> client_;
  const std::uint64_t store_;
  AbortTotals& totals_;
  std::vector<std::byte> own_;
  NamespaceId space_;
  std::vector<RegionId> regions_;
  RegionId check_;
  PieceLayout layout_;   // of this round
  bool pieces_ = false;  // likewise
};

Status RunRounds(const AbortOptions& options, const std::string& address, AbortTotals& totals) {
  SeededRandom random(options.seed);
  std::vector<std::unique_ptr<Bystander>> bystanders;
  std::vector<std::unique_ptr<Aborter>> aborters;
  for (const bool tcp : {false, true}) {
    auto load = PeerLoad::Connect({.address = address,
                                   .name = "bystander",
                                   .tcp = tcp,
                                   .store = options.seed,
                                   .number = tcp ? 2U : 1U,
                                   .pieces = true});
    if (!load.ok()) return load.status();
    bystanders.push_back(std::make_unique<Bystander>(std::move(load).value(), random.Next()));
    auto client = Client::Connect({.address = address,
                                   .tenant = "aborts",
                                   .name = "aborter",
                                   .link = tcp ? LinkChoice::kTcp : LinkChoice::kAuto,
                                   .connect_timeout = 20s});
    if (!client.ok()) return client.status();
    if (client.value()->LinkName() != (tcp ? "tcp" : "shm")) {
      return Status::Internal("the link is " + client.value()->LinkName());
    }
    aborters.push_back(std::make_unique<Aborter>(std::move(client).value(), options.seed, totals));
    if (Status status = aborters.back()->Begin(); !status.ok()) return status;
  }
  for (std::uint32_t round = 0; round < options.rounds; ++round) {
    const RoundKind kind{.pieces = round / 2 % 2 == 1, .puts = round / 4 % 2 == 1};
    if (Status status = aborters[round % 2]->Round(round, kind, random); !status.ok()) {
      return status;
    }
    ++totals.rounds;
    totals.of_pieces += kind.pieces ? 1 : 0;
  }
  for (const auto& bystander : bystanders) {
    bystander->Pause();
    totals.wrong += bystander->counts().wrong;
  }
  return {};
}

}  // namespace

AbortTotals RunAbortCampaign(const AbortOptions& options) {
  AbortTotals totals;
  crash::DaemonProcess daemon(options.programs + "/terraced", options.data);
  const std::string config = "[server]\nlisten = \"127.0.0.1:0\"\nport_file = \"" +
                             daemon.PortFile() + "\"\n[dram]\ncapacity = \"128MiB\"\n" +
                             "[log]\nfile = \"" + daemon.folder() +
                             "/daemon.log\"\n[metrics]\nenabled = false\n";
  Status status = daemon.Start(config);
  if (status.ok() && daemon.WaitUntilReady(60s) != crash::DaemonProcess::Ready::kReady) {
    status = Status::Internal("the daemon did not start, see daemon.log and daemon.err");
  }
  if (status.ok()) status = RunRounds(options, daemon.address(), totals);
  if (!status.ok()) {
    ++totals.failed;
    std::fprintf(stderr, "peer_faults: %s\n", status.ToString().c_str());
  }
  return totals;
}

}  // namespace terrace::peers
