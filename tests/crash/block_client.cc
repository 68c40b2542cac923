#include "tests/crash/block_client.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tests/common/block_content.h"

namespace terrace::crash {

namespace {

using namespace std::chrono_literals;

/// Of a call on a busy machine; most end within milliseconds.
constexpr auto kPatience = 5s;
constexpr std::uint64_t kRegionBytes = 4 << 20;
constexpr std::uint32_t kBlockTokens = 16;
/// What stands in a destination before a get.
constexpr int kPoison = 0xa5;

Chain ChainOf(const Stretch& stretch) {
  Chain chain;
  for (std::uint32_t position = 0; position < stretch.first + stretch.count; ++position) {
    (void)chain.Append(KeyOf(stretch.chain, position));  // short, and far from full
  }
  return chain;
}

Place PlaceOf(const Stretch& stretch, std::uint32_t index) {
  return {.space = stretch.space, .chain = stretch.chain, .position = stretch.first + index};
}

PutEnd EndOf(const BlockResult& result) {
  const bool durable = result.ack == Ack::kDurable;
  switch (result.status) {
    case StatusCode::kOk: return durable ? PutEnd::kDurable : PutEnd::kStored;
    case StatusCode::kExists: return durable ? PutEnd::kThereDurable : PutEnd::kThere;
    case StatusCode::kPending:
    case StatusCode::kRetry: return PutEnd::kRefused;
    default: return PutEnd::kUnknown;
  }
}

RemoveEnd RemoveEndOf(StatusCode code) {
  if (code == StatusCode::kOk) return RemoveEnd::kRemoved;
  return code == StatusCode::kMiss ? RemoveEnd::kNothing : RemoveEnd::kUnknown;
}

}  // namespace

std::string SpaceName(std::uint32_t space) { return "space-" + std::to_string(space); }

BlockClient::BlockClient(const Options& options, std::unique_ptr<Client> client, Oracle& oracle,
                         Findings& findings)
    : options_(options), client_(std::move(client)), oracle_(oracle), findings_(findings) {}

Result<std::unique_ptr<BlockClient>> BlockClient::Connect(const Options& options, Oracle& oracle,
                                                          Findings& findings) {
  ClientOptions wanted;
  wanted.address = options.address;
  wanted.name = options.name;
  wanted.tenant = "crash-loop";
  wanted.link = options.link;
  wanted.connect_timeout = kPatience;
  Result<std::unique_ptr<Client>> client = Client::Connect(wanted);
  if (!client.ok()) return client.status();
  std::unique_ptr<BlockClient> made(
      new BlockClient(options, std::move(client).value(), oracle, findings));
  const Result<RegionId> region = made->client_->AllocateRegion(kRegionBytes);
  if (!region.ok()) return region.status();
  made->region_ = *region;
  return made;
}

Status BlockClient::Open(const std::vector<SpacePlan>& spaces) {
  while (ids_.size() < spaces.size()) {
    const SpacePlan& plan = spaces[ids_.size()];
    NamespaceDescriptor descriptor;
    descriptor.name = SpaceName(static_cast<std::uint32_t>(ids_.size()));
    descriptor.model = "none/crash-loop";
    descriptor.block_tokens = kBlockTokens;
    descriptor.groups = {{.id = 0, .attention = "full", .block_bytes = plan.block_bytes}};
    const Result<NamespaceId> id = client_->OpenNamespace(descriptor, In(kPatience));
    if (!id.ok()) return {id.code(), descriptor.name + ": " + id.status().message()};
    ids_.push_back(*id);
    spaces_.push_back(plan);
  }
  return {};
}

std::span<std::byte> BlockClient::MemoryOf(const Stretch& stretch, std::uint32_t index) const {
  const std::uint64_t bytes = spaces_[stretch.space].block_bytes;
  return client_->RegionMemory(region_).subspan(index * bytes, bytes);
}

std::vector<BlockBuffer> BlockClient::BuffersOf(const Stretch& stretch) const {
  std::vector<BlockBuffer> buffers;
  for (std::uint32_t index = 0; index < stretch.count; ++index) {
    buffers.push_back({.position = stretch.first + index,
                       .region = region_,
                       .offset = index * spaces_[stretch.space].block_bytes});
  }
  return buffers;
}

bool BlockClient::Usable(StatusCode code) noexcept {
  return code != StatusCode::kPeerDead && code != StatusCode::kInDoubt &&
         code != StatusCode::kCancelled && code != StatusCode::kInternal;
}

bool BlockClient::Put(const Stretch& stretch, bool durable) {
  std::vector<std::uint32_t> versions;
  for (std::uint32_t index = 0; index < stretch.count; ++index) {
    const Place place = PlaceOf(stretch, index);
    versions.push_back(oracle_.BeginPut(place));
    FillBlock({.store = options_.store_id,
               .space = place.space,
               .chain = place.chain,
               .position = place.position},
              versions.back(), MemoryOf(stretch, index));
  }
  const Result<std::vector<BlockResult>> results =
      client_->Put(ids_[stretch.space], ChainOf(stretch), BuffersOf(stretch), {}, In(kPatience),
                   durable ? Ack::kDurable : Ack::kCommitted);
  bool usable = Usable(results.code());
  for (std::uint32_t index = 0; index < stretch.count; ++index) {
    PutEnd end = PutEnd::kUnknown;
    if (results.ok()) {
      end = EndOf((*results)[index]);
      usable = usable && Usable((*results)[index].status);
    }
    oracle_.EndPut(PlaceOf(stretch, index), versions[index], end);
  }
  return usable;
}

void BlockClient::CheckBlock(const Place& place, const BlockResult& result,
                             std::span<const std::byte> bytes, Tick began) {
  const BlockName name{.store = options_.store_id,
                       .space = place.space,
                       .chain = place.chain,
                       .position = place.position};
  const Result<std::uint32_t> version = VersionOf(name, bytes);
  Status right = version.ok() ? oracle_.CheckGet(place, *version, began) : version.status();
  if (right.ok() && result.valid_tokens != kBlockTokens) {
    right = Status(StatusCode::kCorrupt, "valid_tokens is " + std::to_string(result.valid_tokens));
  }
  if (right.ok()) return;
  const std::string what = version.ok() ? "version " + std::to_string(*version) : "a get";
  findings_.Report(Finding::kWrong, what + " from " + std::string(TierName(result.tier)) + ": " +
                                        right.message() + "; " + oracle_.Describe(place));
}

Result<std::vector<BlockResult>> BlockClient::Fetch(const Stretch& stretch) {
  const std::uint64_t bytes = spaces_[stretch.space].block_bytes * stretch.count;
  std::memset(client_->RegionMemory(region_).data(), kPoison, bytes);
  const Tick began = oracle_.Now();
  Result<std::vector<BlockResult>> results =
      client_->Get(ids_[stretch.space], ChainOf(stretch), BuffersOf(stretch), {}, In(kPatience));
  if (!results.ok()) return results;
  for (std::uint32_t index = 0; index < stretch.count; ++index) {
    const BlockResult& result = (*results)[index];
    const Place place = PlaceOf(stretch, index);
    if (result.status == StatusCode::kOk) {
      CheckBlock(place, result, MemoryOf(stretch, index), began);
    } else if (result.status == StatusCode::kMiss) {
      oracle_.NoteMiss(place, began);
    }
  }
  return results;
}

bool BlockClient::Get(const Stretch& stretch) {
  const Result<std::vector<BlockResult>> results = Fetch(stretch);
  if (!results.ok()) return Usable(results.code());
  return std::all_of(results->begin(), results->end(),
                     [](const BlockResult& result) { return Usable(result.status); });
}

bool BlockClient::Remove(const Stretch& stretch) {
  for (std::uint32_t index = 0; index < stretch.count; ++index) {
    oracle_.BeginRemove(PlaceOf(stretch, index));
  }
  const Result<std::vector<BlockResult>> results = client_->Remove(
      ids_[stretch.space], ChainOf(stretch), stretch.first, stretch.count, {}, In(kPatience));
  bool usable = Usable(results.code());
  for (std::uint32_t index = 0; index < stretch.count; ++index) {
    const StatusCode code = results.ok() ? (*results)[index].status : StatusCode::kTimeout;
    usable = usable && Usable(code);
    oracle_.EndRemove(PlaceOf(stretch, index), RemoveEndOf(code));
  }
  return usable;
}

bool BlockClient::Clear(std::uint32_t space) {
  oracle_.BeginClear(space);
  const Result<std::uint64_t> cleared = client_->ClearNamespace(SpaceName(space), In(kPatience));
  oracle_.EndClear(space, cleared.ok());
  return Usable(cleared.code());
}

bool BlockClient::Match(const Stretch& stretch) {
  return Usable(client_->Match(ids_[stretch.space], ChainOf(stretch), {}, In(kPatience)).code());
}

}  // namespace terrace::crash
