#include "tests/peers/peer_load.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

namespace terrace::peers {

namespace {

constexpr int kPoison = 0xa5;

Chain ChainOf(std::uint32_t chain, std::uint32_t keys) {
  Chain made;
  for (std::uint32_t i = 0; i < keys; ++i) (void)made.Append(crash::KeyOf(chain, i));
  return made;
}

/// What a block's status says of the daemon: kOk, kMiss and the like are answers.
Status Judged(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
    case StatusCode::kMiss:
    case StatusCode::kExists:
    case StatusCode::kPending:
    case StatusCode::kUnsupported: return {};
    default: return {code, "of a block"};
  }
}

Status WorstOf(const Result<std::vector<BlockResult>>& results) {
  if (!results.ok()) return results.status();
  for (const BlockResult& result : *results) {
    if (Status judged = Judged(result.status); !judged.ok()) return judged;
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<PeerLoad>> PeerLoad::Connect(const Options& options) {
  ClientOptions wanted;
  wanted.address = options.address;
  wanted.tenant = options.tenant;
  wanted.name = options.name;
  wanted.link = options.tcp ? LinkChoice::kTcp : LinkChoice::kAuto;
  wanted.connect_timeout = std::chrono::seconds(20);  // on a busy machine
  Result<std::unique_ptr<Client>> client = Client::Connect(wanted);
  if (!client.ok()) return client.status();
  std::unique_ptr<PeerLoad> load(new PeerLoad(options, std::move(client).value()));
  if (Status status = load->Open(); !status.ok()) return status;
  return load;
}

Status PeerLoad::Open() {
  const Result<RegionId> region = client_->AllocateRegion(
      options_.pieces ? PieceLayout::BytesFor(kChainBlocks) : kBlockBytes * kChainBlocks);
  if (!region.ok()) return region.status();
  region_ = *region;
  if (options_.pieces) {
    SeededRandom random(options_.store ^ options_.number);
    layout_ = PieceLayout(region_, kChainBlocks, random);
  }
  NamespaceDescriptor descriptor;
  descriptor.name = "peer-" + std::to_string(options_.number);
  descriptor.model = "none/peer-faults";
  descriptor.block_tokens = 16;
  descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = kBlockBytes}};
  const Result<NamespaceId> space =
      client_->OpenNamespace(descriptor, In(std::chrono::seconds(20)));
  if (!space.ok()) return space.status();
  space_ = *space;
  return {};
}

crash::BlockName PeerLoad::NameOf(std::uint32_t chain, std::uint32_t position) const {
  return {.store = options_.store, .space = options_.number, .chain = chain, .position = position};
}

std::span<std::byte> PeerLoad::Memory(std::uint32_t index) const {
  return client_->RegionMemory(region_).subspan(index * kBlockBytes, kBlockBytes);
}

std::vector<BlockBuffer> PeerLoad::Fill(std::uint32_t chain, std::uint32_t first,
                                        std::uint32_t count, bool with_bytes) {
  std::vector<BlockBuffer> buffers;
  if (with_bytes) ++version_;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (with_bytes) {
      crash::FillBlock(NameOf(chain, first + i), version_, Memory(i));
    } else {
      std::memset(Memory(i).data(), kPoison, kBlockBytes);
    }
    buffers.push_back({.position = first + i, .region = region_, .offset = i * kBlockBytes});
  }
  return buffers;
}

std::vector<BlockPieces> PeerLoad::FillPieces(std::uint32_t chain, std::uint32_t first,
                                              std::uint32_t count, bool with_bytes) {
  const std::span<std::byte> memory = client_->RegionMemory(region_);
  std::memset(memory.data(), kPoison, memory.size());
  if (with_bytes) ++version_;
  std::vector<std::byte> bytes(kBlockBytes);
  for (std::uint32_t i = 0; with_bytes && i < count; ++i) {
    crash::FillBlock(NameOf(chain, first + i), version_, bytes);
    layout_.Scatter(bytes, i, memory);
  }
  return layout_.Blocks(first, count);
}

void PeerLoad::CheckPoison(std::uint32_t count) {
  std::vector<MemoryPiece> untouched = layout_.Guards();
  for (std::uint32_t block = count; block < kChainBlocks; ++block) {
    untouched.insert(untouched.end(), layout_[block].begin(), layout_[block].end());
  }
  const std::span<const std::byte> memory = client_->RegionMemory(region_);
  for (const MemoryPiece& piece : untouched) {
    const auto bytes = memory.subspan(piece.offset, piece.length);
    if (std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{kPoison}; })) {
      continue;
    }
    if (counts_.wrong++ == 0) {
      counts_.first_wrong = "a get of pieces wrote between them, at byte " +
                            std::to_string(piece.offset) + " of its region";
    }
    return;
  }
}

void PeerLoad::Check(std::uint32_t chain, std::uint32_t position, std::span<const std::byte> bytes,
                     const char* how) {
  const Result<std::uint32_t> version = crash::VersionOf(NameOf(chain, position), bytes);
  if (version.ok()) return;
  if (counts_.wrong++ > 0) return;
  counts_.first_wrong = std::string(how) + " of chain " + std::to_string(chain) + " block " +
                        std::to_string(position) + ": " + version.status().message();
}

void PeerLoad::Note(const Status& status) {
  if (status.ok() || status.code() == StatusCode::kMiss) {
    ++counts_.good;
    return;
  }
  counts_.last_loss = status.ToString();
  ++(status.code() == StatusCode::kRetry ? counts_.retry : counts_.lost);
}

void PeerLoad::Put(std::uint32_t chain, std::uint32_t first, std::uint32_t count, Ack ack) {
  // Memory in doubt must not be written: it is not used until the daemon has let go.
  if (!client_->Quiesce(region_, Soon()).ok()) return Note({StatusCode::kInDoubt, "the region"});
  if (TakesPieces()) {
    const auto blocks = FillPieces(chain, first, count, true);
    return Note(WorstOf(
        client_->PutPieces(space_, ChainOf(chain, first + count), blocks, {}, Soon(), ack)));
  }
  const auto buffers = Fill(chain, first, count, true);
  Note(WorstOf(client_->Put(space_, ChainOf(chain, first + count), buffers, {}, Soon(), ack)));
}

void PeerLoad::Get(std::uint32_t chain, std::uint32_t first, std::uint32_t count) {
  if (!client_->Quiesce(region_, Soon()).ok()) return Note({StatusCode::kInDoubt, "the region"});
  if (TakesPieces()) {
    const auto blocks = FillPieces(chain, first, count, false);
    const auto got = client_->GetPieces(space_, ChainOf(chain, first + count), blocks, {}, Soon());
    Note(WorstOf(got));
    // A call that failed as a whole may still be writing.
    if (!got.ok()) return;
    for (std::uint32_t i = 0; i < count; ++i) {
      if ((*got)[i].status != StatusCode::kOk) continue;
      Check(chain, first + i, layout_.Gather(i, client_->RegionMemory(region_)), "a get of pieces");
    }
    return CheckPoison(count);
  }
  const auto buffers = Fill(chain, first, count, false);
  const auto results = client_->Get(space_, ChainOf(chain, first + count), buffers, {}, Soon());
  Note(WorstOf(results));
  for (std::uint32_t i = 0; results.ok() && i < count; ++i) {
    if ((*results)[i].status == StatusCode::kOk) Check(chain, first + i, Memory(i), "a get");
  }
}

void PeerLoad::Match(std::uint32_t chain) {
  Note(client_->Match(space_, ChainOf(chain, kChainBlocks), {}, Soon()).status());
}

void PeerLoad::Remove(std::uint32_t chain, std::uint32_t first, std::uint32_t count) {
  Note(WorstOf(client_->Remove(space_, ChainOf(chain, first + count), first, count, {}, Soon())));
}

void PeerLoad::Clear() {
  Note(client_->ClearNamespace("peer-" + std::to_string(options_.number), Soon()).status());
}

std::vector<LentBlock> PeerLoad::Lend(std::uint32_t chain, std::uint32_t count) {
  std::vector<std::uint32_t> positions(count);
  for (std::uint32_t i = 0; i < count; ++i) positions[i] = i;
  auto lent = client_->Lend(space_, ChainOf(chain, count), positions, {}, Soon());
  Status worst = lent.status();
  for (std::size_t i = 0; lent.ok() && i < lent->size() && worst.ok(); ++i) {
    worst = Judged((*lent)[i].status);
  }
  Note(worst);
  return lent.ok() ? std::move(lent).value() : std::vector<LentBlock>();
}

std::uint32_t PeerLoad::Release(std::uint32_t chain, std::vector<LentBlock> lent) {
  std::uint32_t expired = 0;
  std::vector<std::byte> copy;
  for (std::uint32_t i = 0; i < lent.size(); ++i) {
    if (lent[i].status != StatusCode::kOk) continue;
    copy.assign(lent[i].bytes().begin(), lent[i].bytes().end());
    if (lent[i].Release() == StatusCode::kOk) {
      Check(chain, i, copy, "a lent block");
    } else {
      ++expired;
    }
  }
  counts_.expired += expired;
  return expired;
}

void PeerLoad::Any(Random& random, bool lends) {
  const auto began = std::chrono::steady_clock::now();
  const auto chain = static_cast<std::uint32_t>(random.Below(kChains));
  const auto first = static_cast<std::uint32_t>(random.Below(kChainBlocks / 2));
  const auto count = static_cast<std::uint32_t>(1 + random.Below(kChainBlocks - first));
  switch (random.Below(10)) {
    case 0: Match(chain); break;
    case 1: Remove(chain, first, 1 + count / 4); break;
    case 2:
      if (random.Below(8) == 0) Clear();
      break;
    case 3: Put(chain, first, 1 + count / 4, Ack::kDurable); break;
    case 4:
    case 5:
    case 6: Put(chain, first, count, Ack::kCommitted); break;
    case 7:
      if (lends) {
        Release(chain, Lend(chain, count));
        break;
      }
      [[fallthrough]];
    default: Get(chain, first, count); break;
  }
  counts_.slowest =
      std::max<std::chrono::nanoseconds>(counts_.slowest, std::chrono::steady_clock::now() - began);
}

void PeerLoad::BeginGet(std::uint32_t chain, std::chrono::microseconds patience) {
  if (TakesPieces()) {
    return NoteTicket(client_->SubmitGetPieces(space_, ChainOf(chain, kChainBlocks),
                                               FillPieces(chain, 0, kChainBlocks, false), {},
                                               In(patience)));
  }
  NoteTicket(client_->SubmitGet(space_, ChainOf(chain, kChainBlocks),
                                Fill(chain, 0, kChainBlocks, false), {}, In(patience)));
}

void PeerLoad::BeginPut(std::uint32_t chain, Ack ack) {
  if (TakesPieces()) {
    return NoteTicket(client_->SubmitPutPieces(space_, ChainOf(chain, kChainBlocks),
                                               FillPieces(chain, 0, kChainBlocks, true), {}, Soon(),
                                               ack));
  }
  NoteTicket(client_->SubmitPut(space_, ChainOf(chain, kChainBlocks),
                                Fill(chain, 0, kChainBlocks, true), {}, Soon(), ack));
}

void PeerLoad::BeginMatch(std::uint32_t chain) {
  NoteTicket(client_->SubmitMatch(space_, ChainOf(chain, kChainBlocks), {}, Soon()));
}

void PeerLoad::BeginRemove(std::uint32_t chain) {
  NoteTicket(
      client_->SubmitRemove(space_, ChainOf(chain, kChainBlocks), 0, kChainBlocks, {}, Soon()));
}

void PeerLoad::Drain() {
  while (begun_ > 0 && client_->WaitForCompletion(In(std::chrono::seconds(20))).ok()) {
    begun_ -= client_->Poll().size();
  }
  // A call without an end is a hang, of which the campaign is told by the victim's silence.
  while (begun_ > 0) std::this_thread::sleep_for(std::chrono::seconds(1));
}

}  // namespace terrace::peers
