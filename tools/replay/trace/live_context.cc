#include "tools/replay/trace/live_context.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

namespace terrace::replay {
namespace {

/// A number of live blocks as it changes with time.
class LiveOverTime {
 public:
  void Begin() { peak_ = std::max(peak_, ++live_); }
  void End() { --live_; }
  /// What is live now lasts for so long.
  void Last(std::uint64_t ms) {
    if (ms > 0) lasted_.emplace_back(live_, ms);
  }

  LiveContext Result() {
    LiveContext result{.max_blocks = peak_};
    double total_ms = 0;
    double sum = 0;
    for (const auto& [blocks, ms] : lasted_) {
      total_ms += static_cast<double>(ms);
      sum += static_cast<double>(blocks) * static_cast<double>(ms);
    }
    if (total_ms == 0) {
      result.mean_blocks = static_cast<double>(peak_);
      result.p50_blocks = result.p90_blocks = peak_;
      return result;
    }
    std::ranges::sort(lasted_);
    result.mean_blocks = sum / total_ms;
    double passed_ms = 0;
    bool half_passed = false;
    for (const auto& [blocks, ms] : lasted_) {
      passed_ms += static_cast<double>(ms);
      if (!half_passed && passed_ms >= total_ms * 0.5) {
        result.p50_blocks = blocks;
        half_passed = true;
      }
      if (passed_ms >= total_ms * 0.9) {
        result.p90_blocks = blocks;
        break;
      }
    }
    return result;
  }

 private:
  std::uint64_t live_ = 0;
  std::uint64_t peak_ = 0;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> lasted_;  // blocks, ms
};

/// Walks the requests in time; `use` is called with each, then `end` with those of one moment.
template <typename Use, typename End>
LiveContext Walk(const Trace& trace, LiveOverTime& live, Use use, End end) {
  const auto& requests = trace.requests;
  for (std::size_t first = 0; first < requests.size();) {
    std::size_t next = first;
    const std::uint64_t now_ms = requests[first].timestamp_ms;
    while (next < requests.size() && requests[next].timestamp_ms == now_ms) use(next++);
    for (std::size_t request = first; request < next; ++request) end(request);
    if (next < requests.size()) live.Last(requests[next].timestamp_ms - now_ms);
    first = next;
  }
  return live.Result();
}

LiveContext WithoutSessions(const Trace& trace, const BlockNumbers& blocks) {
  std::vector<std::uint32_t> last_use(blocks.distinct);
  for (std::size_t request = 0; request < trace.requests.size(); ++request) {
    for (const std::uint32_t block : blocks.Of(trace.requests[request])) {
      last_use[block] = static_cast<std::uint32_t>(request);
    }
  }
  std::vector<bool> used(blocks.distinct);
  LiveOverTime live;
  return Walk(
      trace, live,
      [&](std::size_t request) {
        for (const std::uint32_t block : blocks.Of(trace.requests[request])) {
          if (!used[block]) live.Begin();
          used[block] = true;
        }
      },
      [&](std::size_t request) {
        for (const std::uint32_t block : blocks.Of(trace.requests[request])) {
          if (last_use[block] != request) continue;
          live.End();
          last_use[block] = kNoSession;  // a request may hold a block only once, but be sure
        }
      });
}

struct Running {
  std::unordered_set<std::uint32_t> blocks;
  std::size_t last_request = 0;
};

LiveContext OfSessions(const Trace& trace, const BlockNumbers& blocks) {
  std::vector<Running> sessions(trace.sessions);
  for (std::size_t request = 0; request < trace.requests.size(); ++request) {
    const std::uint32_t session = trace.requests[request].session;
    if (session != kNoSession) sessions[session].last_request = request;
  }
  std::vector<std::uint32_t> users(blocks.distinct);  // running sessions that used a block
  LiveOverTime live;
  return Walk(
      trace, live,
      [&](std::size_t request) {
        const std::uint32_t session = trace.requests[request].session;
        if (session == kNoSession) return;
        for (const std::uint32_t block : blocks.Of(trace.requests[request])) {
          if (!sessions[session].blocks.insert(block).second) continue;
          if (users[block]++ == 0) live.Begin();
        }
      },
      [&](std::size_t request) {
        const std::uint32_t session = trace.requests[request].session;
        if (session == kNoSession || sessions[session].last_request != request) return;
        for (const std::uint32_t block : sessions[session].blocks) {
          if (--users[block] == 0) live.End();
        }
        sessions[session].blocks = {};
      });
}

}  // namespace

LiveContext MeasureLiveContext(const Trace& trace, const BlockNumbers& blocks) {
  return trace.sessions == 0 ? WithoutSessions(trace, blocks) : OfSessions(trace, blocks);
}

}  // namespace terrace::replay
