"""Which exploration scales to try next, given the mean regret at those tried, until the best lies inside.

The search first *widens*: while the smallest (largest) scale tried has the least mean regret, half (twice) that scale
is tried too. Then it *refines*: the geometric midpoints between the best scale and its two neighbours are tried, unless
these are near already. If regret has a single minimum, its place is then known to a factor of about sqrt(2), up to the
noise of the runs.

A step depends on the means alone, and the means depend on the seeds alone: a search that is stopped and resumed, or
executed by any number of workers, tries the same scales.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

MOST, LOWEST, HIGHEST = 8, 1e-3, 1e3  # limits of a search: number of scales beyond the first grid, smallest, largest
_NEAR = 1.5  # neighbours nearer than this factor are not refined: sqrt(2), with room for the rounding of scales
_LEVEL = 3.9  # a plateau that spans this factor (two halvings, rounded) is not followed any further


def next_scales(means: Mapping[float, float], first: Sequence[float]) -> tuple[float, ...]:
    """Scales to try next for one agent; none where the search has ended.

    Parameters
    ----------
    means : exploration scale -> mean regret, in the order tried.
    first : the scales of the first grid.

    Notes
    -----
    Equal means at an end count as the end being the best, so the search widens. A plateau is followed to one scale
    beyond the first grid at least, and until it spans a factor of 4: if the scale makes no difference over that range,
    more runs are not worth their cost. The search widens by at most 8 scales in all, and not below 0.001 or above 1000.
    The best scale then stays at an end, which `end_of` reports.

    Examples
    --------
    >>> next_scales({1.0: 5, 0.5: 4, 0.25: 3}, (1.0, 0.5, 0.25))
    (0.125,)
    >>> next_scales({1.0: 5, 0.5: 3, 0.25: 4}, (1.0, 0.5, 0.25))
    (0.354, 0.707)
    >>> next_scales({1.0: 5, 0.5: 3, 0.25: 4, 0.354: 3.5, 0.707: 4}, (1.0, 0.5, 0.25))
    ()
    """
    return _wider(means, first) or _finer(means)


def best_of(means: Mapping[float, float]) -> float:
    """The scale of least mean regret; of scales with equal regret the one tried first."""
    return min(means, key=lambda scale: means[scale])


class ScaleEnd(NamedTuple):
    """An end of the scales tried, at which the regret is least.

    Attributes
    ----------
    side : "smallest", "largest" or "smallest and largest".
    text : a sentence for the reader of a table.
    """

    side: str
    text: str


def end_of(means: Mapping[float, float]) -> ScaleEnd | None:
    """At which end of the scales tried the regret is least; None where every best scale has worse ones on both sides.

    Examples
    --------
    >>> end_of({1.0: 5, 0.5: 4}).text
    'least regret at exploration 0.5, the smallest tried: the best may be smaller'
    >>> end_of({1.0: 5, 0.5: 4, 0.25: 4, 0.1: 6})
    """
    least = min(means.values())
    ends = (("smallest", min(means), "smaller"), ("largest", max(means), "larger"))
    found = [end for end in ends if means[end[1]] == least]
    texts = (
        f"least regret at exploration {scale:g}, the {side} tried: the best may be {beyond}"
        for side, scale, beyond in found
    )
    return ScaleEnd(" and ".join(side for side, _, _ in found), "; ".join(texts)) if found else None


def is_scale(exploration: Any) -> bool:
    """Whether a setting ``exploration`` is a scale, that is a number; named rules and callables are not.

    Examples
    --------
    >>> is_scale(0.5), is_scale("horizon"), is_scale(None)
    (True, False, False)
    """
    return isinstance(exploration, numbers.Real) and not isinstance(exploration, bool)


def _wider(means: Mapping[float, float], first: Sequence[float]) -> tuple[float, ...]:
    least = min(means.values())
    found = []
    for side, factor in ((sorted(means), 0.5), (sorted(means, reverse=True), 2.0)):
        end = side[0]
        level = list(takewhile(lambda scale: means[scale] == least, side))
        ratio = max(end, level[-1]) / min(end, level[-1]) if level else 1.0
        beyond = not min(first) <= end <= max(first)
        scale = _rounded(end * factor)
        if level and LOWEST <= scale <= HIGHEST and not (beyond and ratio >= _LEVEL):
            found.append(scale)
    added = sum(not min(first) <= scale <= max(first) for scale in means)
    return tuple(found[: max(MOST - added, 0)])


def _finer(means: Mapping[float, float]) -> tuple[float, ...]:
    ordered, best = sorted(means), best_of(means)
    place = ordered.index(best)
    if not 0 < place < len(ordered) - 1:
        return ()
    low, high = ordered[place - 1], ordered[place + 1]
    if means[low] == means[best] == means[high]:
        return ()
    pairs = ((low, best), (best, high))
    return tuple(_rounded(math.sqrt(low * high)) for low, high in pairs if high / low > _NEAR)


def _rounded(scale: float) -> float:
    """Round to three digits, as scales are part of labels."""
    return float(f"{scale:.3g}")
