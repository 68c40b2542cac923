#include "tools/replay/trace/trace.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <utility>

namespace terrace::replay {

Status Trace::Append(std::uint64_t timestamp_ms, std::uint64_t input_tokens,
                     std::uint64_t output_tokens, std::span<const std::uint64_t> ids) {
  if (!requests.empty() && timestamp_ms < requests.back().timestamp_ms) {
    return Status::Invalid("timestamp " + std::to_string(timestamp_ms) +
                           " is before the previous request's " +
                           std::to_string(requests.back().timestamp_ms));
  }
  return AppendAtAnyTime(timestamp_ms, input_tokens, output_tokens, ids);
}

Status Trace::AppendAtAnyTime(std::uint64_t timestamp_ms, std::uint64_t input_tokens,
                              std::uint64_t output_tokens, std::span<const std::uint64_t> ids) {
  const std::uint64_t blocks = (input_tokens + block_tokens - 1) / block_tokens;
  if (ids.size() != blocks) {
    return Status::Invalid("hash_ids has " + std::to_string(ids.size()) +
                           " ids, but input_length " + std::to_string(input_tokens) + " makes " +
                           std::to_string(blocks) + " blocks of " + std::to_string(block_tokens) +
                           " tokens");
  }
  if (requests.size() >= kRequestsMax || hash_ids.size() + ids.size() > kReferencesMax) {
    return Status::Invalid("the trace is longer than " + std::to_string(kRequestsMax) +
                           " requests or " + std::to_string(kReferencesMax) + " block references");
  }
  requests.push_back({.timestamp_ms = timestamp_ms,
                      .input_tokens = static_cast<std::uint32_t>(input_tokens),
                      .output_tokens = static_cast<std::uint32_t>(output_tokens),
                      .first_reference = static_cast<std::uint32_t>(hash_ids.size()),
                      .block_count = static_cast<std::uint32_t>(ids.size())});
  hash_ids.insert(hash_ids.end(), ids.begin(), ids.end());
  return Status::Ok();
}

std::vector<std::uint32_t> Trace::OrderByTime() const {
  std::vector<std::uint32_t> order(requests.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](std::uint32_t index) {
    return std::pair(requests[index].timestamp_ms, index);
  });
  return order;
}

void Trace::SortByTime() {
  if (std::ranges::is_sorted(requests, {}, &TraceRequest::timestamp_ms)) return;
  const std::vector<std::uint32_t> order = OrderByTime();
  std::vector<TraceRequest> sorted;
  std::vector<std::uint64_t> moved;
  sorted.reserve(requests.size());
  moved.reserve(hash_ids.size());
  for (const std::uint32_t index : order) {
    const auto ids = BlocksOf(index);
    sorted.push_back(requests[index]);
    sorted.back().first_reference = static_cast<std::uint32_t>(moved.size());
    moved.insert(moved.end(), ids.begin(), ids.end());
  }
  requests = std::move(sorted);
  hash_ids = std::move(moved);
}

void Trace::NumberSessions() {
  std::unordered_map<std::uint32_t, std::uint32_t> numbers;
  std::vector<std::uint32_t> turns;
  for (TraceRequest& request : requests) {
    request.turn = 0;
    if (request.session == kNoSession) continue;
    const auto [entry, added] =
        numbers.try_emplace(request.session, static_cast<std::uint32_t>(turns.size()));
    if (added) turns.push_back(0);
    request.session = entry->second;
    request.turn = turns[request.session]++;
  }
  sessions = static_cast<std::uint32_t>(turns.size());
}

void Trace::KeepFirst(std::size_t count) {
  if (count >= requests.size()) return;
  requests.resize(count);
  hash_ids.resize(count == 0 ? 0 : requests.back().first_reference + requests.back().block_count);
  NumberSessions();
}

Result<std::uint32_t> Trace::CategoryIndex(const std::string& name) {
  if (categories.empty() && !requests.empty()) categories.emplace_back(kUnnamedCategory);
  const auto found = std::ranges::find(categories, name);
  if (found == categories.end()) {
    if (categories.size() >= kCategoriesMax) {
      return Status::Invalid("there are more than " + std::to_string(kCategoriesMax) +
                             " categories");
    }
    categories.push_back(name);
    return static_cast<std::uint32_t>(categories.size() - 1);
  }
  return static_cast<std::uint32_t>(found - categories.begin());
}

}  // namespace terrace::replay
