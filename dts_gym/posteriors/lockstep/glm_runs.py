"""Posteriors of linear chains under rewards that are expanded, many at once: `GLMPosterior` with an axis of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.expansion import is_finite
from dts_gym.posteriors.glm.glm_posterior import REFRESH_EVERY, GLMPosterior
from dts_gym.posteriors.glm.map_expansion import Expansion, NormalPrior, prior_std
from dts_gym.posteriors.glm.renewal import looked_at, means_given
from dts_gym.posteriors.glm.shared_part import about_root, around_shared, moments_given, of_action
from dts_gym.posteriors.lockstep.expansion_runs import ExpansionRuns
from dts_gym.posteriors.lockstep.run_choices import RunChoices
from dts_gym.problem.rewards import BernoulliReward, PoissonReward
from dts_gym.utils.arrays import Array, IntArray


class GLMRuns(RunChoices[GLMPosterior]):
    """R posteriors of equal sizes, each of a run of its own.

    Parameters
    ----------
    posteriors : R posteriors for which `fit_together` is true, used as `RunChoices` says.

    Notes
    -----
    As exact as each posterior is. From the first reward on for which some posterior refuses its context, or products
    overflow, they go on one by one.
    """

    def __init__(self, posteriors: Sequence[GLMPosterior]) -> None:
        super().__init__(posteriors)
        self._expansions = ExpansionRuns([posterior.glm for posterior in posteriors], posteriors[0].num_actions)
        self._prior_root = np.stack([posterior.shared_root for posterior in posteriors])
        known = [posterior.known for posterior in posteriors]
        self._known = Evidence(np.stack([one.G for one in known]), np.stack([one.h for one in known]))
        self._changes = np.array([posterior.changes for posterior in posteriors])
        self._every = np.arange(len(posteriors))
        self._mean, self._root = moments_given(*self._known, self._prior_root)

    def part(self) -> None:
        self._table.part()
        self._expansions.part()
        for posterior, G, h, changes in zip(self._posteriors, *self._known, self._changes.tolist(), strict=True):
            posterior.take_over(Evidence(G.copy(), h.copy()), changes)

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> bool:
        rows = self._table.rows_of(actions)
        prior = self._without(self._every, rows)
        if not prior_std(contexts, prior)[1].all():
            return False
        try:
            found = self._expansions.with_one(actions, rows, contexts, rewards, prior)
        except np.linalg.LinAlgError:  # products that are not finite have no factors
            return False
        if not is_finite(found.mean, found.evidence).all():
            return False
        self._mark_played(actions)
        self._table.opened(actions)
        self._expansions.keep(actions, rows, found)
        self._replace(self._every, rows, found.evidence)
        self._changes += 1
        if self._prior_root.size:
            self._renew()
        due = np.flatnonzero(self._changes % REFRESH_EVERY == 0)
        for run in due.tolist():
            total = about_root(self._table.total(run), self._prior_root[run])
            self._known.G[run], self._known.h[run] = np.eye(len(total.h)) + total.G, total.h
        self._solve(due)
        return True

    def _without(self, runs: IntArray, rows: IntArray) -> NormalPrior:
        """The distribution of the parameters of an action of some runs, given the other actions' data."""
        center, basis, inverse = self._centers[runs], self._table.basis[runs], self._table.inverse[runs]
        if not self._prior_root.size:
            return NormalPrior(center, basis, inverse)
        root = self._prior_root[runs]
        told = about_root(self._table.message_of(runs, rows), root)
        mean, spread = around_shared(self._known.G[runs] - told.G, self._known.h[runs] - told.h, root)
        return of_action(center, basis, inverse, mean, spread)

    def _replace(self, runs: IntArray, rows: IntArray, evidence: Evidence) -> None:
        """Replace the evidence of an action of some runs."""
        G, h = evidence
        told = about_root(
            self._table.replace(runs, rows, G, h - np.matvec(G, self._centers[runs])), self._prior_root[runs]
        )
        self._known.G[runs] += told.G
        self._known.h[runs] += told.h
        self._solve(runs)

    def _solve(self, runs: IntArray) -> None:
        if runs.size and self._prior_root.size:
            found = moments_given(self._known.G[runs], self._known.h[runs], self._prior_root[runs])
            self._mean[runs], self._root[runs] = found

    def _renew(self) -> None:
        """As `renewal.renew`, in every run."""
        rows = looked_at(self._changes[:, None], self._table.counts[:, None])
        own = means_given(*self._table.followed(rows, self._mean), self._table.reached[:, None], self._mean[:, None])
        means = self._centers[:, None] + own @ self._table.basis.mT
        at, is_stale = self._expansions.most_moved(rows, means)
        runs = np.flatnonzero(is_stale)
        if runs.size:
            self._expand_again(runs, rows[runs, at[runs]])

    def _expand_again(self, runs: IntArray, rows: IntArray) -> None:
        """As `renewal.expanded_again`: where products overflow the old expansion stands."""
        try:
            found = self._expansions.again(runs, rows, self._without(runs, rows))
        except np.linalg.LinAlgError:
            for i in range(len(runs) if len(runs) > 1 else 0):
                self._expand_again(runs[i : i + 1], rows[i : i + 1])
            return
        fine = is_finite(found.mean, found.evidence)
        evidence = Evidence(found.evidence.G[fine], found.evidence.h[fine])
        kept = Expansion(evidence, found.point[fine], found.mean[fine], found.root[fine])
        self._expansions.store(runs[fine], rows[fine], kept)
        self._replace(runs[fine], rows[fine], evidence)

    def _shared_moments(self) -> tuple[Array, Array]:
        return self._mean, self._root


def fit_together(posteriors: Sequence[object]) -> bool:
    """Whether posteriors can be one `GLMRuns`: of equal sizes and ranks, expanded in one way at the MAP.

    Not where an action's own part is of deficient rank, where a reward still to come has a row of the table, nor once
    items have been retired.
    """
    sizes = {
        (p.num_actions, p.table.dim, p.shared_root.shape, type(p.glm.model), p.glm.mode)
        if isinstance(p, GLMPosterior)
        and p.table.reached.all()
        and list(p.glm.slots) == list(p.table.slots)
        and p.retired.is_empty
        else None
        for p in posteriors
    }
    if len(sizes) != 1 or None in sizes:
        return False
    ((*_, family, mode),) = (size for size in sizes if size is not None)
    return family in {BernoulliReward, PoissonReward} and mode != "mle"
