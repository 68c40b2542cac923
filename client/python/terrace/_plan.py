"""What of a match to load and what to compute."""

from ctypes import sizeof
from typing import NamedTuple

from terrace._library import BlockSpanStruct, LoadPlanStruct, PlanRequestStruct, PolicyStruct
from terrace._rate import Rate, curve_of
from terrace._results import PrefixMatch
from terrace._types import GroupPolicy, InvalidError, Match, call


class LoadPlan(NamedTuple):
    """Load blocks [0, front), and [back, stop) behind them, in one go. When the first are there
    compute the tokens of `meanwhile`; when all are there compute those of `then`. All three equal:
    load a prefix, or nothing (0), and compute the rest."""
    front: int
    back: int
    stop: int
    meanwhile: range
    then: range
    seconds: float              # predicted, from the match on
    load_seconds: float         # of the plan's loads alone
    load_all_seconds: float     # loading all that the longest stop point needs instead
    compute_all_seconds: float  # loading nothing instead

    def blocks(self, policy: GroupPolicy = GroupPolicy(0)) -> tuple[range, range]:
        """The blocks of a group with that policy that are to be loaded: of the front, and of the
        back."""
        plan = LoadPlanStruct(sizeof(LoadPlanStruct), self.front, self.back, self.stop)
        spans = (BlockSpanStruct * 2)()
        call("blocks_to_load", plan, PolicyStruct(*policy, 0), spans)
        front, back = (range(span.first, span.first + span.count) for span in spans)
        return front, back


def plan(match: Match | PrefixMatch, *, tokens: int, rate: Rate,
         overlap: bool = True) -> LoadPlan:
    """What of a match to load and what to compute, so that the prompt is ready soonest.

    `tokens`: of the prompt. `rate`: tokens per second that the engine prefills, a number, or
    (context, tokens per second) in ascending order. `overlap`: it can compute tokens while blocks
    behind them are loaded; else it loads a prefix, then computes. Asks nobody and never waits.
    """
    if not isinstance(match, (Match, PrefixMatch)):
        raise InvalidError(f"match is {match!r}, not what a match answered")
    if match.result is None:
        raise InvalidError("match: it is none that a client answered")
    if not isinstance(tokens, int):
        raise InvalidError(f"tokens is {tokens!r}, not a number")
    if not 0 <= tokens < 1 << 64:
        raise InvalidError(f"tokens is {tokens}, must be 1 to 2^40")
    curve = curve_of("rate", rate)
    request = PlanRequestStruct(sizeof(PlanRequestStruct), int(not overlap), tokens, curve,
                                len(curve))
    answer = LoadPlanStruct(sizeof(LoadPlanStruct))
    call("plan", match.result.handle, request, answer)
    spans = [range(span.first, span.first + span.count)
             for span in (answer.meanwhile, answer.then)]
    return LoadPlan(answer.front, answer.back, answer.stop, spans[0], spans[1], answer.seconds,
                    answer.load_seconds, answer.load_all_seconds, answer.compute_all_seconds)
