#include "tools/replay/run/block_exchange.h"

#include <chrono>

#include "base/check.h"
#include "tools/replay/run/block_bytes.h"

namespace terrace::replay {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Connecting and opening: a daemon that has just been started may still touch its memory.
constexpr seconds kOpenTimeout{10};
/// How long memory in doubt is waited for before other memory is taken.
constexpr seconds kQuiesceTimeout{5};
/// Buffers that may be left alone before the worker gives up: bounds its memory.
constexpr std::uint32_t kRegionsReplacedMax = 8;

/// Outcomes that no load, outage or deadline explains.
bool MustNotBe(StatusCode code) {
  switch (code) {
    case StatusCode::kIncompatible:
    case StatusCode::kInvalid:
    case StatusCode::kUnsupported:
    case StatusCode::kInternal: return true;
    default: return false;
  }
}

std::size_t Index(StatusCode code) {
  const auto index = static_cast<std::size_t>(code);
  return index < kStatusCodeCount ? index : static_cast<std::size_t>(StatusCode::kInternal);
}

}  // namespace

NamespaceDescriptor BlockExchange::Descriptor(const RunParameters& parameters) {
  NamespaceDescriptor descriptor;
  descriptor.name = parameters.namespace_name;
  descriptor.model = parameters.model;
  descriptor.weights = "replay";
  descriptor.kv_dtype = "bytes";
  descriptor.layout = "replay:" + std::to_string(parameters.bytes_per_token) + "B/token";
  descriptor.hash_algorithm = "xxh3-chain";
  descriptor.hash_seed = std::to_string(parameters.key_seed);
  descriptor.block_tokens = parameters.block_tokens;
  descriptor.run_blocks = parameters.run_blocks;
  descriptor.groups = {
      GroupSpec{.id = 0, .attention = "full", .block_bytes = parameters.block_bytes}};
  return descriptor;
}

ClientOptions BlockExchange::Options(const RunParameters& parameters, const std::string& name) {
  ClientOptions options;
  options.address = parameters.address;
  options.name = name;
  options.link = parameters.tcp_only != 0 ? LinkChoice::kTcp : LinkChoice::kAuto;
  options.connect_timeout = kOpenTimeout;
  return options;
}

Result<std::unique_ptr<BlockExchange>> BlockExchange::Open(const RunParameters& parameters,
                                                           const std::string& name) {
  Result<std::unique_ptr<Client>> client = Client::Connect(Options(parameters, name));
  if (!client.ok()) return client.status();
  std::unique_ptr<BlockExchange> exchange(new BlockExchange(parameters, std::move(client).value()));
  Result<NamespaceId> space =
      exchange->client_->OpenNamespace(Descriptor(parameters), In(kOpenTimeout));
  if (!space.ok()) return space.status();
  exchange->space_ = *space;
  const Status status = exchange->AllocateBuffer();
  if (!status.ok()) return status;
  return exchange;
}

Status BlockExchange::AllocateBuffer() {
  Result<RegionId> region =
      client_->AllocateRegion(parameters_.block_bytes * parameters_.batch_blocks);
  if (!region.ok()) return region.status();
  region_ = *region;
  memory_ = client_->RegionMemory(region_);
  if (memory_.size() < parameters_.block_bytes * parameters_.batch_blocks) {
    return Status::Internal("a region is smaller than asked for");
  }
  return Status::Ok();
}

Deadline BlockExchange::CallDeadline() const { return In(milliseconds(parameters_.deadline_ms)); }

std::span<std::byte> BlockExchange::Slot(std::uint32_t index) const {
  return memory_.subspan(index * parameters_.block_bytes, parameters_.block_bytes);
}

std::span<const BlockBuffer> BlockExchange::Buffers(const RequestKeys& request, std::uint32_t first,
                                                    std::uint32_t count) {
  TERRACE_CHECK(count <= parameters_.batch_blocks);
  buffers_.clear();
  for (std::uint32_t slot = 0; slot < count; ++slot) {
    buffers_.push_back({.position = first + slot,
                        .region = region_,
                        .offset = slot * parameters_.block_bytes,
                        .valid_tokens = ValidTokens(request.input_tokens, first + slot,
                                                    parameters_.block_tokens)});
  }
  return buffers_;
}

void BlockExchange::CountFailure(const Status& status, WorkReport& report) {
  ++report.calls_failed;
  if (status.code() == StatusCode::kPeerDead) ++report.calls_peer_dead;
  // No status per block: what the call touched is unknown unless it says that it ended.
  in_doubt_ = in_doubt_ || status.code() == StatusCode::kInDoubt;
  if (MustNotBe(status.code()) && broken_.ok()) broken_ = status;
  if (report.text[0] == 0) SetText(report, status.ToString());
}

void BlockExchange::NoteOutcome(StatusCode status, std::uint32_t position) {
  in_doubt_ = in_doubt_ || status == StatusCode::kInDoubt;
  if (MustNotBe(status) && broken_.ok()) {
    broken_ = Status(status, "block " + std::to_string(position) + " of the chain");
  }
}

std::uint32_t BlockExchange::Match(const RequestKeys& request, WorkReport& report) {
  const Nanos begin = clock_.Now();
  const Result<MatchResult> match = client_->Match(space_, request.chain, {}, CallDeadline());
  latencies_.match.Add(clock_.Now() - begin);
  if (!match.ok()) {
    CountFailure(match.status(), report);
    return 0;
  }
  return match->matched;
}

std::uint32_t BlockExchange::Get(const RequestKeys& request, std::uint32_t first,
                                 std::uint32_t count, WorkReport& report) {
  const std::span<const BlockBuffer> buffers = Buffers(request, first, count);
  for (std::uint32_t slot = 0; slot < count; ++slot) {
    PoisonBlock(SeedOf(request.keys[first + slot]), Slot(slot));
  }
  const Nanos begin = clock_.Now();
  const Result<std::vector<BlockResult>> results =
      client_->Get(space_, request.chain, buffers, {}, CallDeadline());
  const Nanos duration = clock_.Now() - begin;
  if (!results.ok()) {
    CountFailure(results.status(), report);
    report.missing += count;
    return 0;
  }
  TERRACE_CHECK(results->size() == count);
  latencies_.get.Add(duration);
  std::uint32_t leading = 0;
  std::uint32_t arrived = 0;
  for (std::uint32_t slot = 0; slot < count; ++slot) {
    const BlockResult& result = (*results)[slot];
    ++report.get_status[Index(result.status)];
    NoteOutcome(result.status, first + slot);
    if (result.status != StatusCode::kOk) {
      ++report.missing;
      continue;
    }
    ++arrived;
    const bool right = Verify(request, first + slot, slot, result, report);
    if (right && leading == slot) ++leading;
  }
  report.bytes_got += arrived * parameters_.block_bytes;
  if (arrived > 0) report.get_ns += static_cast<std::uint64_t>(duration);
  return leading;
}

bool BlockExchange::Verify(const RequestKeys& request, std::uint32_t position, std::uint32_t slot,
                           const BlockResult& result, WorkReport& report) {
  if (result.tier == Tier::kNvme) {
    ++report.hits_nvme;
  } else {
    ++report.hits_dram;
  }
  report.bytes_verified += parameters_.block_bytes;
  const BlockKey& key = request.keys[position];
  const std::optional<WrongByte> wrong = FindWrongByte(SeedOf(key), Slot(slot));
  const std::uint32_t tokens =
      ValidTokens(request.input_tokens, position, parameters_.block_tokens);
  if (!wrong.has_value() && result.valid_tokens == tokens) return true;
  if (report.wrong_blocks++ == 0) {
    report.wrong = {.key = key,
                    .offset = wrong ? wrong->offset : 0,
                    .count = wrong ? wrong->count : 0,
                    .position = position,
                    .tier = result.tier,
                    .expected = wrong ? wrong->expected : std::byte{},
                    .found = wrong ? wrong->found : std::byte{},
                    .valid_tokens_expected = tokens,
                    .valid_tokens_found = result.valid_tokens};
  }
  report.wrong_bytes += wrong ? wrong->count : 0;
  return false;
}

std::uint32_t BlockExchange::Put(const RequestKeys& request, std::uint32_t first,
                                 std::uint32_t count, WorkReport& report) {
  const std::span<const BlockBuffer> buffers = Buffers(request, first, count);
  for (std::uint32_t slot = 0; slot < count; ++slot) {
    ProduceBlock(SeedOf(request.keys[first + slot]), Slot(slot));
  }
  const Ack ack = parameters_.durable_puts != 0 ? Ack::kDurable : Ack::kCommitted;
  const Nanos begin = clock_.Now();
  const Result<std::vector<BlockResult>> results =
      client_->Put(space_, request.chain, buffers, {}, CallDeadline(), ack);
  const Nanos duration = clock_.Now() - begin;
  if (!results.ok()) {
    CountFailure(results.status(), report);
    return 0;
  }
  TERRACE_CHECK(results->size() == count);
  latencies_.put.Add(duration);
  std::uint32_t leading = 0;
  std::uint32_t stored = 0;
  for (std::uint32_t slot = 0; slot < count; ++slot) {
    const StatusCode status = (*results)[slot].status;
    ++report.put_status[Index(status)];
    if (status == StatusCode::kOk) ++stored;
    NoteOutcome(status, first + slot);
    const bool there = status == StatusCode::kOk || status == StatusCode::kExists ||
                       status == StatusCode::kPending;
    if (there && leading == slot) ++leading;
  }
  report.bytes_put += stored * parameters_.block_bytes;
  if (stored > 0) report.put_ns += static_cast<std::uint64_t>(duration);
  return leading;
}

Status BlockExchange::Settle(WorkReport& report) {
  if (!broken_.ok()) return broken_;
  if (!in_doubt_) return Status::Ok();
  in_doubt_ = false;
  if (client_->Quiesce(region_, In(kQuiesceTimeout)).ok()) return Status::Ok();
  ++report.regions_replaced;
  if (++regions_replaced_ > kRegionsReplacedMax) {
    return Status::Internal("transfers into " + std::to_string(regions_replaced_) +
                            " buffers never ended; giving up");
  }
  return AllocateBuffer();
}

}  // namespace terrace::replay
