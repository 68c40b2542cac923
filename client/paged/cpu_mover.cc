#include "client/paged/cpu_mover.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "client/paged/cache_extent.h"
#include "client/paged/cpu_pages.h"
#include "client/paged/make_map.h"
#include "client/paged/stored_shape.h"

namespace terrace::paged {
namespace {

/// True when this process can read the byte: the kernel tries, so that nothing faults.
bool CanRead(std::uintptr_t address) {
  char byte = 0;
  const iovec here{&byte, 1};
  const iovec there{AddressOf(address), 1};
  return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1 || errno == ENOSYS ||
         errno == EPERM;
}

Status CheckMemory(const CacheLayout& cache, std::span<void* const> bases) {
  for (std::size_t layer = 0; layer < bases.size(); ++layer) {
    const Extent extent = ExtentOf(cache, bases[layer]);
    for (const std::uintptr_t address : {extent.begin, extent.end - 1}) {
      if (CanRead(address)) continue;
      return Status::Invalid("layer_bases[" + std::to_string(layer) + "]: byte " +
                             std::to_string(static_cast<std::int64_t>(
                                 address - reinterpret_cast<std::uintptr_t>(bases[layer]))) +
                             " of the layer is no memory of this process");
    }
  }
  return {};
}

}  // namespace

CpuMover::CpuMover(const CacheLayout& cache, const StoredLayout& stored,
                   std::span<void* const> bases)
    : cache_(cache),
      stored_(stored),
      bases_(bases.begin(), bases.end()),
      table_(LayerTable(bases, {})) {}

Result<std::shared_ptr<CpuMover>> CpuMover::Make(const CacheLayout& cache,
                                                 const StoredLayout& stored,
                                                 std::span<void* const> bases) {
  Status status = ValidateStored(cache, stored);
  if (status.ok()) status = ValidateBases(cache, bases);
  if (status.ok()) status = CheckMemory(cache, bases);
  if (!status.ok()) return status;
  return std::shared_ptr<CpuMover>(new CpuMover(cache, stored, bases));
}

Status CpuMover::RegisterFrames(std::span<std::byte>, bool) { return {}; }

void CpuMover::DeregisterFrames(std::span<std::byte>) {}

Result<std::span<std::byte>> CpuMover::AllocateDeviceFrames(std::uint64_t /*bytes*/) {
  return Status(StatusCode::kUnsupported, "the pages are in no memory of a GPU");
}

Result<StreamPoint> CpuMover::Mark(void* stream) {
  if (stream != nullptr) return Status::Invalid("stream is not null: a CPU has none");
  return StreamPoint{};
}

Result<MoveId> CpuMover::Start(const MoveRequest& request) {
  const LayerSpan layers{request.first_layer, request.layers};
  if (request.blocks.empty() || request.blocks.size() > kMaxMoveBlocks) {
    return Status::Invalid("blocks has " + std::to_string(request.blocks.size()) +
                           " blocks, not 1 to " + std::to_string(kMaxMoveBlocks));
  }
  if (request.layers == 0) return Status::Invalid("layers is 0");
  if (Status status = ValidateLayers(cache_, layers); !status.ok()) return status;
  std::uint64_t* slot = nullptr;
  {
    const std::lock_guard lock(mutex_);
    slot = std::find(ended_.begin(), ended_.end(), 0U);
    if (slot == ended_.end()) return Status(StatusCode::kRetry, "too many moves are not asked for");
    *slot = ++last_;
  }
  const MoveId move{*slot};
  const bool gathers = request.way == MoveWay::kGather;
  PageTables tables{.layer_bases = table_.data() + layers.first, .pages = nullptr};
  if (IsQuantised(stored_)) {
    const QuantMap map = BuildQuantMap(cache_, stored_, layers);
    for (const BlockMove& block : request.blocks) {
      tables.pages = block.pages;
      gathers ? GatherQuantised(map, tables, block.frame)
              : ScatterQuantised(map, tables, block.frame);
    }
    return move;
  }
  const PageMap map = BuildPageMap(cache_, stored_, bases_, layers);
  for (const BlockMove& block : request.blocks) {
    tables.pages = block.pages;
    gathers ? Gather(map, tables, block.frame) : Scatter(map, tables, block.frame);
  }
  return move;
}

Status CpuMover::Done(MoveId move) {
  const std::lock_guard lock(mutex_);
  auto* slot = move.value == 0 ? ended_.end() : std::find(ended_.begin(), ended_.end(), move.value);
  if (slot == ended_.end()) {
    return Status::Invalid("move is " + std::to_string(move.value) +
                           ", which has ended or never was");
  }
  *slot = 0;
  return {};
}

}  // namespace terrace::paged
