// RequestFlow's answer to cancel, fence and drain: find the calls that are meant, give them up,
// tell when they are over.
#include <algorithm>
#include <functional>
#include <utility>

#include "client/request_flow.h"

namespace terrace {
namespace {

constexpr std::less<const std::byte*> before;  // of unrelated memory, too

using Stretches = std::vector<std::span<const std::byte>>;

bool Overlaps(PieceMemory::Piece used, const Stretches& memory) {
  // The first stretch that ends behind the beginning of `used`.
  const auto stretch =
      std::partition_point(memory.begin(), memory.end(), [&](std::span<const std::byte> asked) {
        return !before(used.data(), asked.data() + asked.size());
      });
  return stretch != memory.end() && before(stretch->data(), used.data() + used.size());
}

/// Something may still touch a byte of `memory` for this part.
bool Touches(const RequestPart& part, const Stretches& memory) {
  if (part.state == PartState::kDone) return false;
  for (std::size_t block = 0; block < part.memory.size(); ++block) {
    const std::span<const PieceMemory::Piece> pieces = part.memory[block];
    if (std::any_of(pieces.begin(), pieces.end(),
                    [&](PieceMemory::Piece piece) { return Overlaps(piece, memory); })) {
      return true;
    }
  }
  return false;
}

bool Means(const CallQuery& query, const Request& request) {
  switch (query.which) {
    case CallQuery::Which::kTicket: return request.ticket == query.ticket;
    case CallQuery::Which::kSubmitted: return request.ticket != 0 && !request.ended;
    case CallQuery::Which::kMemory: break;
  }
  return std::any_of(request.parts.begin(), request.parts.end(),
                     [&](const RequestPart& part) { return Touches(part, query.memory); });
}

}  // namespace

std::vector<std::span<const std::byte>> Apart(std::vector<std::span<const std::byte>> memory) {
  std::sort(memory.begin(), memory.end(),
            [](const auto& left, const auto& right) { return before(left.data(), right.data()); });
  std::vector<std::span<const std::byte>> apart;
  for (const std::span<const std::byte> stretch : memory) {
    if (apart.empty() || before(apart.back().data() + apart.back().size(), stretch.data())) {
      apart.push_back(stretch);
      continue;
    }
    std::span<const std::byte>& last = apart.back();
    const auto reach = static_cast<std::size_t>(stretch.data() - last.data()) + stretch.size();
    last = {last.data(), std::max(last.size(), reach)};
  }
  return apart;
}

void RequestFlow::Watch(const CallQuery& query, const std::shared_ptr<CallWatch>& watch) {
  // A copy: what is given up may be over at once, and leaves the list.
  std::vector<RequestRef> meant;
  std::copy_if(live_.begin(), live_.end(), std::back_inserter(meant),
               [&query](const RequestRef& request) { return Means(query, *request); });
  watch->left += meant.size();
  for (const RequestRef& request : meant) request->watches.push_back(watch);
  if (query.gives_up) {
    const Status cancelled(StatusCode::kCancelled, "cancelled by the caller");
    for (const RequestRef& request : meant) {
      if (!request->ended) GiveUp(request, cancelled);
    }
  }
  watch->OneLess();
}

void RequestFlow::Retire(Request& request) {
  const std::size_t place = request.live_index;
  live_.back()->live_index = place;
  // `request` may lose its last owner only when its caller lets go of it, which outlives this.
  std::swap(live_[place], live_.back());
  live_.pop_back();
}

void RequestFlow::Tell(Request& request, bool quiet) {
  std::erase_if(request.watches, [quiet](const std::shared_ptr<CallWatch>& watch) {
    if (watch->quiet && !quiet) return false;
    watch->OneLess();
    return true;
  });
}

}  // namespace terrace
