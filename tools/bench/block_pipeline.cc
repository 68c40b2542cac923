#include "tools/bench/block_pipeline.h"

#include <algorithm>
#include <chrono>

#include "tools/bench/block_workload.h"

namespace terrace::bench {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kCallMax = std::chrono::seconds(30);

struct InFlight {
  Ticket ticket = 0;
  std::size_t index = 0;
  Clock::time_point started;
};

InFlight SubmitOne(const BlockSource& source, std::span<const BlockBuffer> blocks,
                   std::size_t index, bool put) {
  const InFlight call{.ticket = 0, .index = index, .started = Clock::now()};
  const auto one = blocks.subspan(index, 1);
  const Result<Ticket> ticket =
      put ? source.client.SubmitPut(source.space, source.chain, one, {}, In(kCallMax),
                                    Ack::kDurable)
          : source.client.SubmitGet(source.space, source.chain, one, {}, In(kCallMax));
  Require(ticket.status(), put ? "put" : "get");
  return {.ticket = *ticket, .index = call.index, .started = call.started};
}

}  // namespace

std::unique_ptr<Client> ConnectByCopy(const std::string& address) {
  Result<std::unique_ptr<Client>> client =
      Client::Connect({.address = address, .name = "terrace-bench"});
  Require(client.status(), "connect to " + address);
  const std::string link = (*client)->LinkName();
  if (link != "copy") Require(Status(StatusCode::kUnsupported, "the link is " + link), "link");
  return std::move(client).value();
}

PipelineRun RunPipeline(const BlockSource& source, std::span<const BlockBuffer> blocks, bool put,
                        const std::atomic<bool>* stop) {
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
    for (; next < end && in_flight.size() < kDepth; ++next) {
      in_flight.push_back(SubmitOne(source, blocks, next, put));
    }
    if (in_flight.empty()) break;
    Require(source.client.WaitForCompletion(In(2 * kCallMax)), "wait");
    for (Completion& completion : source.client.Poll()) {
      const auto call = std::ranges::find(in_flight, completion.ticket, &InFlight::ticket);
      if (call == in_flight.end()) Require(Status::Internal("a stranger's ticket"), "poll");
      Require(completion.status, put ? "put" : "get");
      run.results[call->index] = completion.blocks.at(0);
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
