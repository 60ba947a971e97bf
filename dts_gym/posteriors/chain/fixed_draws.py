"""Draws by a fixed rule, which moments, bounds and laws average: they depend on the data alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.chain.branched_levels import FIXED_SEED, BranchedLevels
from dts_gym.utils.arrays import Array

# Draws of an action's filter for its moments, at least a factor times its other filters', and for an unplayed action's.
MOMENT_PARTICLES, PRIOR_DRAWS, _MOMENT_FACTOR = 512, 8192, 16
SHARED_DRAWS, OWN_PARTICLES = 128, 16  # of the shared part for moments, and of each action below each of them


class ValueDraws(NamedTuple):
    """Weighted draws of the actions' ``f_1``.

    Attributes
    ----------
    values, weights : (n, P, k, d) and (n, P, k), of the played actions: n draws of the shared part, k of each action's
        own levels below it.
    unplayed : (m, d), of an unplayed action's, equally weighted; those below a draw of the shared part stand together.
    """

    values: Array
    weights: Array
    unplayed: Array


class ValueMoments(NamedTuple):
    """Means (P, d) and covariances (P, d, d) of the played actions' ``f_1``, and (d,), (d, d) of an unplayed one's."""

    mean: Array
    cov: Array
    mean0: Array
    cov0: Array


class _Own(NamedTuple):
    """Of one action at branch L: draws (k, d), weights (k,), and the effective sample size of the filter."""

    values: Array
    weights: Array
    effective_sample_size: float


class FixedDraws:
    """Draws of the levels by a fixed rule, and their moments, kept as long as the data behind them.

    Parameters
    ----------
    levels : the levels that are drawn; whoever changes their evidence calls `forget`.

    Notes
    -----
    At branch L an action's draws depend on its own data alone: each action has a random stream of its own, and a
    reward costs one filter anew. Between the extremes a reward changes all of them.
    """

    def __init__(self, levels: BranchedLevels) -> None:
        self._levels = levels
        self._unplayed: tuple[float, Array, Array, Array] | None = None  # at branch L: scale, draws, their moments
        self.forget()

    def forget(self, slot: int | None = None) -> None:
        """The evidence of an action has changed (None: of any)."""
        self._all: tuple[float, ValueDraws] | None = None
        self._moments: tuple[float, ValueMoments] | None = None
        if slot is None or not self._levels.independent:
            self._scale = 1.0
            self._own: dict[int, _Own] = {}  # by the action's slot
            self._own_moments: dict[int, tuple[Array, Array, float]] = {}
        else:
            self._own.pop(slot, None)
            self._own_moments.pop(slot, None)

    def draws(self, scale: float) -> ValueDraws:
        """The draws at an exploration scale."""
        if self._all is None or self._all[0] != scale:
            self._all = scale, self._drawn(scale)
        return self._all[1]

    def moments(self, scale: float) -> ValueMoments:
        """Their moments."""
        if self._moments is None or self._moments[0] != scale:
            self._moments = scale, self._moments_at(scale)
        return self._moments[1]

    def _moments_at(self, scale: float) -> ValueMoments:
        levels = self._levels
        if not levels.independent:
            values, weights, value0 = self._drawn(scale)
            return ValueMoments(*_averaged(values, weights), *_averaged0(value0))
        self._at(scale)
        P, d = len(levels.table), levels.table.dim
        mean, cov, sizes = np.empty((P, d)), np.empty((P, d, d)), np.ones(P)
        for slot in range(P):
            if slot not in self._own_moments:
                own = self._own.get(slot) or self._own_drawn(slot, scale)
                found = _averaged(own.values[None, None], own.weights[None, None])
                self._own_moments[slot] = found[0][0], found[1][0], own.effective_sample_size
            mean[slot], cov[slot], sizes[slot] = self._own_moments[slot]
        if P:
            levels.effective_sample_size = float(sizes.mean())
        return ValueMoments(mean, cov, *self._unplayed_at(scale)[1:])

    def _drawn(self, scale: float) -> ValueDraws:
        levels, d = self._levels, self._levels.table.dim
        played = range(len(levels.table))
        values, weights = np.empty((1, 0, 1, d)), np.empty((1, 0, 1))
        if levels.independent:
            self._at(scale)
            for slot in played:
                if slot not in self._own:
                    self._own[slot] = self._own_drawn(slot, scale)
            if played:
                values = np.stack([self._own[slot].values for slot in played])[None]
                weights = np.stack([self._own[slot].weights for slot in played])[None]
                sizes = [self._own[slot].effective_sample_size for slot in played]
                levels.effective_sample_size = float(np.mean(sizes))
            return ValueDraws(values, weights, self._unplayed_at(scale)[0])
        rng = np.random.default_rng(FIXED_SEED)
        parents, own = levels.chosen_draws(SHARED_DRAWS, rng, scale, OWN_PARTICLES)
        each = PRIOR_DRAWS // SHARED_DRAWS
        value0 = np.concatenate([levels.prior_values(each, parent, rng, scale) for parent in parents])
        if own is not None:
            values, weights = own.value, np.exp(own.log_weights) / len(parents)
        return ValueDraws(values, weights, value0)

    def _at(self, scale: float) -> None:
        """Keep the actions' own draws for one scale."""
        if scale != self._scale:
            self._scale, self._own, self._own_moments = scale, {}, {}

    def _own_drawn(self, slot: int, scale: float) -> _Own:
        """A filter of one action alone: the same numbers whatever the others are."""
        levels = self._levels
        rng = np.random.default_rng((FIXED_SEED, int(levels.table.actions[slot])))
        P = max(MOMENT_PARTICLES, _MOMENT_FACTOR * levels.num_particles)
        own = levels.own_filters([slot], None, rng, scale, num_particles=P)
        return _Own(own.value[0, 0], np.exp(own.log_weights[0, 0]), float(own.effective_sample_size.mean()))

    def _unplayed_at(self, scale: float) -> tuple[Array, Array, Array]:
        """At branch L: draws of the prior, which no data change, their mean and covariance."""
        if self._unplayed is None or self._unplayed[0] != scale:
            values = self._levels.prior_values(PRIOR_DRAWS, None, np.random.default_rng(FIXED_SEED), scale)
            self._unplayed = scale, values, *_averaged0(values)
        return self._unplayed[1:]


def _averaged(values: Array, weights: Array) -> tuple[Array, Array]:
    """Means (P, d) and covariances (P, d, d) of draws (n, P, k, d) with weights (n, P, k)."""
    mean = np.einsum("npk,npkd->pd", weights, values)
    off = values - mean[:, None]
    return mean, np.einsum("npk,npkd,npke->pde", weights, off, off, optimize=True)


def _averaged0(values: Array) -> tuple[Array, Array]:
    """Mean (d,) and covariance (d, d) of equally weighted draws (m, d)."""
    return values.mean(axis=0), np.atleast_2d(np.cov(values.T, bias=True))
