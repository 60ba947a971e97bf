"""Estimators of a policy's value from a log, by name: their formulas, and which interval belongs to each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np

from dts_gym.offpolicy.intervals import (
    Mean,
    bernstein_interval,
    bootstrap_interval,
    implicit_interval,
    smoothed_interval,
    t_interval,
)
from dts_gym.offpolicy.terms import Terms
from dts_gym.utils.arrays import Array

Estimator = Literal["IPS", "CIPS", "SNIPS", "ES", "IX", "LS", "DM", "sDM", "DR", "SNDR", "MIPS"]
Interval = Literal["t", "bootstrap", "bernstein"]
ESTIMATORS: tuple[str, ...] = get_args(Estimator)
MODELS = ("DM", "sDM")  # estimators that read a model's predictions alone
WEIGHTED = tuple(name for name in ESTIMATORS if name not in MODELS)


class Tuning(NamedTuple):
    """The constants of the estimators, fixed before the rewards are looked at.

    Attributes
    ----------
    clip : M of CIPS, the largest weight.
    alpha : exponent of ES, in 0..1.
    lam : lambda of IX and LS.
    level : probability of the intervals.
    interval : the interval of weighted means.
    max_weight : the largest weight possible; None where it is not known.
    reward_range : the least and the largest reward possible; None where they are not known.
    """

    clip: float
    alpha: float
    lam: float
    level: float
    interval: Interval
    max_weight: float | None
    reward_range: tuple[float, float] | None


class Rounds(NamedTuple):
    """What estimators by weights read: propensities (n,), weights ``pi / pi0`` (n,), rewards (n,), and the terms."""

    propensities: Array
    weights: Array
    rewards: Array
    terms: Terms

    @property
    def effective_sample_size(self) -> float:
        """``(sum w)^2 / sum w^2``: rounds of equal weight that would tell as much."""
        total, squares = float(self.weights.sum()), float((self.weights**2).sum())
        return total * total / squares if squares else 0.0


class Ends(NamedTuple):
    """An estimate: its value, the ends and kind of its interval, and its standard error (NaN where it has none)."""

    value: float
    lower: float
    upper: float
    kind: str
    standard_error: float = math.nan


def _ips(rounds: Rounds, tuning: Tuning) -> Mean:
    return Mean(rounds.weights * rounds.rewards)


def _clipped(rounds: Rounds, tuning: Tuning) -> Mean:
    return Mean(np.minimum(rounds.weights, tuning.clip) * rounds.rewards)


def _self_normalised(rounds: Rounds, tuning: Tuning) -> Mean:
    return Mean(rounds.weights * rounds.rewards, bottom=rounds.weights)


def _exponential(rounds: Rounds, tuning: Tuning) -> Mean:
    return Mean(rounds.terms.played / rounds.propensities**tuning.alpha * rounds.rewards)


def _doubly_robust(rounds: Rounds, tuning: Tuning) -> Mean:
    residuals = rounds.rewards - rounds.terms.predicted["DR"]
    return Mean(rounds.weights * residuals, rounds.terms.values["DR"])


def _self_normalised_robust(rounds: Rounds, tuning: Tuning) -> Mean:
    return _doubly_robust(rounds, tuning)._replace(bottom=rounds.weights)


def _by_groups(rounds: Rounds, tuning: Tuning) -> Mean:
    assert rounds.terms.group_weight is not None
    return Mean(rounds.terms.group_weight * rounds.rewards)


_MEANS: Mapping[str, Callable[[Rounds, Tuning], Mean]] = {
    "IPS": _ips,
    "CIPS": _clipped,
    "SNIPS": _self_normalised,
    "ES": _exponential,
    "DR": _doubly_robust,
    "SNDR": _self_normalised_robust,
    "MIPS": _by_groups,
}


def weighted_estimate(name: str, rounds: Rounds, tuning: Tuning, rng: np.random.Generator) -> Ends:
    """An estimate by weights, with its interval.

    Notes
    -----
    Of Bernstein intervals the range is that of ``w r``: of CIPS with M, of IPS with ``max_weight``. ES, estimators that
    divide by the sum of weights and those with a model have no such range: their interval is Student's t.
    """
    if name == "LS":
        return _smoothed(rounds, tuning)
    if name == "IX":
        return _implicit(rounds, tuning)
    mean = _MEANS[name](rounds, tuning)
    value, error, kind = mean.value(), mean.standard_error(), str(tuning.interval)
    largest = {"CIPS": tuning.clip, "IPS": tuning.max_weight}.get(name)
    if kind == "bernstein" and largest is not None and tuning.reward_range is not None:
        low, high = tuning.reward_range
        width = largest * (max(high, 0.0) - min(low, 0.0))
        return Ends(value, *bernstein_interval(mean.terms(), tuning.level, width), "Bernstein", error)
    if kind == "bootstrap":
        return Ends(value, *bootstrap_interval(mean, tuning.level, rng), "bootstrap", error)
    return Ends(value, *t_interval(mean, tuning.level), "t", error)


def _smoothed(rounds: Rounds, tuning: Tuning) -> Ends:
    two_sided = tuning.reward_range is not None and tuning.reward_range[0] >= 0 and tuning.reward_range[1] <= 1
    found = smoothed_interval(rounds.weights, rounds.rewards, tuning.lam, tuning.level, upper=two_sided)
    return Ends(*found, "LS bounds" if two_sided else "LS bound")


def _implicit(rounds: Rounds, tuning: Tuning) -> Ends:
    weights = rounds.terms.played / (rounds.propensities + tuning.lam / 2)
    known = tuning.reward_range
    if known is None or known[0] < 0 or known[1] > 1:
        return Ends(float((weights * rounds.rewards).mean()), math.nan, math.nan, "none")
    found = implicit_interval(weights, rounds.rewards, tuning.lam, tuning.level, upper=True)
    return Ends(*found, "IX bounds")
