"""Posteriors of linear chains in closed form, many at once: `TwoLevelPosterior` with a leading axis of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.evidence import learn
from dts_gym.posteriors.lockstep.run_choices import RunChoices
from dts_gym.posteriors.precise_rows import LIMIT
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.utils.arrays import Array, IntArray


class LinearRuns(RunChoices[TwoLevelPosterior]):
    """R posteriors of equal sizes, each of a run of its own.

    Parameters
    ----------
    posteriors : R posteriors for which `fit_together` is true, used as `RunChoices` says.

    Notes
    -----
    Exact, as each posterior is. O(R K d^2) a round. From the first reward on for which some posterior needs twofold
    precision they go on one by one.
    """

    def __init__(self, posteriors: Sequence[TwoLevelPosterior]) -> None:
        super().__init__(posteriors)
        self._variance = np.array([posterior.noise_std**2 for posterior in posteriors])
        self._prior_root = np.stack([posterior.prior_root for posterior in posteriors])
        # (R, d), (R, d, r) and (R, 1)
        self._mean, self._root, self._weight = map(np.stack, zip(*(one.shared for one in posteriors), strict=True))
        for posterior, *arrays in zip(posteriors, self._mean, self._root, self._weight, strict=True):
            posterior.shared = (arrays[0], arrays[1], arrays[2])

    def part(self) -> None:
        self._table.part()
        for posterior in self._posteriors:
            mean, root, weight = posterior.shared
            posterior.shared = mean.copy(), root.copy(), weight.copy()

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> bool:
        self._mark_played(actions)
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

    def _shared_moments(self) -> tuple[Array, Array]:
        return self._mean, self._root


def fit_together(posteriors: Sequence[object]) -> bool:
    """Whether posteriors can be one `LinearRuns`: in closed form, of double precision, of equal sizes and ranks."""
    sizes = {
        (p.num_actions, p.table.dim, p.table.dtype, p.shared[1].shape, int(p.table.reached.sum()))
        if isinstance(p, TwoLevelPosterior) and not p.is_careful
        else None
        for p in posteriors
    }
    if len(sizes) != 1 or None in sizes:
        return False
    ((_, _, dtype, _, _),) = (size for size in sizes if size is not None)
    return dtype == "float64"
