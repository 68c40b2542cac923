// RequestFlow's answer to cancel, fence and drain: find the calls that are meant, give them up,
// tell when they are over.
#include <algorithm>
#include <functional>
#include <utility>

#include "client/session/request_flow.h"

namespace terrace {
namespace {

constexpr std::less<const std::byte*> before;  // of unrelated memory, too

using Stretches = std::vector<std::span<const std::byte>>;

bool Overlaps(const std::byte* begin, const std::byte* end, const Stretches& memory) {
  // The first stretch that ends behind `begin`.
  const auto stretch =
      std::partition_point(memory.begin(), memory.end(), [&](std::span<const std::byte> asked) {
        return !before(begin, asked.data() + asked.size());
      });
  return stretch != memory.end() && before(stretch->data(), end);
}

/// Something may still touch a byte of `memory` for this part.
bool Touches(const RequestPart& part, const Stretches& memory) {
  if (part.state == PartState::kDone) return false;
  for (std::size_t block = 0; block < part.memory.size(); ++block) {
    const std::span<const PieceMemory::Piece> pieces = part.memory[block];
    if (std::any_of(pieces.begin(), pieces.end(), [&](PieceMemory::Piece piece) {
          return Overlaps(piece.data(), piece.data() + piece.size(), memory);
        })) {
      return true;
    }
  }
  return false;
}

/// Whether a call that may be meant is.
bool Means(const CallQuery& query, const Request& request) {
  switch (query.which) {
    case CallQuery::Which::kTicket: return true;
    case CallQuery::Which::kSubmitted: return !request.ended;
    case CallQuery::Which::kMemory: break;
  }
  return std::any_of(request.parts.begin(), request.parts.end(),
                     [&](const RequestPart& part) { return Touches(part, query.memory); });
}

/// Nothing grows by those that have gone: they make room before there is more.
void Attach(Request& request, const std::shared_ptr<CallWatch>& watch) {
  std::vector<std::shared_ptr<CallWatch>>& watches = request.watches;
  if (watches.size() == watches.capacity()) {
    std::erase_if(watches, [](const std::shared_ptr<CallWatch>& other) {
      return other->abandoned.load(std::memory_order_relaxed);
    });
  }
  watches.push_back(watch);
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

namespace {

/// Whether a call may be meant, by what is known without a look into it.
bool MayMean(const CallQuery& query, const RequestFlow::Live& live) {
  switch (query.which) {
    case CallQuery::Which::kTicket: return live.ticket == query.ticket;
    case CallQuery::Which::kSubmitted: return live.ticket != 0;
    case CallQuery::Which::kMemory: break;
  }
  return Overlaps(live.lowest, live.highest, query.memory);
}

}  // namespace

bool RequestFlow::AnyMeant(const CallQuery& query) const {
  return std::any_of(live_.begin(), live_.end(), [&query](const Live& live) {
    return MayMean(query, live) && Means(query, *live.request);
  });
}

void RequestFlow::Watch(CallQuery query, const std::shared_ptr<CallWatch>& watch) {
  // A copy: what is given up may be over at once, and leaves the list.
  Watching watching{.query = std::move(query), .watch = watch, .calls = {}};
  const bool looks = watching.query.only_looks;
  for (Live& live : live_) {
    // Who looks again and again gives up each call once.
    if (looks && (!watching.query.gives_up || live.given_up)) continue;
    if (!MayMean(watching.query, live)) continue;
    if (looks && !Means(watching.query, *live.request)) continue;
    live.given_up = looks;
    watching.calls.push_back(live.request);
  }
  if (WatchSome(watching)) {
    watching_.push_back(std::move(watching));
    if (watching_.size() == 1) WatchLater();
  } else if (looks && !AnyMeant(watching.query)) {
    watch->OneLess();
  }
}

bool RequestFlow::WatchSome(Watching& watching) {
  const CallQuery& query = watching.query;
  const Status cancelled(StatusCode::kCancelled, "cancelled by the caller");
  const std::size_t end = std::min(watching.calls.size(), watching.next + kWatchedAtOnce);
  for (; watching.next < end; ++watching.next) {
    // Let go of here: the last owner of a call that is over frees it.
    const RequestRef request = std::move(watching.calls[watching.next]);
    if (!Means(query, *request)) continue;
    if (!query.only_looks) {
      ++watching.watch->left;
      Attach(*request, watching.watch);
    }
    if (query.gives_up && !request->ended) GiveUp(request, cancelled);
  }
  if (end < watching.calls.size()) return true;
  if (!query.only_looks) watching.watch->OneLess();
  return false;
}

void RequestFlow::WatchLater() {
  shared_.scheduler.AddTimer(shared_.scheduler.Now(), [this] {
    // FinishWatching may have been before it.
    if (!watching_.empty() && !WatchSome(watching_.front())) watching_.pop_front();
    if (!watching_.empty()) WatchLater();
  });
}

void RequestFlow::FinishWatching() {
  for (; !watching_.empty(); watching_.pop_front()) {
    while (WatchSome(watching_.front())) {
    }
  }
}

void RequestFlow::Enlist(const RequestRef& request) {
  Live live{.request = request, .ticket = request->ticket};
  for (const RequestPart& part : request->parts) {
    for (std::size_t block = 0; block < part.memory.size(); ++block) {
      for (const PieceMemory::Piece& piece : part.memory[block]) {
        const std::byte* const end = piece.data() + piece.size();
        if (live.highest == nullptr || before(piece.data(), live.lowest))
          live.lowest = piece.data();
        if (live.highest == nullptr || before(live.highest, end)) live.highest = end;
      }
    }
  }
  request->live_index = live_.size();
  live_.push_back(std::move(live));
}

void RequestFlow::Retire(Request& request) {
  const std::size_t place = request.live_index;
  live_.back().request->live_index = place;
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
