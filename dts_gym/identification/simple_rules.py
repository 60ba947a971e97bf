"""Rules that play what a simple criterion says: `Uniform`, and the knowledge gradient."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from dts_gym.identification.beliefs import Belief
from dts_gym.identification.rule import Rule, best_rows
from dts_gym.identification.streams import RunStreams
from dts_gym.utils.arrays import Array, IntArray


class Uniform(Rule):
    """Every action as often as every other.

    The rounds go through the actions in a random order, again and again, so that the counts of two actions differ by
    at most one.
    """

    def start(self, belief: Belief, budget: int, streams: RunStreams) -> None:
        """Draw the order."""
        self._order = streams.uniform(belief.mean.shape[1]).argsort(axis=1)
        self._round = 0

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The next action of the order."""
        column = self._round % self._order.shape[1]
        self._round += 1
        return np.asarray(self._order[:, column])


class KnowledgeGradient(Rule):
    """The action whose next reward raises the largest posterior mean the most, in expectation.

    Notes
    -----
    A reward of action ``a`` moves the means along ``cov[:, a] / sqrt(cov[a, a] + noise_std^2)`` by a standard normal
    step, so that the expected maximum is that of K lines, exactly (`expected_rise`). It is computed for the actions
    that may have the largest rise by its bounds (`rise_bounds`). Of actions whose rise is too small for a number, the
    one of the largest variance is played. O(K^2) for all bounds, and for each line of an envelope. Source: Frazier,
    Powell and Dayanik, "The Knowledge-Gradient Policy for Correlated Normal Beliefs" (2009).
    """

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The action of the largest expected rise; without any the one of the largest variance."""
        mean, variances = belief.mean, belief.variances
        slopes = belief.cov / np.sqrt(variances + belief.noise_std**2)[:, :, None]  # (R, K, K), a row for each action
        least, most = rise_bounds(mean, slopes)
        runs, actions = np.nonzero(most >= least.max(axis=1, keepdims=True))
        rise = np.zeros(variances.shape)
        rise[runs, actions] = expected_rise(mean[runs], slopes[runs, actions])
        return best_rows(np.where(rise.max(axis=1, keepdims=True) > 0, rise, variances))


def rise_bounds(heights: Array, slopes: Array) -> tuple[Array, Array]:
    """Two numbers between which `expected_rise` is, of lines with the same heights.

    Parameters
    ----------
    heights : (R, K) of the lines at 0.
    slopes : (R, A, K), of A problems.

    Returns
    -------
    (R, A), (R, A)
        A lower and an upper bound, the latter with a margin for rounding.

    Notes
    -----
    To the right of 0 the highest line there leads until another one meets it, at c. From there on the maximum is at
    least that line and at most one of the largest slope: bounds ``(difference of slopes) (pdf(c) - c cdf(-c))`` with
    either slope. To the left it is the same with the slopes negated.
    """
    leader = heights.argmax(axis=1)[:, None]
    gaps = np.take_along_axis(heights, leader, axis=1) - heights + 0.0  # (R, K); the sum turns -0 into 0
    np.put_along_axis(gaps, leader, np.inf, axis=1)
    apart = slopes - np.take_along_axis(slopes, leader[:, :, None], axis=2)  # (R, A, K)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = apart / gaps[:, None]  # 1 / c where lines meet; NaN of lines that are equal
    rates[np.isnan(rates)] = 0.0
    least, most = np.zeros(apart.shape[:2]), np.zeros(apart.shape[:2])
    for pick in (np.argmax, np.argmin):  # to the right, to the left
        first, steepest = pick(rates, axis=2)[:, :, None], pick(apart, axis=2)[:, :, None]
        with np.errstate(divide="ignore"):
            value = _beyond(1.0 / np.abs(np.take_along_axis(rates, first, axis=2)[:, :, 0]))
        least += np.abs(np.take_along_axis(apart, first, axis=2)[:, :, 0]) * value
        most += np.abs(np.take_along_axis(apart, steepest, axis=2)[:, :, 0]) * value
    return least, most * (1.0 + 1e-9)


def expected_rise(heights: Array, slopes: Array) -> Array:
    """Expected maximum of lines at a standard normal point, less the largest height.

    Parameters
    ----------
    heights, slopes : (..., K) of the lines ``heights + slopes z``.

    Returns
    -------
    (...)
        ``E max(heights + slopes Z) - max(heights)``, 0 or more.

    Notes
    -----
    Exact. The upper envelope is walked from left to right, each step for all problems at once: the line that meets the
    present one first is the next. With the lines of the envelope in order and ``c`` where two of them meet, it is the
    sum of ``(difference of slopes) (pdf(c) - |c| cdf(-|c|))``.

    Examples
    --------
    >>> round(float(expected_rise(np.array([0.0, 0.0]), np.array([0.0, 1.0]))), 6)
    0.398942
    """
    shape, K = heights.shape[:-1], heights.shape[-1]
    a, b = heights.reshape(-1, K), slopes.reshape(-1, K)
    total = np.zeros(len(a))
    left = np.arange(len(a))  # the problems whose envelope goes on, and their present lines
    lines = np.where(b == b.min(axis=1, keepdims=True), a, -np.inf).argmax(axis=1)
    while len(left):
        own = np.arange(len(left))
        steeper = b - b[own, lines][:, None]  # (left, K)
        with np.errstate(divide="ignore", invalid="ignore"):
            meets = np.where(steeper > 0, (a[own, lines][:, None] - a) / steeper, np.inf)
        first = meets.min(axis=1)
        # Of lines that meet at one point the steepest goes on.
        following = np.where(meets <= first[:, None], steeper, -1.0).argmax(axis=1)
        going = np.isfinite(first)
        total[left[going]] += steeper[own, following][going] * _beyond(np.abs(first[going]))
        left, lines = left[going], following[going]
        a, b = a[going], b[going]
    return np.asarray(total.reshape(shape)[()])


def _beyond(c: Array) -> Array:
    """``E max(Z - c, 0)`` of a standard normal Z, for c of 0 or more; past 37 it is 0, and its parts are subnormal."""
    far = np.minimum(c, 37.0)
    value = np.exp(-far * far / 2) / np.sqrt(2 * np.pi) - far * ndtr(-far)
    return np.asarray(value.clip(0.0))
