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
    step, so that the expected maximum is that of K lines, exactly (`expected_rise`). Of actions whose rise is too small
    for a number, the one of the largest variance is played. O(K^2) for each line of the envelope. Source: Frazier,
    Powell and Dayanik, "The Knowledge-Gradient Policy for Correlated Normal Beliefs" (2009).
    """

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The action of the largest expected rise; without any the one of the largest variance."""
        cov, variances = belief.cov, belief.variances
        scale = np.sqrt(variances + belief.noise_std**2)
        rise = np.empty(variances.shape)
        for row, mean in enumerate(belief.mean):  # a run at a time: its numbers stay in the processor's cache
            rise[row] = expected_rise(np.broadcast_to(mean, cov[row].shape), cov[row] / scale[row][:, None])
        return best_rows(np.where(rise.max(axis=1, keepdims=True) > 0, rise, variances))


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
        far = np.minimum(np.abs(first[going]), 37.0)  # past it the value is 0, and its parts are subnormal
        value = np.exp(-far * far / 2) / np.sqrt(2 * np.pi) - far * ndtr(-far)
        total[left[going]] += steeper[own, following][going] * value.clip(0.0)
        left, lines = left[going], following[going]
        a, b = a[going], b[going]
    return np.asarray(total.reshape(shape)[()])
