"""Choices where some posteriors are narrower than float64 resolves: score by score, from the rows that hold them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dts_gym.posteriors import choices
from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.information import RewardDraws, best_of_normals, draws_of
from dts_gym.posteriors.marginals import ActionLaws
from dts_gym.posteriors.precise_actions import Followed
from dts_gym.posteriors.precise_rows import ROUNDING, PreciseRows, Readings, refuse
from dts_gym.posteriors.pruning import responses
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.twofold import Twofold

_UNIT = float(np.finfo(np.float64).eps)


class Scores(NamedTuple):
    """Posterior of the scores ``x' theta_a`` for one context: ``mean + root z + std noise``, ``z`` common to all.

    Attributes
    ----------
    mean, std : (P + 1,) of the played actions; the last is every unplayed one's.
    root : (P + 1, r) how scores follow the shared part, in its deviations.
    """

    mean: Array
    std: Array
    root: Array

    def spread(self) -> Array:
        """Standard deviations of the scores, (P + 1,)."""
        return np.asarray(np.sqrt(self.std**2 + (self.root * self.root).sum(axis=1)))

    def of_choice(self, mean: Array, std: Array) -> choices.ScoreMoments:
        """Moments as choices read them: the unplayed actions' apart."""
        return choices.ScoreMoments(mean[:-1], std[:-1] ** 2, mean[-1], std[-1] ** 2)


class CarefulPosterior(ActionPosterior):
    """A posterior whose rewards are observed one by one, and whose narrow parts are kept in twofold precision.

    Where no part is narrow, nothing here is used. Else scores are read one context at a time: those of the actions in
    ``table.precise`` from there, and what the shared part adds to them and to the unplayed actions from ``_narrow``,
    where that is not None.

    Parameters
    ----------
    center, action_cov, num_actions, dtype, shared_cov : as in `ActionPosterior`.

    Notes
    -----
    Exact to a millionth of a deviation; a context for which rounding might cost more raises ValueError, before
    anything is drawn or learned.
    """

    _narrow: PreciseRows | None = None  # one row: the shared part, in the parameters' coordinates

    @property
    def is_careful(self) -> bool:
        """Whether some part of the posterior is in twofold precision."""
        return bool(self.table.precise.rows) or self._narrow is not None

    def _scores(self, context: Array) -> Scores:
        """Scores of the played actions and of any other, uncentred, for one context."""
        table, own = self.table, float(context @ self.center)
        shared_mean, shared_root = self._shared_moments(1.0)
        u = (context @ table.basis) * table.reached
        mean = np.append(table.beta @ u, 0.0) + own
        length = float(self._lengths(context)[0])  # float32 matrices need contexts in their range
        unit = u / length
        std = length * np.sqrt(np.append(table.forms(unit, None)[1], unit @ unit).clip(0.0).astype(np.float64))
        root = np.zeros((len(mean), shared_root.shape[1]))
        if shared_root.size:
            followed = length * responses(table, context / length).astype(np.float64)
            mean += followed @ shared_mean
            root = followed @ shared_root
        if table.precise.rows:
            slots = table.precise.slots
            readings, follow = table.precise.read(slots, context)
            mean[slots], std[slots], root[slots] = self._read(readings, follow)
        if self._narrow is not None:
            nothing = np.zeros(1)
            center = Readings(
                (Twofold(context) * self.center).sum(-1)[None], np.sqrt(u @ u)[None, None], nothing, nothing
            )
            all_of_it = Followed(Twofold(context[None]), np.zeros((1, len(context))), (table.basis @ u)[None])
            mean[-1:], std[-1:], root[-1:] = self._read(center, all_of_it, is_asked=len(self.unplayed) > 0)
        return Scores(mean, std, root)

    def _read(self, readings: Readings, follow: Followed, is_asked: bool = True) -> tuple[Array, Array, Array]:
        """Means, own deviations and roots in the shared part of k scores, given those under a shared part of 0.

        They are refused where rounding may be too large, unless ``is_asked`` is false: no action has such a score.
        """
        mean, own, mean_error, std_error = readings
        std = np.sqrt((own * own).sum(axis=1))
        shared_mean, shared_root = self._shared_moments(1.0)
        root = np.zeros((len(std), shared_root.shape[1]))
        if self._narrow is not None:
            shared = self._narrow.read(np.zeros(len(std), dtype=np.int64), *self._in_shared(*follow))
            root = shared.root
            mean, mean_error, std_error = (
                mean + shared.mean,
                mean_error + shared.mean_error,
                std_error + shared.std_error,
            )
        elif shared_root.size:
            followed = follow.x.high @ self.table.basis
            root = followed @ shared_root
            mean = mean + followed @ shared_mean
        if is_asked:
            refuse(mean.high, np.sqrt(std * std + (root * root).sum(axis=1)), mean_error, std_error)
        return mean.high, std, root

    @property
    def _is_turned(self) -> bool:
        """Whether the shared part's precise row is in the table's coordinates.

        It is where ``S`` reaches a part only, as rewards may then tell of the rest beyond all measure.
        """
        return not self.table.reached.all()

    def _in_shared(self, x: Twofold, x_error: Array, gain: Array) -> tuple[Twofold, Array]:
        """How scores follow the shared part, (k, d), in the coordinates of its precise row, and the rounding.

        What an action's own part takes up, ``S^-1 gain``, is what is left of a context after nearly all of it has
        cancelled: an entry is computed from the gain where the bound of its rounding is then smaller.
        """
        basis, inverse = self.table.basis, self.table.inverse
        size, inverse_size, basis_size = np.abs(gain), np.abs(inverse), np.abs(basis)
        own = (gain @ inverse.T) * self.table.reached
        own_error = 8 * len(basis) * _UNIT * (size @ inverse_size.T @ basis_size.T @ inverse_size.T)
        better = np.broadcast_to(self.table.reached > 0, own.shape)
        if self._is_turned:
            x_error = x_error @ basis_size + len(basis) * ROUNDING * (np.abs(x.high) @ basis_size)
            x = (x[:, :, None] * basis).sum(-2)
        else:
            own, own_error = own @ inverse, own_error @ inverse_size
        better = better & (own_error < x_error)
        return Twofold(np.where(better, own, x.high), np.where(better, 0.0, x.low)), np.where(
            better, own_error, x_error
        )

    def _each(self, contexts: Array) -> list[Scores]:
        """Scores of every context; those of a repeated one are read once."""
        rows: list[Scores] = []
        for i, x in enumerate(contexts):
            rows.append(rows[-1] if i and (x == contexts[i - 1]).all() else self._scores(x))
        return rows

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        if not self.is_careful:
            return super().thompson(contexts, rng, scale, mask)
        among = choices.candidates(self.table, self.unplayed, mask)
        rows = self._each(np.atleast_2d(contexts))
        noise = rng.standard_normal((len(rows), rows[0].root.shape[1]))
        chosen = np.array(
            [
                choices.thompson(among, row.of_choice(row.mean + scale * (row.root @ z), row.std), rng, scale)
                for row, z in zip(rows, noise, strict=True)
            ],
            dtype=np.int64,
        )
        return chosen if contexts.ndim == 2 else np.asarray(chosen[0])

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        if not self.is_careful:
            return super().upper_confidence(contexts, rng, scale, mask)
        among = choices.candidates(self.table, self.unplayed, mask)
        rows = self._each(np.atleast_2d(contexts))
        chosen = np.array(
            [choices.upper_confidence(among, row.of_choice(row.mean, row.spread()), rng, scale) for row in rows],
            dtype=np.int64,
        )
        return chosen if contexts.ndim == 2 else np.asarray(chosen[0])

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        if not self.is_careful:
            return super().greedy(contexts, mask, rng)
        mean = np.stack([row.mean for row in self._each(np.atleast_2d(contexts))], axis=1)  # (P + 1, n)
        chosen = choices.greedy(choices.candidates(self.table, self.unplayed, mask), mean[:-1], mean[-1], rng)
        return chosen if contexts.ndim == 2 else np.asarray(chosen[0])

    def expect(self, context: Array, action: int) -> None:
        if not self.is_careful:
            super().expect(context, action)
            return
        mean = float(self._scores(context).mean[self.table.slots.get(action, -1)])
        self._mark_played(action)
        self._absorb(self.table.observe(action, context, mean, self._noise_variance(mean)))

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        if not self.is_careful:
            return super().laws(contexts, scale)
        rows = self._each(contexts)
        mean, variance = np.stack([row.mean for row in rows]), np.stack([(scale * row.spread()) ** 2 for row in rows])
        return ActionLaws.of_normals(self.num_actions, self.table.actions, mean, variance)

    def reward_draws(
        self,
        context: Array,
        rng: np.random.Generator,
        scale: float,
        num_draws: int,
        model: RewardModel,
        mask: BoolArray | None = None,
    ) -> RewardDraws:
        if not self.is_careful:
            return super().reward_draws(context, rng, scale, num_draws, model, mask)
        among = choices.candidates(self.table, self.unplayed, mask)
        row = self._scores(context)
        means = row.mean + scale * (rng.standard_normal((num_draws, row.root.shape[1])) @ row.root.T)
        scores = means[:, :-1] + scale * row.std[:-1] * rng.standard_normal((num_draws, len(row.mean) - 1))
        if not len(among.unplayed):
            return draws_of(among, scores, None, None, model)
        top, below = best_of_normals(means[:, -1], scale * float(row.std[-1]), len(among.unplayed), rng, model)
        return draws_of(among, scores, top, below, model)

    def _given_draws(self, context: Array, rng: np.random.Generator, scale: float, size: int) -> tuple[Array, Array]:
        if not self.is_careful:
            return super()._given_draws(context, rng, scale, size)
        row = self._scores(context)
        return row.mean + scale * (rng.standard_normal((size, row.root.shape[1])) @ row.root.T), scale * row.std

    def score_draws(self, contexts: Array, rng: np.random.Generator, scale: float, size: int) -> Array:
        """Draws of an action's scores under k contexts (k, d), of a posterior of one action: (size, k)."""
        first = np.zeros(1, dtype=np.int64)
        means, roots = np.empty(len(contexts)), []
        for i, x in enumerate(contexts):
            readings, follow = self.table.precise.read(first, x)
            mean, _, root = self._read(readings, follow)
            means[i] = mean[0]
            roots.append(np.concatenate([readings.root[0], root[0]]))
        return np.asarray(means + scale * (rng.standard_normal((size, len(roots[0]))) @ np.stack(roots).T))
