"""How fast an engine prefills, as plans and namespaces are told it."""

from collections.abc import Sequence
from ctypes import Array

from terrace._library import RatePointStruct
from terrace._types import InvalidError

# Tokens per second, or (context, tokens per second) in ascending order.
Rate = float | Sequence[tuple[int, float]]


def curve_of(argument: str, rate: Rate) -> Array[RatePointStruct]:
    """Its points for C."""
    if isinstance(rate, (int, float)):
        return (RatePointStruct * 1)(RatePointStruct(0, float(rate)))
    points = []
    try:
        pairs = [(int(context), float(tokens_per_s)) for context, tokens_per_s in rate]
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidError(
            f"{argument} is {rate!r}, neither a number nor pairs of numbers") from error
    for index, (context, tokens_per_s) in enumerate(pairs):
        if not 0 <= context < 1 << 64:
            raise InvalidError(f"{argument}[{index}].context is {context}, must be 0 to 2^40")
        points.append(RatePointStruct(context, tokens_per_s))
    return (RatePointStruct * len(points))(*points)
