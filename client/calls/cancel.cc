// Client: cancel, fence and drain. What they wait for is known to the loop (request_watch.cc) and,
// of regions that are being made, to the registrar.
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "client/calls/client_impl.h"
#include "client/terrace.hpp"

namespace terrace {
namespace {

/// Where the pieces lie; kInvalid names the one that does not lie in its region.
Result<std::vector<std::span<const std::byte>>> StretchesOf(const RegionTable& regions,
                                                            std::span<const MemoryPiece> memory) {
  if (memory.empty() || memory.size() > kChainBlocksMax) {
    return Status::Invalid("the number of pieces of memory is " + std::to_string(memory.size()) +
                           ", not 1 to " + std::to_string(kChainBlocksMax));
  }
  std::vector<std::span<const std::byte>> stretches;
  stretches.reserve(memory.size());
  for (std::size_t i = 0; i < memory.size(); ++i) {
    const MemoryPiece& piece = memory[i];
    const std::span<const std::byte> region = regions.Memory(piece.region.value);
    const std::string name = "memory[" + std::to_string(i) + "]";
    if (region.empty()) {
      return Status::Invalid(name + ".region: region " + std::to_string(piece.region.value) +
                             " is not registered");
    }
    if (piece.length == 0) return Status::Invalid(name + ".length is 0");
    if (piece.offset > region.size() || region.size() - piece.offset < piece.length) {
      return Status::Invalid(name + ": offset " + std::to_string(piece.offset) + " and length " +
                             std::to_string(piece.length) + " reach past region " +
                             std::to_string(piece.region.value) + " of " +
                             std::to_string(region.size()) + " bytes");
    }
    stretches.push_back(region.subspan(piece.offset, piece.length));
  }
  return Apart(std::move(stretches));
}

/// As the waiting calls: from here on the caller may run the library's loop, which cannot be left
/// in the middle.
Status Await(ClientCore& core, CallQuery query, const std::shared_ptr<CallWatch>& watch,
             Nanos end) noexcept {
  return core.AwaitCalls(std::move(query), watch, end);
}

Status RegionUnderWay() { return {StatusCode::kTimeout, "a region is still being made"}; }

}  // namespace

Status Client::Cancel(Ticket ticket, Deadline deadline) try {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  const std::shared_ptr<ClientCore> core = impl_->core();
  if (!core->KnowsTicket(ticket)) {
    return Status::Invalid("ticket " + std::to_string(ticket) + " is not one of this client");
  }
  const Nanos end = ToNanos(deadline, core->clock().Now());
  const auto watch = std::make_shared<CallWatch>(true);
  if (!core->registrar().Cancel(ticket, end)) return RegionUnderWay();
  return Await(*core, {.which = CallQuery::Which::kTicket, .ticket = ticket, .gives_up = true},
               watch, end);
} catch (const std::bad_alloc&) {
  return Impl::OutOfMemory();
}

Status Client::Fence(std::span<const MemoryPiece> memory, Deadline deadline) try {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  const std::shared_ptr<ClientCore> core = impl_->core();
  Result<std::vector<std::span<const std::byte>>> stretches = StretchesOf(core->regions(), memory);
  if (!stretches.ok()) return stretches.status();
  const auto watch = std::make_shared<CallWatch>(true);
  return Await(*core,
               {.which = CallQuery::Which::kMemory,
                .memory = std::move(stretches.value()),
                .gives_up = true},
               watch, ToNanos(deadline, core->clock().Now()));
} catch (const std::bad_alloc&) {
  return Impl::OutOfMemory();
}

Status Client::Drain(Deadline deadline) try {
  if (Status status = impl_->CheckProcess(); !status.ok()) return status;
  const std::shared_ptr<ClientCore> core = impl_->core();
  const Nanos end = ToNanos(deadline, core->clock().Now());
  const auto watch = std::make_shared<CallWatch>(false);
  if (!core->registrar().Drain(end)) return RegionUnderWay();
  return Await(*core, {.which = CallQuery::Which::kSubmitted}, watch, end);
} catch (const std::bad_alloc&) {
  return Impl::OutOfMemory();
}

}  // namespace terrace
