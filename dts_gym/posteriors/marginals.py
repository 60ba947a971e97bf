"""Laws of every action's ``x' theta``: mixtures of normal laws, of the played actions and of any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from dts_gym.utils.arrays import Array, IntArray

_HALVINGS = 60


class NormalLaws(NamedTuple):
    """Laws of many numbers, each a mixture of C normal laws; the arrays broadcast to (C, ...).

    Attributes
    ----------
    weights : sum 1 over the first axis.
    means, variances : of the components; a variance may be 0.

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
        """(...)"""
        return np.asarray((self.weights * self.means).sum(axis=0))

    def variance(self) -> Array:
        """(...)"""
        off = self.means - self.mean()
        return np.asarray((self.weights * (self.variances + off * off)).sum(axis=0))

    def quantile(self, probability: float) -> Array:
        """The number below which the law has this probability, (...): exact for C = 1, else by halving an interval."""
        stds = np.sqrt(self.variances)
        each = self.means + stds * ndtri(probability)
        if len(each) == 1:
            return np.asarray(each[0])
        low, high = each.min(axis=0), each.max(axis=0)  # the mixture's lies between its components'
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            off = middle - self.means
            with np.errstate(divide="ignore", invalid="ignore"):
                below = np.where(stds > 0, ndtr(off / stds), off >= 0)
            reached = (self.weights * below).sum(axis=0) >= probability
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return np.asarray((low + high) / 2)


class ActionLaws(NamedTuple):
    """Laws of ``x' theta_a`` for n contexts.

    Attributes
    ----------
    num_actions : K.
    actions : (P,) that have laws of their own.
    own : their laws, (C, n, P).
    other : the law that any other action has, (C, n); None where there is no other.
    """

    num_actions: int
    actions: IntArray
    own: NormalLaws
    other: NormalLaws | None

    def of_all(self, statistic: Callable[[NormalLaws], Array]) -> Array:
        """What ``statistic``, (C, ...) -> (...), says of every action's law: (n, K)."""
        own = statistic(self.own)  # (n, P)
        out = np.empty((len(own), self.num_actions))
        if self.other is not None:
            out[:] = statistic(self.other)[:, None]
        out[:, self.actions] = own
        return out
