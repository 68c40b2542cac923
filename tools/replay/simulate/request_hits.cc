#include "tools/replay/simulate/request_hits.h"

namespace terrace::replay {

RequestHits SimulateRequests(const Trace& trace, const BlockNumbers& blocks,
                             const SimulatedTiersOptions& tiers, const RequestShape& shape,
                             const HitProgress& progress) {
  RunSimulation simulation(trace, blocks, shape.batch_blocks, tiers, shape.hints);
  RequestHits result;
  result.leading.reserve(trace.requests.size());
  ProgressSteps steps(progress);
  for (std::size_t request = 0; request < trace.requests.size() && !result.stopped; ++request) {
    result.leading.push_back(simulation.Prefill(request));
    if (shape.decodes) simulation.Decode(request);
    result.stopped = !steps.Add(trace.requests[request].block_count);
  }
  (void)steps.Flush();
  result.run = simulation.Result();
  return result;
}

}  // namespace terrace::replay
