// terrace.h: load or compute.
#include <algorithm>
#include <cstring>

#include "client/c/call.h"
#include "client/c/convert.h"

using namespace terrace::c;  // NOLINT: the functions below are C's, in no namespace
using terrace::BlockSpan;
using terrace::Chain;
using terrace::Client;
using terrace::GroupPolicy;
using terrace::LoadPlan;
using terrace::PlanRequest;
using terrace::Result;
using terrace::Status;
using terrace::TokenSpan;

namespace {

terrace_token_span FromSpan(const TokenSpan& span) { return {span.first, span.count}; }

terrace_load_plan FromPlan(const LoadPlan& plan) {
  terrace_load_plan shown = TERRACE_LOAD_PLAN_INIT;
  shown.front = plan.front;
  shown.back = plan.back;
  shown.stop = plan.stop;
  shown.meanwhile = FromSpan(plan.compute[0]);
  shown.then = FromSpan(plan.compute[1]);
  shown.seconds = plan.seconds;
  shown.load_seconds = plan.load_seconds;
  shown.load_all_seconds = plan.load_all_seconds;
  shown.compute_all_seconds = plan.compute_all_seconds;
  return shown;
}

}  // namespace

extern "C" {

terrace_status terrace_match_loads(TERRACE_TARGET_, terrace_deadline deadline,
                                   terrace_result* result, terrace_error* error) {
  return WithChain(client, chain, error, [&](Client& its_client, const Chain& keys) -> Status {
    if (Status status = NotNull(result, "result"); !status.ok()) return status;
    auto match = its_client.Match({space}, keys, ToKind(kind), ToDeadline(deadline));
    if (!match.ok()) return match.status();
    return GiveAnswer(std::make_shared<Answer>(std::move(*match)), result);
  });
}

terrace_status terrace_plan(terrace_result match, const terrace_plan_request* request,
                            terrace_load_plan* plan, terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    const Result<PlanRequest> asked = ToPlanRequest(request);
    if (!asked.ok()) return asked.status();
    if (Status status = CheckLoadPlan(plan); !status.ok()) return status;
    const auto answer = Answers().Find(match, "match");
    if (!answer.ok()) return answer.status();
    const Result<LoadPlan> planned = (*answer)->Plan(*asked);
    if (!planned.ok()) return planned.status();
    return FillLoadPlan(FromPlan(*planned), plan);
  });
}

terrace_status terrace_blocks_to_load(const terrace_load_plan* plan,
                                      const terrace_group_policy* policy, terrace_block_span* spans,
                                      terrace_error* error) {
  return Guarded(error, [&]() -> Status {
    if (Status status = CheckLoadPlan(plan); !status.ok()) return status;
    if (Status status = NotNull(spans, "spans"); !status.ok()) return status;
    if (plan->front > plan->back || plan->back > plan->stop) {
      return Status::Invalid("plan: front, back and stop must ascend");
    }
    const Result<GroupPolicy> known =
        policy == nullptr ? GroupPolicy{} : ToPolicy(*policy, "policy");
    if (!known.ok()) return known.status();
    const LoadPlan planned{.front = plan->front, .back = plan->back, .stop = plan->stop};
    const auto blocks = Client::BlocksToLoad(planned, *known);
    std::transform(blocks.begin(), blocks.end(), spans, [](const BlockSpan& span) {
      return terrace_block_span{span.first, span.count};
    });
    return {};
  });
}

}  // extern "C"
