"""Rewards of one action in bounded memory: sites, each a direction with the number and the sum of its rewards.

A reward adds a site. When there are too many, sites of the same direction are merged, which loses nothing. If that is
not enough, neighbours are merged in pairs: a pair's site has the mean of the two directions, and as many rewards as
give it the weight of both. What the site lacks of the pair to second order, at the action's most probable parameters of
that moment, is kept as a quadratic. So an action's rewards can be expanded at another point later, and merging costs
only what differs between neighbours to third order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.expansion import expand
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, IntArray


class Rewards(NamedTuple):
    """Sites as an expansion takes them: (n, d), (n,) and (n,), the counts 1 while each site is one reward.

    Those of B actions are (B, n, d), (B, n) and (B, n).
    """

    contexts: Array
    sums: Array
    counts: Array | float


class Sites:
    """The rewards of one action.

    Parameters
    ----------
    dim : d.

    Attributes
    ----------
    length : number of sites.
    rest : evidence beside the sites', (d, d) and (d,); None before sites of different directions have become one.

    Examples
    --------
    >>> from dts_gym.problem.rewards import BernoulliReward
    >>> sites = Sites(1)
    >>> for reward in (1.0, 0.0, 1.0):
    ...     _ = sites.with_one(np.ones(1), reward)
    ...     sites.keep()
    >>> sites.merge(BernoulliReward(), 2, np.zeros(1), np.eye(1))
    >>> sites.used(), sites.rest
    (Rewards(contexts=array([[1.]]), sums=array([2.]), counts=array([3.])), None)
    """

    def __init__(self, dim: int) -> None:
        self._contexts, self._sums = np.empty((0, dim)), np.empty(0)
        self._counts: Array | None = None  # while each site is one reward
        self.length = 0
        self.rest: Evidence | None = None

    def used(self) -> Rewards:
        """All sites: views."""
        return self._first(self.length)

    def with_one(self, context: Array, reward: float) -> Rewards:
        """All sites and one more, which counts only after `keep`: views."""
        n = self.length
        if n == len(self._sums):
            extra = max(4, n)
            self._contexts = np.concatenate([self._contexts, np.zeros((extra, self._contexts.shape[1]))])
            self._sums = np.concatenate([self._sums, np.zeros(extra)])
            self._counts = None if self._counts is None else np.concatenate([self._counts, np.ones(extra)])
        self._contexts[n], self._sums[n] = context, reward
        return self._first(n + 1)

    def keep(self) -> None:
        """Let the site that `with_one` showed count."""
        self.length += 1

    def _first(self, n: int) -> Rewards:
        return Rewards(self._contexts[:n], self._sums[:n], 1.0 if self._counts is None else self._counts[:n])

    def merge(self, model: RewardModel, most: int, point: Array, root: Array) -> None:
        """Leave ``most`` sites or fewer, at most half of those that there are else.

        Parameters
        ----------
        point, root : (d,) and (d, r), the parameters' most probable value and a factor of their covariance: neighbours
            are directions whose predictors are near each other by these, and nothing changes to second order there.

        Notes
        -----
        O(n log n d) for n sites, and O(n d^2).
        """
        old = self.used()
        contexts, which = np.unique(old.contexts, axis=0, return_inverse=True)
        which = which.reshape(-1)
        counts = np.bincount(which, np.broadcast_to(old.counts, len(which))).astype(np.float64)
        merged = Rewards(contexts, np.bincount(which, old.sums).astype(np.float64), counts)
        if len(contexts) > most:
            merged, more = _in_pairs(model, merged, point, root)
            self.rest = more if self.rest is None else Evidence(self.rest.G + more.G, self.rest.h + more.h)
        self._contexts, self._sums, self._counts = merged.contexts, merged.sums, np.asarray(merged.counts)
        self.length = len(self._sums)

    @classmethod
    def of(cls, contexts: Array, sums: Array, counts: Array, rest: Evidence) -> Sites:
        """Sites from arrays, (n, d), (n,) and (n,), and the rest, zero where there is none."""
        sites = cls(contexts.shape[1])
        sites._contexts, sites._sums, sites.length = contexts.copy(), sums.copy(), len(sums)
        sites._counts = None if (counts == 1.0).all() else counts.copy()
        sites.rest = rest if rest.G.any() or rest.h.any() else None
        return sites


def filled_up(parts: Sequence[Rewards], length: int) -> Rewards:
    """The sites of several actions as arrays of one length, with contexts of zeros, which tell nothing, at the end.

    Examples
    --------
    >>> filled_up([Rewards(np.ones((1, 1)), np.ones(1), 1.0), Rewards(np.ones((2, 1)), np.zeros(2), 1.0)], 2).contexts
    array([[[1.],
            [0.]],
    <BLANKLINE>
           [[1.],
            [1.]]])
    """
    contexts = np.zeros((len(parts), parts[0].contexts.shape[1], length)).mT  # in memory by coordinates: see `fit_map`
    sums = np.zeros((len(parts), length))
    counts = None if all(isinstance(part.counts, float) for part in parts) else np.ones((len(parts), length))
    for i, part in enumerate(parts):
        n = len(part.sums)
        contexts[i, :n], sums[i, :n] = part.contexts, part.sums
        if counts is not None:
            counts[i, :n] = part.counts
    return Rewards(contexts, sums, 1.0 if counts is None else counts)


def _in_pairs(model: RewardModel, sites: Rewards, t: Array, root: Array) -> tuple[Rewards, Evidence]:
    """Neighbours made one; the sites that are left and the evidence, at ``t``, that they lack."""
    X, sums, counts = sites.contexts, sites.sums, np.asarray(sites.counts)
    order = _neighbours(X @ np.column_stack([root, t]))
    alone = order[len(order) // 2 * 2 :]
    a, b = order[: len(order) - len(alone)].reshape(-1, 2).T
    weights = counts * model.derivative(X @ t)
    total, number = weights[a] + weights[b], counts[a] + counts[b]
    seen = total > 0  # else no predictor near t tells the two apart from constants
    share = np.where(seen, weights[a], counts[a]) / np.where(seen, total, number)
    apart = X[a] - X[b]
    middle = X[b] + share[:, None] * apart
    slope = model.derivative(middle @ t)
    number = np.where(seen & (slope > 0), total / np.where(slope > 0, slope, 1.0), number)
    left = Rewards(
        np.concatenate([middle, X[alone]]),
        np.concatenate([sums[a] + sums[b], sums[alone]]),
        np.concatenate([number, counts[alone]]),
    )
    scaled = apart * np.sqrt(share * weights[b] / model.dispersion)[:, None]
    before, after = expand(model, X, sums, t, counts), expand(model, *left[:2], t, left.counts)
    return left, Evidence(scaled.T @ scaled, before.h - after.h)


def _neighbours(places: Array) -> IntArray:
    """An order of the rows, (n,), in which each two in a row are near each other: by halving along the widest axis."""
    n = len(places)
    if n <= 2:
        return np.arange(n)
    order = np.argsort(places[:, np.ptp(places, axis=0).argmax()], kind="stable")
    middle = (n // 2 + 1) // 2 * 2
    return np.concatenate([part[_neighbours(places[part])] for part in (order[:middle], order[middle:])])
