"""Choices of many runs at once, from tables that stand in stacked arrays, for any distribution of the shared part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.choices import (
    Candidates,
    best,
    candidates,
    largest_bound,
    maximum_quantile,
    score_moments,
    spread_draws,
    upper_bounds,
)
from dts_gym.posteriors.lockstep.run_tables import RunTables
from dts_gym.posteriors.pruning import variance_along
from dts_gym.posteriors.totals import draws_of_rows, moments_of_rows
from dts_gym.utils.arrays import Array, BoolArray, IntArray

Streams = Sequence[np.random.Generator]
P = TypeVar("P", bound=ActionPosterior)


class RunChoices(ABC, Generic[P]):
    """R posteriors of equal sizes, each of a run of its own: `ActionPosterior` with a leading axis of runs.

    Parameters
    ----------
    posteriors : R posteriors. Until `part`, their arrays are views of stacked ones, and they must be changed through
        this object alone.

    Notes
    -----
    The same draws as one by one: each run draws from its own generator in the same order, so that choices are the same
    but for ties at rounding. O(R K d^2) a choice.
    """

    def __init__(self, posteriors: Sequence[P]) -> None:
        self._posteriors = list(posteriors)
        self._table = RunTables([posterior.table for posterior in posteriors], posteriors[0].num_actions)
        self._centers = np.stack([posterior.center for posterior in posteriors])

    @abstractmethod
    def part(self) -> None:
        """Give every posterior arrays of its own again."""

    @abstractmethod
    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> bool:
        """Condition every run on a reward: (R, d), (R,) and (R,).

        Returns
        -------
        bool
            False, with nothing learned, where the posteriors must go on one by one: then `part` is due.
        """

    @abstractmethod
    def _shared_moments(self) -> tuple[Array, Array]:
        """Posterior means (R, d) of the shared parts and roots (R, d, r); r = 0 where nothing is shared."""

    def _draw_shared(self, rngs: Streams, scale: Array) -> Array | None:
        """A posterior draw of each run's shared part, (R, d), here a normal one; None where nothing is shared."""
        mean, root = self._shared_moments()
        if not root.size:
            return None
        noise = np.stack([rng.standard_normal(root.shape[2]) for rng in rngs])
        return np.asarray(mean + scale[:, None] * np.matvec(root, noise))

    def sample_parameters(self, rngs: Streams, scale: Array) -> Array:
        """A posterior draw of each run's parameters, (R, d), of posteriors of one action: scales (R,)."""
        played, scale = self._table.counts > 0, scale[:, None, None]
        shared = self._draw_shared(rngs, scale[:, 0, 0])
        center = np.zeros((len(rngs), 1, self._centers.shape[1])) if shared is None else shared[:, None]
        noise, own = np.empty(center.shape), np.zeros(center.shape)
        for i, rng in enumerate(rngs):
            rng.standard_normal(out=noise[i])
            if played[i]:
                rng.standard_normal(out=own[i])
        reached = self._table.reached[:, None]
        drawn = draws_of_rows(reached, self._table.messages(), center, scale * own)
        theta = np.where(played[:, None, None], drawn, center + scale * reached * noise)
        return np.asarray((np.matvec(self._table.basis[:, None], theta) + self._centers[:, None])[:, 0])

    def moments(self) -> tuple[Array, Array]:
        """Posterior means (R, d) and covariances (R, d, d) of each run's parameters, of posteriors of one action."""
        shared_mean, root = self._shared_moments()
        basis, reached = self._table.basis[:, None], self._table.reached[:, None]
        found = moments_of_rows(basis, reached, self._table.messages(), shared_mean[:, None], root[:, None])
        spread = found.spread[:, 0]
        return found.mean[:, 0] + self._centers, spread @ np.swapaxes(spread, -1, -2) + found.own[:, 0]

    def _mark_played(self, actions: IntArray) -> None:
        for posterior, action in zip(self._posteriors, actions.tolist(), strict=True):
            if action not in posterior.table.slots:
                posterior.unplayed.remove(action)

    def thompson(self, contexts: Array, rngs: Streams, scale: Array, mask: BoolArray | None = None) -> IntArray:
        """The best allowed action of each run under one posterior draw: contexts (R, d), scales (R,), masks (R, K)."""
        scores = score_moments(self._table, contexts, self._draw_shared(rngs, scale))
        noise = np.zeros(scores.mean.T.shape)
        for row, count, rng in zip(noise, self._table.counts.tolist(), rngs, strict=True):
            rng.standard_normal(out=row[:count])
        drawn = spread_draws(noise.T, scores, scale)
        left = self._num_unplayed(mask)
        top = np.full(len(left), -np.inf)
        some = np.flatnonzero(left)
        if some.size:
            exponential = np.array([rngs[i].standard_exponential() for i in some.tolist()])
            std = (scale * np.sqrt(scores.variance0))[some]
            top[some] = maximum_quantile(scores.mean0[some], std, left[some], exponential)
        return self._best(drawn, top, rngs, mask, best)

    def upper_confidence(self, contexts: Array, rngs: Streams, scale: Array, mask: BoolArray | None = None) -> IntArray:
        """The allowed action of each run with the largest mean plus ``scale`` standard deviations; ties at random."""
        mean, root = self._shared_moments()
        scores = score_moments(self._table, contexts, mean if root.size else None)
        if root.size:
            x = self._table.turned(contexts)
            u = x * self._table.reached
            followed = (x - u)[:, None, :] + self._table.products(u)
            reach0 = np.vecmat(x, root)
            scores = scores._replace(
                variance=scores.variance + variance_along(followed, root).T,
                variance0=scores.variance0 + np.vecdot(reach0, reach0),
            )
        bounds, top = upper_bounds(scores, scale)
        top[self._num_unplayed(mask) == 0] = -np.inf
        return self._best(bounds, top, rngs, mask, _of_largest_bound)

    def _num_unplayed(self, mask: BoolArray | None) -> IntArray:
        """(R,) number of unplayed actions that may be picked."""
        if mask is None:
            return self._posteriors[0].num_actions - self._table.counts
        return np.array([len(self._candidates(i, mask).unplayed) for i in range(len(mask))])

    def _candidates(self, run: int, mask: BoolArray | None) -> Candidates:
        posterior, own = self._posteriors[run], None if mask is None else mask[run]
        return candidates(posterior.table, posterior.unplayed, None if own is None or own.all() else own)

    def _best(
        self,
        scores: Array,
        top: Array,
        rngs: Streams,
        mask: BoolArray | None,
        single: Callable[[Candidates, Array, Array, np.random.Generator], IntArray],
    ) -> IntArray:
        """Each run's action of the largest score (K, R); by ``single`` where it is unplayed, tied or masked."""
        counts = self._table.counts
        scores = np.where(np.arange(len(scores))[:, None] < counts, scores, -np.inf)
        rows = scores.argmax(axis=0)
        reached = scores[rows, np.arange(len(top))]
        plain = (reached > top) & (np.count_nonzero(scores == reached, axis=0) == 1)
        if mask is not None:
            plain &= mask.all(axis=1)
        chosen = self._table.actions_at(rows)
        for i in np.flatnonzero(~plain).tolist():
            chosen[i] = single(self._candidates(i, mask), scores[: counts[i], i].copy(), np.asarray(top[i]), rngs[i])
        return chosen


def _of_largest_bound(among: Candidates, bounds: Array, top: Array, rng: np.random.Generator) -> IntArray:
    return largest_bound(among, bounds, float(top), rng)
