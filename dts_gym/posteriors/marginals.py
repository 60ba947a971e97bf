"""Distributions of every action's ``x' theta``: mixtures of normal ones, for the played actions and for any other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from dts_gym.utils.arrays import Array, IntArray

_STEPS = 60
_CLOSE = 1e-13
_FARTHEST = 37.0  # number of deviations whose tail is still a normal float64
_ROOT = math.sqrt(2 * math.pi)


class NormalLaws(NamedTuple):
    """Distributions of many numbers, each a mixture of C normal ones; the arrays broadcast to (C, ...).

    Attributes
    ----------
    weights : weights of the components, which sum to 1 over the first axis.
    means, variances : moments of the components; a variance may be 0.

    Examples
    --------
    >>> two = NormalLaws(np.array([[0.5], [0.5]]), np.array([[-1.0], [1.0]]), np.ones((2, 1)))
    >>> two.mean(), two.variance(), two.quantile(0.975).round(6)
    (array([0.]), array([2.]), array([2.646146]))
    """

    weights: Array
    means: Array
    variances: Array

    def mean(self) -> Array:
        """Means of the distributions, (...)."""
        return np.asarray((self.weights * self.means).sum(axis=0))

    def variance(self) -> Array:
        """Variances of the distributions, (...)."""
        off = self.means - self.mean()
        return np.asarray((self.weights * (self.variances + off * off)).sum(axis=0))

    def quantile(self, probability: float) -> Array:
        """The quantile at this probability, (...): the `upper_bound` of that many deviations."""
        return self.upper_bound(float(ndtri(probability)))

    def upper_bound(self, scale: float) -> Array:
        """The number, (...), that is exceeded with the probability that a standard normal number exceeds ``scale``.

        For one component it is its mean plus ``scale`` standard deviations, exactly. For more components it is the
        quantile of that probability, to some 1e-12 of its distance to the components' own bounds, by Newton's method on
        the logarithm of the tail, kept between these bounds. Past 37 deviations, where tails underflow, it is the
        largest of them (below -37 the least), which is its limit.
        """
        stds = np.sqrt(self.variances)
        each = self.means + scale * stds
        if len(each) == 1:
            return np.asarray(each[0])
        low, high = each.min(axis=0), each.max(axis=0)  # the mixture's quantile lies between its components'
        if abs(scale) > _FARTHEST:
            return np.asarray(high if scale > 0 else low)
        side = 1.0 if scale >= 0 else -1.0  # side of the smaller tail
        target = float(ndtr(-abs(scale)))
        least = np.maximum(stds, np.finfo(float).tiny)
        point = np.asarray((self.weights * each).sum(axis=0))
        close = _CLOSE * np.maximum(np.abs(low), np.abs(high))
        for _ in range(_STEPS):
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                z = side * (point - self.means) / least
                tail = (self.weights * ndtr(-z)).sum(axis=0)
                density = (self.weights * np.exp(-z * z / 2) / least).sum(axis=0) / _ROOT
                step = side * np.log(tail / target) * tail / density
            if (np.abs(step) <= close).all():
                break
            above = (tail <= target) == (side > 0)  # the point is not below the bound
            low, high = np.where(above, low, point), np.where(above, point, high)
            following = point + step
            following = np.where((following > low) & (following < high), following, (low + high) / 2)
            point = np.where(np.abs(step) <= close, point, following)
            if (high - low <= close).all():
                break
        return np.asarray(point)


class ActionLaws(NamedTuple):
    """Distributions of ``x' theta_a`` for n contexts.

    Attributes
    ----------
    num_actions : K, the number of actions.
    actions : (P,) actions with distributions of their own.
    own : their distributions, (C, n, P).
    other : the distribution of any other action, (C, n); None where there is no other.
    """

    num_actions: int
    actions: IntArray
    own: NormalLaws
    other: NormalLaws | None

    @classmethod
    def of_normals(cls, num_actions: int, actions: IntArray, means: Array, variances: Array) -> ActionLaws:
        """Normal distributions of means (n, P) and variances alike; of (n, P + 1) the last is any other action's."""
        variances, one, P = np.broadcast_to(variances, means.shape), np.ones((1, 1, 1)), len(actions)
        others = NormalLaws(one, means[None, :, P:], variances[None, :, P:])
        other = None if means.shape[1] == P else NormalLaws(*(part[..., 0] for part in others))
        return cls(num_actions, actions, NormalLaws(one, means[None, :, :P], variances[None, :, :P]), other)

    def of_all(self, statistic: Callable[[NormalLaws], Array]) -> Array:
        """The value of ``statistic``, (C, ...) -> (...), for every action's distribution: (n, K)."""
        own = statistic(self.own)  # (n, P)
        out = np.empty((len(own), self.num_actions))
        if self.other is not None:
            out[:] = statistic(self.other)[:, None]
        out[:, self.actions] = own
        return out
