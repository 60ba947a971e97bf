"""The actions that a posterior of mixed effects picks."""

from __future__ import annotations

import numpy as np

from dts_gym.posteriors.information import RewardDraws
from dts_gym.posteriors.marginals import ActionLaws
from dts_gym.posteriors.mixed_effects.rows import MixedEffectRows, Scores, pulled
from dts_gym.posteriors.mixed_effects.unplayed_groups import best_of_groups
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray

# Actions whose bounds are computed at once, from the largest that a bound may be downwards.
_BLOCK = 64


class MixedEffectChoices(MixedEffectRows):
    """The actions that a posterior of mixed effects picks, its distributions and draws.

    Notes
    -----
    Exact, given what `MixedEffectRows` holds. A draw costs O(q^2), one pass over the played actions' 2 d^2 numbers,
    O(P J d) for their effects by known weights (O(P d q) for general maps), and for the G groups of unplayed actions
    that are alike O(G (J + d)), or O(G d q). An upper bound is computed for the actions that may have the largest one:
    O(q^2) each, and for every group.
    """

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Best allowed action under one posterior draw of all parameters: (d,) -> (), (n, d) -> (n,), a draw a row.

        ``scale`` is the exploration scale, ``mask`` (K,) allows actions, None all.
        """
        if contexts.ndim == 2:
            return np.array([self.thompson(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        effects = self._draw_effects(rng, scale)
        played, groups = self._played(contexts), self._groups(contexts)
        drawn = rng.standard_normal(len(played.mean))
        drawn *= scale * played.std
        drawn += self._means(played, effects)
        counts = self.unplayed.allowed(mask)
        top = best_of_groups(self._means(groups, effects), scale * groups.std, counts, rng)
        return self._best(drawn, top, counts, rng, mask)

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed action of the largest mean plus ``scale`` marginal deviations; ties at random. See `thompson`."""
        if contexts.ndim == 2:
            return np.array([self.upper_confidence(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        played, groups = self._played(contexts), self._groups(contexts)
        counts = self.unplayed.allowed(mask)
        top = self._means(groups, self._effects) + scale * np.sqrt(self._variances(groups))
        best = float(top[counts > 0].max(initial=-np.inf))
        return self._best(self._upper_bounds(played, scale, best, mask), top, counts, rng, mask)

    def _upper_bounds(self, scores: Scores, scale: float, best: float, mask: BoolArray | None) -> Array:
        """Bounds (P,) of the played actions; minus infinity for those that cannot be as large as another's or ``best``.

        Of the effects' part no deviation is larger than the root's length times that of ``W_a' v``.
        """
        mean = self._means(scores, self._effects)
        if mask is not None:
            mean[~mask[self.actions]] = -np.inf
        if self._by_weights:
            lengths = np.linalg.norm(scores.mixing, axis=1) * np.linalg.norm(scores.v, axis=1)
        else:
            lengths = np.linalg.norm(pulled(scores.mixing, scores.v, self._by_weights), axis=1)
        most = mean + scale * np.hypot(scores.std, self._root_length() * lengths)
        bounds = np.full(len(mean), -np.inf)
        order = np.argsort(-most)
        for start in range(0, len(order), _BLOCK):
            rows = order[start : start + _BLOCK]
            if most[rows[0]] < best:
                break
            some = Scores(scores.mixing[rows], mean[rows], scores.v[rows], scores.std[rows])
            bounds[rows] = mean[rows] + scale * np.sqrt(self._variances(some))
            best = max(best, float(bounds[rows].max()))
        return bounds

    def _root_length(self) -> float:
        """An upper bound on the largest deviation of the effects along a unit vector; rewards only lessen it."""
        if self._stale > len(self._effects):
            # Rounded upwards, so that no bound is left out that ties with the largest.
            self._length, self._stale = float(np.linalg.norm(self._root, 2)) * (1 + 1e-9) if self._root.size else 0.0, 0
        return self._length

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed action of the largest posterior mean; of tied ones the lowest-numbered, or any with ``rng``."""
        if contexts.ndim == 2:
            return np.array([self.greedy(x, mask, rng) for x in contexts], dtype=np.int64)
        played, top = (self._means(of(contexts), self._effects) for of in (self._played, self._groups))
        return self._best(played, top, self.unplayed.allowed(mask), rng, mask)

    def _best(
        self, played: Array, top: Array, counts: IntArray, rng: np.random.Generator | None, mask: BoolArray | None
    ) -> IntArray:
        """Action of the largest score of played ones (P,) and groups (G,); of tied ones any, without rng the first."""
        if mask is not None:
            played = np.where(mask[self.actions], played, -np.inf)
        top = np.where(counts > 0, top, -np.inf)
        best = max(float(played.max(initial=-np.inf)), float(top.max(initial=-np.inf)))
        rows, groups = np.flatnonzero(played == best), np.flatnonzero(top == best)
        if rng is None:
            lowest = [int(self.actions[rows].min())] if len(rows) else []
            return np.asarray(min(lowest + ([self.unplayed.lowest(groups, mask)] if len(groups) else [])))
        ends = counts[groups].cumsum()
        tied = len(rows) + (int(ends[-1]) if len(groups) else 0)
        index = int(rng.integers(tied)) if tied > 1 and len(rows) + len(groups) > 1 else 0
        if index < len(rows):
            return np.asarray(self.actions[rows[index]])
        group = groups[np.searchsorted(ends, index - len(rows), side="right")]
        return np.asarray(self.unplayed.draw(int(group), rng, mask))

    def _all_scores(self, x: Array) -> tuple[Scores, IntArray]:
        """Scores of the played actions and of each group, in one; and the row of every action in it, (K,)."""
        played, groups = self._played(x), self._groups(x)
        v = np.vstack([played.v, np.broadcast_to(x, (len(groups.mean), self.dim))])
        std = np.append(played.std, np.broadcast_to(groups.std, groups.mean.shape))
        rows = self.unplayed.group + len(played.mean)
        rows[self.actions] = np.arange(len(played.mean))
        mixing = np.concatenate([played.mixing, groups.mixing])
        return Scores(mixing, np.append(played.mean, groups.mean), v, std), rows

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta_a``, contexts (n, d), which are normal. O((P + G) q^2) a context."""
        means, variances = np.empty((2, len(contexts), self.num_actions))
        for i, x in enumerate(contexts):
            scores, rows = self._all_scores(x)
            means[i], variances[i] = self._means(scores, self._effects)[rows], self._variances(scores)[rows]
        return ActionLaws.of_normals(self.num_actions, np.arange(self.num_actions), means, scale**2 * variances)

    def reward_draws(
        self,
        context: Array,
        rng: np.random.Generator,
        scale: float,
        num_draws: int,
        model: RewardModel,
        mask: BoolArray | None = None,
    ) -> RewardDraws:
        """Posterior draws of the allowed actions' mean rewards, for one context; unplayed ones count one by one."""
        actions = np.arange(self.num_actions) if mask is None else np.flatnonzero(mask)
        return RewardDraws.of_scores(actions, self.score_draws(context, rng, scale, num_draws, actions), model)

    def score_draws(
        self, context: Array, rng: np.random.Generator, scale: float, size: int, actions: IntArray | None = None
    ) -> Array:
        """Joint posterior draws of the scores of some actions, None for all, for one context: (size, k)."""
        means, stds = self._given_effects(context, rng, scale, size, actions)
        return np.asarray(means + stds * rng.standard_normal(means.shape))

    def laws_given_shared(self, context: Array, rng: np.random.Generator, scale: float, size: int) -> ActionLaws:
        """Distributions of ``x' theta_a`` given draws of the effects, see `ActionPosterior`; O(size K q)."""
        means, stds = self._given_effects(context, rng, scale, size)
        return ActionLaws.of_normals(self.num_actions, np.arange(self.num_actions), means, stds * stds)

    def _given_effects(
        self, context: Array, rng: np.random.Generator, scale: float, size: int, actions: IntArray | None = None
    ) -> tuple[Array, Array]:
        """Means (size, k) and deviations (k,) of some actions' scores given draws of the effects; None for all."""
        scores, rows = self._all_scores(context)
        effects = self._draw_effects(rng, scale, (size,))
        means = scores.mean + effects @ pulled(scores.mixing, scores.v, self._by_weights).T  # (size, P + G)
        at = rows if actions is None else rows[actions]
        return np.asarray(means[:, at]), np.asarray(scale * scores.std[at])

    def _parts(self) -> tuple[Array, Array, Array]:
        """Means (K, d) at the effects' prior mean, maps of effects (K, d, q), and roots of own parts (K, d, d)."""
        K, d = self.num_actions, self.dim
        mixing = self.prior.mixing
        maps = np.stack([np.kron(b, np.eye(d)) for b in mixing]) if self._by_weights else mixing.copy()
        roots = np.broadcast_to(self._own_roots, (K, d, d)).copy()
        mean, at = self._centers.copy(), self.actions
        pull = self._learned.used("pull")
        mean[at] += np.matvec(roots[at], self._learned.used("own"))
        maps[at] -= roots[at] @ (pull[:, d:].swapaxes(1, 2) @ maps[at])
        roots[at] = roots[at] @ pull[:, :d].swapaxes(1, 2)
        return mean, maps, roots

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, one (K, d) or ``size`` of them (size, K, d), for small K."""
        lead = () if size is None else (size,)
        mean, maps, roots = self._parts()
        effects = self._draw_effects(rng, scale, lead)
        own = np.matvec(roots, scale * rng.standard_normal((*lead, *mean.shape)))
        return np.asarray(
            mean + (effects @ maps.reshape(mean.size, maps.shape[-1]).T).reshape(*lead, *mean.shape) + own
        )

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major: for small K."""
        mean, maps, roots = self._parts()
        spread = (maps @ self._root).reshape(mean.size, -1)
        cov, d = spread @ spread.T, self.dim
        for a, own in enumerate(roots):
            block = slice(a * d, (a + 1) * d)
            cov[block, block] += own @ own.T
        return mean + maps @ self._effects, scale**2 * cov
