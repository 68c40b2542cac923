#include "tools/bench/load/block_pipeline.h"

#include <algorithm>
#include <chrono>

#include "tools/bench/load/block_workload.h"

namespace terrace::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kCallMax = std::chrono::seconds(30);

const char* NameOf(PipelineKind kind) {
  switch (kind) {
    case PipelineKind::kGet: return "get";
    case PipelineKind::kLend: return "lend";
    case PipelineKind::kPutDurable: break;
  }
  return "put";
}

struct InFlight {
  Ticket ticket = 0;
  std::size_t index = 0;
  Clock::time_point started;
};

InFlight SubmitOne(const BlockSource& source, std::span<const BlockBuffer> blocks,
                   std::size_t index, PipelineKind kind) {
  const InFlight call{.ticket = 0, .index = index, .started = Clock::now()};
  const auto one = blocks.subspan(index, 1);
  const Deadline deadline = In(kCallMax);
  const auto submit = [&]() -> Result<Ticket> {
    Client& client = source.client;
    switch (kind) {
      case PipelineKind::kGet:
        return client.SubmitGet(source.space, source.chain, one, {}, deadline);
      case PipelineKind::kLend:
        return client.SubmitLend(source.space, source.chain, std::span(&one[0].position, 1), {},
                                 deadline);
      case PipelineKind::kPutDurable: break;
    }
    return client.SubmitPut(source.space, source.chain, one, {}, deadline, Ack::kDurable);
  };
  const Result<Ticket> ticket = submit();
  Require(ticket.status(), NameOf(kind));
  return {.ticket = *ticket, .index = call.index, .started = call.started};
}

/// Takes the answer to one call of one block.
BlockResult TakeAnswer(Completion& completion, std::size_t index, bool keep, PipelineRun& run) {
  if (completion.lent.empty()) return completion.blocks.at(0);
  LentBlock& lent = completion.lent.front();
  BlockResult result{.status = lent.status, .tier = lent.tier, .valid_tokens = lent.valid_tokens};
  if (lent.status != StatusCode::kOk) return result;
  if (keep) {
    run.kept.push_back({index, std::move(lent)});
  } else {
    result.status = lent.Release();
  }
  return result;
}

}  // namespace

std::size_t PutDepth(std::uint64_t block_bytes) noexcept {
  constexpr std::uint64_t kMost = 32;
  constexpr std::uint64_t kBytesMost = 64 << 20;
  return static_cast<std::size_t>(
      std::clamp<std::uint64_t>(kBytesMost / block_bytes, kDepth, kMost));
}

std::unique_ptr<Client> ConnectOnThisHost(const std::string& address,
                                          std::chrono::microseconds spin) {
  Result<std::unique_ptr<Client>> client =
      Client::Connect({.address = address, .name = "terrace-bench", .spin = spin});
  Require(client.status(), "connect to " + address);
  const std::string link = (*client)->LinkName();
  if (link != "shm") Require(Status(StatusCode::kUnsupported, "the link is " + link), "link");
  return std::move(client).value();
}

PipelineRun RunPipeline(const BlockSource& source, std::span<const BlockBuffer> blocks,
                        PipelineKind kind, std::size_t depth, const std::atomic<bool>* stop) {
  PipelineRun run;
  run.results.resize(blocks.size());
  for (BlockResult& result : run.results) result.status = StatusCode::kCancelled;
  run.latencies_s.resize(blocks.size());
  std::vector<InFlight> in_flight;
  const CpuTimes cpu_before = OwnCpu();
  const auto started = Clock::now();
  std::size_t end = blocks.size();
  for (std::size_t next = 0; next < end || !in_flight.empty();) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed)) end = std::min(end, next);
    for (; next < end && in_flight.size() < depth; ++next) {
      in_flight.push_back(SubmitOne(source, blocks, next, kind));
    }
    if (in_flight.empty()) break;
    Require(source.client.WaitForCompletion(In(2 * kCallMax)), "wait");
    for (Completion& completion : source.client.Poll()) {
      const auto call = std::ranges::find(in_flight, completion.ticket, &InFlight::ticket);
      if (call == in_flight.end()) Require(Status::Internal("a stranger's ticket"), "poll");
      Require(completion.status, NameOf(kind));
      run.results[call->index] =
          TakeAnswer(completion, call->index, call->index + depth >= blocks.size(), run);
      run.latencies_s[call->index] =
          std::chrono::duration<double>(Clock::now() - call->started).count();
      in_flight.erase(call);
    }
  }
  run.seconds = std::chrono::duration<double>(Clock::now() - started).count();
  run.cpu = OwnCpu() - cpu_before;
  return run;
}

}  // namespace terrace::bench
