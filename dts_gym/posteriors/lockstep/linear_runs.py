"""Posteriors of linear chains in closed form, many at once: `TwoLevelPosterior` with a leading axis of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

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
from dts_gym.posteriors.evidence import learn
from dts_gym.posteriors.lockstep.run_tables import RunTables
from dts_gym.posteriors.precise_rows import LIMIT
from dts_gym.posteriors.pruning import variance_along
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.utils.arrays import Array, BoolArray, IntArray

Streams = Sequence[np.random.Generator]


class LinearRuns:
    """R posteriors of equal sizes, each of a run of its own.

    Parameters
    ----------
    posteriors : R posteriors for which `fit_together` is true. Until `part`, their arrays are views of stacked ones,
        and they must be changed through this object alone.

    Notes
    -----
    Exact, as each posterior is. The same draws as one by one: each run draws from its own generator in the same order,
    so that choices are the same but for ties at rounding. O(R K d^2) a round.
    """

    def __init__(self, posteriors: Sequence[TwoLevelPosterior]) -> None:
        self._posteriors = list(posteriors)
        self._table = RunTables([posterior.table for posterior in posteriors], posteriors[0].num_actions)
        self._centers = np.stack([posterior.center for posterior in posteriors])
        self._variance = np.array([posterior.noise_std**2 for posterior in posteriors])
        self._prior_root = np.stack([posterior.prior_root for posterior in posteriors])
        # (R, d), (R, d, r) and (R, 1)
        self._mean, self._root, self._weight = map(np.stack, zip(*(one.shared for one in posteriors), strict=True))
        for posterior, *arrays in zip(posteriors, self._mean, self._root, self._weight, strict=True):
            posterior.shared = (arrays[0], arrays[1], arrays[2])

    def part(self) -> None:
        """Give every posterior arrays of its own again."""
        self._table.part()
        for posterior in self._posteriors:
            mean, root, weight = posterior.shared
            posterior.shared = mean.copy(), root.copy(), weight.copy()

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> bool:
        """Condition every run on a reward: (R, d), (R,) and (R,).

        Returns
        -------
        bool
            False, with nothing learned, where some posterior would need twofold precision: then `part` is due.
        """
        for posterior, action in zip(self._posteriors, actions.tolist(), strict=True):
            if action not in posterior.table.slots:
                posterior.unplayed.remove(action)
        targets = rewards - np.vecdot(contexts, self._centers)
        seen = self._table.seen(actions, contexts, targets, self._variance)
        increments = self._table.increments_of(seen)
        v, variance, residual, _ = increments
        reach = np.matvec(self._prior_root.swapaxes(1, 2), v)
        weight = self._weight[:, 0] + np.vecdot(reach, reach) / variance
        if max(self._table.weights_after(seen).max(), weight.max()) > LIMIT:
            return False
        self._weight[:, 0] = weight
        self._table.take_in(seen, increments)
        if self._root.size:
            reach = np.matvec(self._root.swapaxes(1, 2), v)
            learn(self._mean, self._root, reach, residual - np.vecdot(v, self._mean), variance)
        return True

    def thompson(self, contexts: Array, rngs: Streams, scale: Array, mask: BoolArray | None = None) -> IntArray:
        """The best allowed action of each run under one posterior draw: contexts (R, d), scales (R,), masks (R, K)."""
        m = None
        if self._root.size:
            noise = np.stack([rng.standard_normal(self._root.shape[2]) for rng in rngs])
            m = self._mean + scale[:, None] * np.matvec(self._root, noise)
        scores = score_moments(self._table, contexts, m)
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
        scores = score_moments(self._table, contexts, self._mean if self._root.size else None)
        if self._root.size:
            x = self._table.turned(contexts)
            u = x * self._table.reached
            followed = (x - u)[:, None, :] + self._table.products(u)
            reach0 = np.vecmat(x, self._root)
            scores = scores._replace(
                variance=scores.variance + variance_along(followed, self._root).T,
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


def fit_together(posteriors: Sequence[object]) -> bool:
    """Whether posteriors can be one `LinearRuns`: in closed form, of double precision, of equal sizes and ranks."""
    sizes = {
        (p.num_actions, p.table.dim, p.table.dtype, p.shared[1].shape)
        if isinstance(p, TwoLevelPosterior) and not p.is_careful
        else None
        for p in posteriors
    }
    if len(sizes) != 1 or None in sizes:
        return False
    ((_, _, dtype, _),) = (size for size in sizes if size is not None)
    return dtype == "float64"
