"""What evidence tells of mixed effects, ``theta_a = m_a + W_a psi + delta_a``: the effects and played actions.

Given the effects ``psi`` and the evidence, actions are independent and normal, as around a shared part; every action
has an offset, a map and an own covariance of its own. With ``delta_a = R_a e``, ``e ~ N(0, I)``, a played action keeps
``e | psi ~ N(e0 - F W_a psi, P P')``: the root ``P`` of its own part, how it follows the effects, ``F``, and its mean
``e0`` where they are at their prior mean. A Gaussian reward changes all three by rank one, and is one scalar
observation of the effects, whose posterior is kept in square-root form too. No covariance can become indefinite by
rounding, and none of the (d, q) maps is built where mixing weights are known.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from dts_gym.posteriors.evidence import learn
from dts_gym.posteriors.mixed_effects.unplayed_groups import UnplayedGroups, groups_of
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.columns import Columns

# A reward may outweigh its prior by so much in precision: deviations are then right to 1e-6 and better.
_MOST_PRECISE = 1e20
_TOO_PRECISE = (
    "the prior deviation of a reward is more than 1e10 times the noise's: rounding then shows in the posterior; give a "
    "larger noise_std or shorter contexts"
)
# Once a share of one in this many actions, and as many more, are groups of their own, equal actions are found anew.
_REGROUPED = 8


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


class MixedEffectRows(ABC):
    """The effects, the played actions' rows and the groups of unplayed ones, given evidence; exact given that.

    Parameters
    ----------
    prior : the distribution of effects and actions.
    """

    def __init__(self, prior: MixedEffectPrior) -> None:
        self.prior = prior
        d = self.dim = prior.dim
        self.num_actions = prior.num_actions
        self._by_weights = prior.is_by_weights
        self._centers = prior.action_means + self._followed(np.arange(self.num_actions))  # (K, d)
        self._own_roots = prior.own_roots()  # (d, d), or (K, d, d)
        self._alike = groups_of(prior)
        self._effects = np.zeros(prior.effect_dim)  # less their prior mean
        self._root = prior.effect_root()  # (q, r)
        self._widest = float(np.linalg.norm(self._root, 2)) ** 2 if self._root.size else 0.0  # variance of an effect
        self._stale = np.inf  # rewards since the length of the root was computed
        self._length = 0.0
        self._slots: dict[int, int] = {}
        # Of "pull" the first d rows are P', the last d are F'.
        self._learned = Columns(
            {"actions": ((), np.int64), "pull": ((2 * d, d), np.float64), "own": ((d,), np.float64)} | self._more()
        )
        self._known = self._prior_columns()  # of played actions, as they are read in every round
        self._set_unplayed(UnplayedGroups(self._alike))

    def _prior_columns(self) -> Columns:
        """Columns for the prior's rows of some actions."""
        own = {} if self._own_roots.ndim == 2 else {"root": ((self.dim, self.dim), np.float64)}
        shape = self.prior.mixing.shape[1:]
        return Columns({"mixing": (shape, np.float64), "center": ((self.dim,), np.float64), **own})

    def _write_prior(self, columns: Columns, rows: IntArray | int, actions: IntArray | int) -> None:
        """Write the prior's rows of some actions to columns."""
        columns["mixing"][rows], columns["center"][rows] = self.prior.mixing[actions], self._centers[actions]
        if self._own_roots.ndim == 3:
            columns["root"][rows] = self._own_roots[actions]

    def _set_unplayed(self, unplayed: UnplayedGroups) -> None:
        self.unplayed, self._of_groups = unplayed, self._prior_columns()
        self._write_new_groups(unplayed.members)

    def _write_new_groups(self, members: IntArray) -> None:
        """Write the prior's rows of the last groups, of each of which one action is given."""
        begin = len(self._of_groups)
        self._of_groups.append(len(members))
        self._write_prior(self._of_groups, begin + np.arange(len(members)), members)

    @property
    def actions(self) -> IntArray:
        """(P,) the played actions, in the order of their first play."""
        return self._learned.used("actions")

    @property
    def effects(self) -> tuple[Array, Array]:
        """Posterior mean (q,) of the effects, and a root (q, r) of their covariance."""
        return self.prior.effect_mean + self._effects, self._root.copy()

    def _more(self) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
        """Further columns of played actions, with the shape of a row and the type of its numbers."""
        return {}

    @abstractmethod
    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""

    def _observe(self, context: Array, action: int, reward: float, noise: float) -> None:
        """Condition on a Gaussian observation of ``x' theta`` with a noise of that variance."""
        root = self._own_roots if self._own_roots.ndim == 2 else self._own_roots[action]
        u = context @ root
        w = pulled(self.prior.mixing[action], context, self._by_weights)
        if float(u @ u) + self._widest * float(w @ w) > _MOST_PRECISE * noise:
            warnings.warn(_TOO_PRECISE, stacklevel=2)
        slot = self._slot_of(action)
        pull, own = self._learned["pull"][slot], self._learned["own"][slot]
        P, F = pull[: self.dim].T, pull[self.dim :].T
        reach = u @ P
        v = context - u @ F
        total = noise + float(reach @ reach)
        residual = reward - float(context @ self._centers[action]) - float(u @ own)
        F += np.multiply.outer(P @ reach, v / total)
        learn(own, P, reach, residual, noise)
        w = pulled(self.prior.mixing[action], v, self._by_weights)
        if self._root.size:
            learn(self._effects, self._root, w @ self._root, residual - float(w @ self._effects), total)
            self._stale += 1

    def _mean(self, context: Array, action: int) -> float:
        """Posterior mean of an action's score."""
        return float(self._means(self._one(context, action), self._effects)[0])

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
        self._write_prior(self._known, slot, action)
        return slot

    def _played(self, x: Array) -> Scores:
        """Scores of the played actions."""
        pull, d = self._learned.used("pull"), self.dim
        if self._own_roots.ndim == 2:
            u = x @ self._own_roots
            seen = (pull.reshape(-1, d) @ u).reshape(-1, 2 * d)
            own = self._learned.used("own") @ u
        else:
            u = x @ self._known.used("root")  # (P, d)
            seen = np.matvec(pull, u)
            own = np.vecdot(self._learned.used("own"), u)
        reach = seen[:, :d]
        mean = self._known.used("center") @ x + own
        return Scores(self._known.used("mixing"), mean, x - seen[:, d:], np.sqrt(np.vecdot(reach, reach)))

    def _groups(self, x: Array) -> Scores:
        """Scores of an unplayed action of each group."""
        rows = self._of_groups
        roots = self._own_roots if self._own_roots.ndim == 2 else rows.used("root")
        return Scores(rows.used("mixing"), rows.used("center") @ x, x, np.linalg.norm(x @ roots, axis=-1))

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
        return pulled(scores.mixing, scores.v, self._by_weights) @ self._root

    def _variances(self, scores: Scores) -> Array:
        """Marginal variances (n,) of scores."""
        shared = self._shared_roots(scores)
        return np.asarray(scores.std**2 + np.vecdot(shared, shared))

    def _draw_effects(self, rng: np.random.Generator, scale: float, lead: tuple[int, ...] = ()) -> Array:
        """Draws of the effects, (*lead, q), less their prior mean."""
        noise = rng.standard_normal((*lead, self._root.shape[1]))
        return np.asarray(self._effects + scale * (noise @ self._root.T))

    def retire(self, action: int, prior: MixedEffectPrior | None = None) -> None:
        """Forget an action's own part, which is unplayed then; what its rewards told of the effects stays.

        Exact: the old action is integrated out. O(d^2 + q); with ``prior``, which differs from the one before in this
        action alone, also what its group costs, see `_regroup`.
        """
        slot = self._slots.pop(action, None)
        if slot is not None:
            last = int(self.actions[-1])
            for columns in (self._learned, self._known):
                columns.remove(slot)
            if last != action:
                self._slots[last] = slot
            self.unplayed.add(action)
        if prior is not None:
            self.prior = prior
            self._centers[action] = prior.action_means[action] + self._followed(np.array([action]))[0]
            self.unplayed.renew(action)
            self._write_new_groups(np.array([action]))
            self._regroup()

    def _followed(self, actions: IntArray) -> Array:
        """How the mean of the effects moves some actions' parameters, (n, d): the same bits for any others beside."""
        mixing, effects = self.prior.mixing[actions], self.prior.effect_mean
        if self._by_weights:
            return np.asarray(np.matvec(effects.reshape(-1, self.dim).T, mixing))
        return np.asarray(np.matvec(mixing, effects))

    def grow(self, prior: MixedEffectPrior) -> None:
        """Go on with a prior of more actions, the new ones after those of before; O(K) copies of numbers."""
        new = np.arange(self.num_actions, prior.num_actions)
        self.prior, self.num_actions = prior, prior.num_actions
        self._centers = np.concatenate([self._centers, prior.action_means[new] + self._followed(new)])
        self.unplayed.grow(len(new))
        self._write_new_groups(new)
        self._regroup()

    def _regroup(self) -> None:
        """Find the groups of equal actions anew once many have become groups of their own; O(K log K), seldom."""
        if self.unplayed.changes > self.num_actions // _REGROUPED + _REGROUPED:
            self._alike = groups_of(self.prior)
            self._set_unplayed(UnplayedGroups(self._alike, self.actions.tolist()))

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        shared = {"effects": self._effects.copy(), "root": self._root.copy()}
        return {**self._learned.state(), **self.unplayed.state(), **shared}

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self._learned.restore(state)
        self._effects = np.array(state["effects"], dtype=np.float64)
        self._root = np.array(state["root"], dtype=np.float64, order="C")
        self._stale = np.inf
        played = self.actions.tolist()
        before = self.unplayed.changes
        self.unplayed = UnplayedGroups.restored(self._groups_alike, self.actions, state)
        if before or self.unplayed.changes:  # the groups may be others
            self._set_unplayed(self.unplayed)
        kept = list(self._slots)
        same = 0  # rows that stay: after picks of a batch all but the last few
        while same < min(len(kept), len(played)) and kept[same] == played[same]:
            same += 1
        for action in kept[same:]:
            del self._slots[action]
        self._known.shorten(same)
        for action in played[same:]:
            self._append(action)

    def _groups_alike(self) -> IntArray:
        """The groups of the prior's equal actions."""
        if self.unplayed.changes:
            self._alike = groups_of(self.prior)
        return self._alike


def pulled(mixing: Array, v: Array, by_weights: bool) -> Array:
    """``W' v`` of maps, by weights (..., J) or themselves (..., d, q), and vectors (..., d) or (d,): (..., q)."""
    if by_weights:
        products = mixing[..., :, None] * v[..., None, :]
        return np.asarray(products.reshape(*mixing.shape[:-1], mixing.shape[-1] * v.shape[-1]))
    return np.asarray(np.vecmat(v, mixing))
