"""Intervals of values: of weighted means, of credible beliefs, and the bounds that come with LS and IX."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from dts_gym.utils.arrays import Array

_RESAMPLED = 1000


class Mean(NamedTuple):
    """An estimator that is ``mean(offset + top)``, or ``mean(offset) + mean(top) / mean(bottom)``.

    Attributes
    ----------
    top, offset, bottom : (n,) a number a round; ``bottom`` is None where nothing is divided.
    """

    top: Array
    offset: Array | None = None
    bottom: Array | None = None

    def value(self) -> float:
        """The estimate; NaN where the denominator is 0."""
        total = float(self.top.mean())
        if self.bottom is not None:
            below = float(self.bottom.mean())
            total = total / below if below else math.nan
        return total + (0.0 if self.offset is None else float(self.offset.mean()))

    def terms(self) -> Array:
        """(n,) terms whose mean is the estimate, to first order where it is a ratio (the delta method)."""
        out = self.top
        if self.bottom is not None:
            below = float(self.bottom.mean())
            if not below:
                return np.full(len(self.top), math.nan)
            ratio = float(self.top.mean()) / below
            out = ratio + (self.top - ratio * self.bottom) / below
        return out if self.offset is None else self.offset + out

    def standard_error(self) -> float:
        """Standard error of the estimate over independent rounds."""
        terms = self.terms()
        return math.nan if len(terms) < 2 else float(terms.std(ddof=1) / math.sqrt(len(terms)))


def t_interval(mean: Mean, level: float) -> tuple[float, float]:
    """Student's t, as if the terms were normal: with heavy weights it needs many rounds."""
    n, value, error = len(mean.top), mean.value(), mean.standard_error()
    if n < 2:
        return math.nan, math.nan
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * error
    return value - half, value + half


def bootstrap_interval(mean: Mean, level: float, rng: np.random.Generator) -> tuple[float, float]:
    """Percentiles of 1000 estimates from rounds drawn anew with replacement."""
    n = len(mean.top)
    columns = np.stack([part for part in (mean.top, mean.offset, mean.bottom) if part is not None], axis=1)
    values = np.empty(_RESAMPLED)
    for i in range(_RESAMPLED):
        sums = np.bincount(rng.integers(n, size=n), minlength=n) @ columns / n
        below = sums[-1] if mean.bottom is not None else 1.0
        offset = sums[1] if mean.offset is not None else 0.0
        values[i] = (sums[0] / below if below else math.nan) + offset
    tail = (1.0 - level) / 2
    low, high = (
        np.quantile(values[~np.isnan(values)], [tail, 1.0 - tail]) if (~np.isnan(values)).any() else [np.nan] * 2
    )
    return float(low), float(high)


def bernstein_interval(terms: Array, level: float, width: float) -> tuple[float, float]:
    """Empirical Bernstein bounds of a mean of independent terms in a range of this width, known before the data.

    Source: Maurer and Pontil, "Empirical Bernstein Bounds and Sample Variance Penalization" (2009), theorem 4, each
    side at half of ``1 - level``.
    """
    n, mean = len(terms), float(terms.mean())
    if n < 2:
        return math.nan, math.nan
    log_term = math.log(4.0 / (1.0 - level))
    half = math.sqrt(2.0 * float(terms.var(ddof=1)) * log_term / n) + 7.0 * width * log_term / (3.0 * (n - 1))
    return mean - half, mean + half


def credible_interval(value: float, deviation: float, level: float) -> tuple[float, float]:
    """The central interval of a normal belief."""
    half = float(ndtri(0.5 + level / 2)) * deviation
    return value - half, value + half


def smoothed_mean(weights: Array, rewards: Array, lam: float) -> float:
    """Logarithmic smoothing, ``mean(log(1 + lambda w r)) / lambda``; rewards must not be negative."""
    return float(np.log1p(lam * weights * rewards).mean()) / lam


def smoothed_lower_bound(estimate: float, n: int, lam: float, delta: float) -> float:
    """The bound below a value, of probability ``1 - delta``, that logarithmic smoothing gives.

    ``(e^(lambda (LS - L)) - 1) / lambda`` with ``L = log(1 / delta) / (lambda n)``; rewards must not be negative.

    Source: Sakhi et al., "Logarithmic Smoothing for Pessimistic Off-Policy Evaluation, Selection and Learning" (2024).
    """
    return math.expm1(lam * (estimate - math.log(1.0 / delta) / (lam * n))) / lam


def smoothed_interval(
    weights: Array, rewards: Array, lam: float, level: float, *, upper: bool
) -> tuple[float, float, float]:
    """The LS estimate and its ends; the upper end is infinite unless ``upper``.

    An upper end is one minus the lower bound of ``w (1 - r)``, each side at half of ``1 - level``; it needs rewards in
    0..1, and a log that could play whatever the policy plays.
    """
    n, delta = len(weights), 1.0 - level
    value = smoothed_mean(weights, rewards, lam)
    if not upper:
        return value, smoothed_lower_bound(value, n, lam, delta), math.inf
    mirrored = smoothed_mean(weights, 1.0 - rewards, lam)
    low = smoothed_lower_bound(value, n, lam, delta / 2)
    return value, low, 1.0 - smoothed_lower_bound(mirrored, n, lam, delta / 2)


def implicit_interval(
    weights: Array, rewards: Array, lam: float, level: float, *, upper: bool
) -> tuple[float, float, float]:
    """The IX estimate from weights ``pi / (pi0 + lambda / 2)`` and its ends; rewards must be in 0..1.

    Source: Gabbianelli, Neu and Papini, "Importance-Weighted Offline Learning Done Right" (2024), theorem 1.
    """
    n, value = len(weights), float((weights * rewards).mean())
    each = (1.0 - level) / (2 if upper else 1)
    slack = math.log(1.0 / each) / (lam * n)
    high = 1.0 - (float((weights * (1.0 - rewards)).mean()) - slack) if upper else math.inf
    return value, value - slack, high


def mean_and_error(terms: Array) -> tuple[float, float]:
    """The mean of n terms and its standard error, NaN for one term."""
    n = len(terms)
    return float(terms.mean()), math.nan if n < 2 else float(terms.std(ddof=1) / math.sqrt(n))
