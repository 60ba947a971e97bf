"""The exact posterior of mixed effects under Gaussian rewards: ``theta_a = m_a + W_a psi + delta_a``.

Given the effects ``psi`` and the rewards, actions are independent and normal, as around a shared part; every action has
an offset, a map and an own covariance of its own. With ``delta_a = R_a e``, ``e ~ N(0, I)``, a played action keeps
``e | psi ~ N(e0 - F W_a psi, P P')``: the root ``P`` of its own part, how it follows the effects, ``F``, and its mean
``e0`` where they are at their prior mean. A reward changes all three by rank one, and is one scalar observation of the
effects, whose posterior is kept in square-root form too. No covariance can become indefinite by rounding, and none of
the (d, q) maps is built where mixing weights are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.evidence import learn
from dts_gym.posteriors.information import RewardDraws
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.posteriors.unplayed_groups import UnplayedGroups, best_of_groups, groups_of
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.columns import Columns, without_row

# Actions whose bounds are computed at once, from the largest that a bound may be downwards.
_BLOCK = 64


class Scores(NamedTuple):
    """Scores ``x' theta_a = mean + v' W_a psi + std z`` of n actions, psi less its prior mean, z standard normal.

    Attributes
    ----------
    mixing : (n, J) or (n, d, q), the actions' weights or maps.
    mean : (n,) means where the effects are at their prior mean.
    v : (n, d) how scores follow the actions' parameters; (d,) where that is the context itself.
    std : (n,), or () for all.
    """

    mixing: Array
    mean: Array
    v: Array
    std: Array


class MixedEffectPosterior:
    """Posterior of all actions' parameters under mixed effects and Gaussian rewards, and the actions that it picks.

    Parameters
    ----------
    prior : the distribution of effects and actions.
    noise_std : standard deviation of the rewards.

    Notes
    -----
    Exact. An update costs O(d^2 + q^2). A draw costs O(q^2), one pass over the played actions' 2 d^2 numbers, O(P J d)
    for their effects by known weights (O(P d q) for general maps), and for the G groups of unplayed actions that are
    alike O(G (J + d)), or O(G d q). An upper bound is computed for the actions that may have the largest one: O(q^2)
    each, and for every group. Rewards may outweigh the prior by 1e16 in precision before rounding shows.
    """

    def __init__(self, prior: MixedEffectPrior, noise_std: float) -> None:
        self.prior, self.noise_std = prior, noise_std
        d = self.dim = prior.dim
        self.num_actions = prior.num_actions
        self._by_weights = prior.is_by_weights
        self._centers = prior.action_means + prior.mix(prior.effect_mean)  # (K, d)
        self._own_roots = prior.own_roots()  # (d, d), or (K, d, d)
        self.unplayed = UnplayedGroups(groups_of(prior))
        one = self.unplayed.members
        self._group_mixing, self._group_centers = prior.mixing[one], self._centers[one]
        self._group_roots = self._own_roots if self._own_roots.ndim == 2 else self._own_roots[one]
        self._effects = np.zeros(prior.effect_dim)  # less their prior mean
        self._root = prior.effect_root()  # (q, r)
        self._stale = np.inf  # rewards since the length of the root was computed
        self._length = 0.0
        self._slots: dict[int, int] = {}
        # Of "pull" the first d rows are P', the last d are F'.
        self._learned = Columns(
            {"actions": ((), np.int64), "pull": ((2 * d, d), np.float64), "own": ((d,), np.float64)}
        )
        own = {} if self._own_roots.ndim == 2 else {"root": ((d, d), np.float64)}
        self._known = Columns(
            {"mixing": (prior.mixing.shape[1:], np.float64), "center": ((d,), np.float64), **own}
        )  # the prior's rows of played actions, as they are read in every round

    @property
    def actions(self) -> IntArray:
        """(P,) the played actions, in the order of their first play."""
        return self._learned.used("actions")

    @property
    def effects(self) -> tuple[Array, Array]:
        """Posterior mean (q,) of the effects, and a root (q, r) of their covariance."""
        return self.prior.effect_mean + self._effects, self._root.copy()

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        slot = self._slot_of(action)
        root = self._own_roots if self._own_roots.ndim == 2 else self._own_roots[action]
        u = context @ root
        pull, own = self._learned["pull"][slot], self._learned["own"][slot]
        P, F = pull[: self.dim].T, pull[self.dim :].T
        reach = u @ P
        v = context - u @ F
        noise = self.noise_std**2
        total = noise + float(reach @ reach)
        residual = reward - float(context @ self._centers[action]) - float(u @ own)
        F += np.multiply.outer(P @ reach, v / total)
        learn(own, P, reach, residual, noise)
        w = _pulled(self.prior.mixing[action], v, self._by_weights)
        if self._root.size:
            learn(self._effects, self._root, w @ self._root, residual - float(w @ self._effects), total)
            self._stale += 1

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its mean, which shrinks deviations and moves no mean. Exact."""
        self.update(context, action, float(self._means(self._one(context, action), self._effects)[0]))

    def _slot_of(self, action: int) -> int:
        slot = self._slots.get(action)
        if slot is None:
            self.unplayed.remove(action)
            slot = self._append(action)
            self._learned["pull"][slot, : self.dim] = np.eye(self.dim)
        return slot

    def _append(self, action: int) -> int:
        slot = self._slots[action] = len(self._slots)
        self._known.append()
        if len(self._learned) < len(self._known):
            self._learned.append()
            self._learned["actions"][slot] = action
        self._known["mixing"][slot], self._known["center"][slot] = self.prior.mixing[action], self._centers[action]
        if self._own_roots.ndim == 3:
            self._known["root"][slot] = self._own_roots[action]
        return slot

    def _played(self, x: Array) -> Scores:
        """Scores of the played actions."""
        pull, d = self._learned.used("pull"), self.dim
        if self._own_roots.ndim == 2:
            u = x @ self._own_roots
            pulled = (pull.reshape(-1, d) @ u).reshape(-1, 2 * d)
            own = self._learned.used("own") @ u
        else:
            u = x @ self._known.used("root")  # (P, d)
            pulled = np.matvec(pull, u)
            own = np.vecdot(self._learned.used("own"), u)
        reach = pulled[:, :d]
        mean = self._known.used("center") @ x + own
        return Scores(self._known.used("mixing"), mean, x - pulled[:, d:], np.sqrt(np.vecdot(reach, reach)))

    def _groups(self, x: Array) -> Scores:
        """Scores of an unplayed action of each group."""
        return Scores(self._group_mixing, self._group_centers @ x, x, np.linalg.norm(x @ self._group_roots, axis=-1))

    def _one(self, x: Array, action: int) -> Scores:
        """Scores of one action, in arrays of length 1."""
        slot = self._slots.get(action)
        g = self.unplayed.group[action]
        rows, at = (self._groups(x), slice(g, g + 1)) if slot is None else (self._played(x), slice(slot, slot + 1))
        return Scores(rows.mixing[at], rows.mean[at], rows.v if slot is None else rows.v[at], rows.std)

    def _means(self, scores: Scores, effects: Array) -> Array:
        """Means (n,) of scores given effects (q,), less their prior mean."""
        if not effects.size:
            return scores.mean
        if not self._by_weights:
            followed = scores.mixing @ effects  # (n, d)
        elif scores.v.ndim == 1:
            return np.asarray(scores.mean + scores.mixing @ (effects.reshape(-1, self.dim) @ scores.v))
        else:
            followed = scores.mixing @ effects.reshape(-1, self.dim)
        return np.asarray(scores.mean + (followed @ scores.v if scores.v.ndim == 1 else np.vecdot(followed, scores.v)))

    def _shared_roots(self, scores: Scores) -> Array:
        """Roots (n, r) of what the effects add to the variances of scores."""
        if self._by_weights and scores.v.ndim == 1:
            J, r = scores.mixing.shape[1], self._root.shape[1]
            return np.asarray(scores.mixing @ (scores.v @ self._root.reshape(J, self.dim, r)))
        return _pulled(scores.mixing, scores.v, self._by_weights) @ self._root

    def _variances(self, scores: Scores) -> Array:
        """Marginal variances (n,) of scores."""
        shared = self._shared_roots(scores)
        return np.asarray(scores.std**2 + np.vecdot(shared, shared))

    def _draw_effects(self, rng: np.random.Generator, scale: float, lead: tuple[int, ...] = ()) -> Array:
        """Draws of the effects, (*lead, q), less their prior mean."""
        noise = rng.standard_normal((*lead, self._root.shape[1]))
        return np.asarray(self._effects + scale * (noise @ self._root.T))

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
            lengths = np.linalg.norm(_pulled(scores.mixing, scores.v, self._by_weights), axis=1)
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
        own = NormalLaws(np.ones((1, 1, 1)), means[None], scale**2 * variances[None])
        return ActionLaws(self.num_actions, np.arange(self.num_actions), own, None)

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
        drawn = self.score_draws(context, rng, scale, num_draws, actions)
        nothing = np.zeros(num_draws)
        return RewardDraws(actions, None, drawn.argmax(axis=1), model.mean(drawn), nothing, nothing)

    def score_draws(
        self, context: Array, rng: np.random.Generator, scale: float, size: int, actions: IntArray | None = None
    ) -> Array:
        """Joint posterior draws of the scores of some actions, None for all, for one context: (size, k)."""
        scores, rows = self._all_scores(context)
        effects = self._draw_effects(rng, scale, (size,))
        means = scores.mean + effects @ _pulled(scores.mixing, scores.v, self._by_weights).T  # (size, P + G)
        at = rows if actions is None else rows[actions]
        return np.asarray(means[:, at] + scale * scores.std[at] * rng.standard_normal((size, len(at))))

    def without(self, action: int) -> dict[str, Array | IntArray]:
        """`state` after an action's own part is forgotten; what its rewards told of the effects stays."""
        return self.state() | without_row(self._learned.state(), self._slots.get(action), len(self._slots))

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

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return {**self._learned.state(), "effects": self._effects.copy(), "root": self._root.copy()}

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self._learned.restore(state)
        self._effects = np.array(state["effects"], dtype=np.float64)
        self._root = np.array(state["root"], dtype=np.float64, order="C")
        self._stale = np.inf
        played = self.actions.tolist()
        self.unplayed.reset(played)
        kept = list(self._slots)
        same = 0  # rows that stay: after picks of a batch all but the last few
        while same < min(len(kept), len(played)) and kept[same] == played[same]:
            same += 1
        for action in kept[same:]:
            del self._slots[action]
        self._known.shorten(same)
        for action in played[same:]:
            self._append(action)


def _pulled(mixing: Array, v: Array, by_weights: bool) -> Array:
    """``W' v`` of maps, by weights (..., J) or themselves (..., d, q), and vectors (..., d) or (d,): (..., q)."""
    if by_weights:
        products = mixing[..., :, None] * v[..., None, :]
        return np.asarray(products.reshape(*mixing.shape[:-1], mixing.shape[-1] * v.shape[-1]))
    return np.asarray(np.vecmat(v, mixing))
