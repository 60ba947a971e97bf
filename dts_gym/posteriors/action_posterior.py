"""Posteriors of many actions around a shared part, and the actions that they pick, for any distribution of that part.

Every action's parameters are ``theta_a = m0 + m + delta_a`` with ``m`` shared and ``delta_a ~ N(0, S)`` of its own.
Given ``m`` and the evidence, the actions are independent and Gaussian; the subclasses of `ActionPosterior` define how
evidence is found and how ``m`` is drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.action_table import ActionTable, Dtype, Increment
from dts_gym.posteriors.choices import (
    ScoreMoments,
    best,
    best_unplayed,
    candidates,
    greedy,
    largest_bound,
    one_of_contenders,
    score_moments,
    thompson,
    upper_confidence,
)
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.fast.switch import is_fast, kernels
from dts_gym.posteriors.information import RewardDraws, best_of_normals, draws_of
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.posteriors.pruning import ROUNDING, contenders, responses, variance_along, with_shared_variance
from dts_gym.posteriors.reference import NOWHERE, Near
from dts_gym.posteriors.totals import action_moments, draws_of_rows
from dts_gym.posteriors.unplayed import UnplayedActions
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray

# Where the played actions' matrices hold more numbers than this, actions that cannot be best are left out first, also
# for a single context: below, its overhead is more than the reading that it saves.
_PRUNED_FROM = 1 << 19
# A batch is processed in parts, each array of a part holding at most about this many numbers: 32 MB.
_BATCH_SCORES = 1 << 22
NOTHING, _NO_ROOT = np.empty(0), np.empty((1, 0))


class ActionPosterior(ABC):
    """Choices by the posterior of ``theta_a = m0 + m + delta_a``.

    Parameters
    ----------
    center : (d,), ``m0``.
    action_cov : (d, d) PSD, ``S``.
    num_actions : K, the number of actions; only played ones are stored, so a large K costs nothing.
    dtype : precision of the matrices that choices read, see `ActionTable`; moments and updates are always in float64.
    shared_cov : (d, d) PSD prior covariance of ``m`` where rewards are observed one by one, see `ActionTable`.

    Notes
    -----
    ``scale`` below is the exploration scale, ``mask`` (K,) the actions that may be picked, None for all. Inside, ``m``
    is in the table's coordinates. The choice of an action costs one pass over the played actions' packed matrices, and
    a draw of ``m``; O(K) more under a mask.

    In float32 the pass reads half the bytes. With ``g = (d (d + 1) / 2 + 3) 2^-24`` a score's mean given ``m`` is off
    by at most ``g |u|'|T||m|`` and its variance by ``g |u|'|T||u|``: as ``|T_ij| <= (T_ii T_jj)^1/2``, little beside
    its standard deviation however well the action is known, unless ``m`` is huge in units of an action's own deviation,
    or more is known along the context than along the axes.
    """

    def __init__(
        self,
        center: Array,
        action_cov: Array,
        num_actions: int,
        dtype: Dtype = "float64",
        shared_cov: Array | None = None,
    ) -> None:
        self.center = center  # m0
        self.num_actions = num_actions
        self.table = ActionTable(action_cov, dtype, center, shared_cov)
        self._is_fast = is_fast()
        self.unplayed = UnplayedActions(num_actions)

    @abstractmethod
    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""

    @abstractmethod
    def _draw_shared(self, lead: tuple[int, ...], rng: np.random.Generator, scale: float) -> Array | None:
        """Posterior draws of ``m``, (*lead, d); None where nothing is shared."""

    @abstractmethod
    def _shared_moments(self, scale: float) -> tuple[Array, Array]:
        """Posterior mean (d,) of ``m`` and a root (d, r) of its covariance; r = 0 where nothing is shared."""

    @abstractmethod
    def _noise_variance(self, predictor: float) -> float:
        """Variance of a reward as an observation of ``x' theta``, where that is ``predictor``."""

    @abstractmethod
    def _absorb(self, increment: Increment) -> None:
        """Update ``m`` by an observation that the table has already."""

    @abstractmethod
    def _shared_state(self) -> Mapping[str, Array | IntArray]:
        """Arrays of the shared part from which `_restore_shared` continues bit for bit."""

    @abstractmethod
    def _restore_shared(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `_shared_state` returned; the table is restored already."""

    def _shared_sample(self, scale: float) -> tuple[Array, Array] | None:
        """Draws of ``m`` by a fixed rule: weights (C,), values (C, d); None where `_shared_moments` suffice."""
        return None

    def _mean_rows(self, like: Array, scale: float) -> Array | None:
        """Posterior mean of ``m``, as many rows as ``like``; None where nothing is shared."""
        mean, root = self._shared_moments(scale)
        return np.broadcast_to(mean, like.shape) if root.size else None

    def _mark_played(self, action: int) -> None:
        """Remove an action from the unplayed ones, if it is among them."""
        if action not in self.table.slots:
            self.unplayed.remove(action)

    def grow(self, count: int) -> None:
        """Add ``count`` new actions after the others, unplayed."""
        self.num_actions += count
        self.unplayed.grow(count)

    def _in_range(self, contexts: Array) -> Array:
        """Contexts scaled into float32's range: choices do not depend on a context's length."""
        return contexts if self.table.dtype == "float64" else np.asarray(contexts / self._lengths(contexts))

    def _lengths(self, contexts: Array) -> Array:
        """(..., 1), the lengths by which `_in_range` divides; 1 in float64."""
        if self.table.dtype == "float64":
            return np.ones((*contexts.shape[:-1], 1))
        u = (contexts @ self.table.basis) * self.table.reached
        norms = np.sqrt((u * u).sum(axis=-1, keepdims=True))
        return np.where(norms > 0, norms, 1.0)

    def _score_moments(self, x: Array, m: Array | None) -> ScoreMoments:
        """Mean and variance of ``x' theta_a`` given ``m``, less ``x' m0``; ``x`` and ``m`` are (d,) or (n, d)."""
        return score_moments(self.table, x, m)

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Best action under one posterior draw of all parameters, with a new draw for each context.

        Parameters
        ----------
        contexts : (d,) or (n, d) contexts.
        rng : source of the draws.
        scale : exploration scale.
        mask : (K,) the actions that may be picked, for all contexts; None allows all. It conditions nothing: all
            actions are drawn, and the best allowed one is picked.

        Returns
        -------
        () or (n,)
        """
        if self._is_fast and contexts.ndim == 1 and not self.table.is_wide:
            return self._thompson_compiled(contexts, rng, scale, mask)
        if parts := self._parts(contexts):
            return np.concatenate([self.thompson(part, rng, scale, mask) for part in parts])
        contexts = self._in_range(contexts)
        m = self._draw_shared(contexts.shape[:-1], rng, scale)
        if self._is_pruned(contexts):
            near = self._reference() if m is not None else Near(self.table.beta, NOTHING)
            if near is not NOWHERE:
                return self._thompson_pruned(contexts, m, near, rng, scale, mask)
        among = candidates(self.table, self.unplayed, mask)
        return thompson(among, self._score_moments(contexts, m), rng, scale)

    def _thompson_compiled(
        self, context: Array, rng: np.random.Generator, scale: float, mask: BoolArray | None
    ) -> IntArray:
        """`thompson` for one context by the compiled kernel, from the same draws."""
        table, among = self.table, candidates(self.table, self.unplayed, mask)
        shared = self._draw_compiled(rng, scale)
        scores = rng.standard_normal(len(table))
        if mask is not None:
            scores[among.banned] = -np.inf
        level = float(best_unplayed(among, np.zeros(()), np.ones(()), rng))
        row, top, is_tied = self._score_compiled(context, shared, _NO_ROOT, scores, scale, level)
        if is_tied:
            return best(among, scores, np.asarray(top), rng)
        return np.asarray(among.actions[row] if row >= 0 else among.unplayed.draw_one(rng))

    def _score_compiled(
        self,
        context: Array,
        shared: tuple[Array, Array, Array],
        spread: Array,
        noise: Array,
        scale: float,
        level: float,
    ) -> tuple[int, float, bool]:
        """The kernel `score_actions` for this posterior."""
        table = self.table
        found: tuple[int, float, bool] = kernels().score_actions(
            table.cov,
            table.beta,
            table.constants,
            np.array(self._in_range(context)),
            shared,
            spread,
            self._reference(),
            ROUNDING[table.dtype] * table.dim,
            noise,
            float(scale),
            level,
        )
        return found

    def _draw_compiled(self, rng: np.random.Generator, scale: float) -> tuple[Array, Array, Array]:
        """`_draw_shared` as the compiled kernel reads it: ``mean`` (d,), ``root`` (d, r) and ``z`` (r,).

        The draw is ``mean + scale root z``; nothing is shared where the mean has no length.
        """
        m = self._draw_shared((), rng, scale)
        return NOTHING if m is None else np.array(m), _NO_ROOT, NOTHING

    def _reference(self) -> Near:
        """Means from which bounds of scores are computed, see `Reference.read`; `NOWHERE`: all actions are scored."""
        return NOWHERE

    def _is_pruned(self, contexts: Array) -> bool:
        """Whether pruning pays, where there are bounds of scores."""
        size = len(self.table) * self.table.packed_dim
        return size > (_PRUNED_FROM if contexts.ndim == 1 else 0) and not self.table.is_wide

    def _thompson_pruned(
        self,
        contexts: Array,
        m: Array | None,
        near: Near,
        rng: np.random.Generator,
        scale: float,
        mask: BoolArray | None,
    ) -> IntArray:
        """`thompson` by bounds, from draws of the shared part: for one context the same draws as without bounds."""
        among = candidates(self.table, self.unplayed, mask)
        u = np.atleast_2d(contexts @ self.table.basis) * self.table.reached
        norms = np.sqrt((u * u).sum(axis=1))
        shared = None if m is None else np.atleast_2d(m)
        noise = rng.standard_normal((len(u), len(self.table)))
        mean0 = np.zeros(len(u)) if shared is None else np.vecdot(u, shared)
        top = best_unplayed(among, mean0, scale * norms, rng)
        best, rows, slots = contenders(self.table, u, norms, noise, scale, top, among.banned, shared, near)
        beaten = top > best
        if len(rows) > len(u) or (top == best).any():
            chosen = one_of_contenders(among, best, rows, slots, top, rng)
        else:
            chosen = np.zeros(len(u), dtype=np.int64)
            chosen[rows] = self.table.actions[slots]
        if beaten.any():
            chosen[beaten] = among.unplayed.draw(rng, int(np.count_nonzero(beaten)))
        return chosen if contexts.ndim == 2 else np.asarray(chosen[0])

    def _parts(self, contexts: Array) -> list[Array]:
        """The batch in parts of bounded memory; empty where it need not be split."""
        rows = max(1, _BATCH_SCORES // max(len(self.table), self.table.packed_dim))
        if contexts.ndim == 1 or len(contexts) <= rows:
            return []
        return [contexts[start : start + rows] for start in range(0, len(contexts), rows)]

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Action of the largest mean plus ``scale`` posterior standard deviations; ties at random.

        Parameters and result are those of `thompson`. The deviation is the marginal one, which includes the shared
        part, and is not tempered. The cost is one pass over the played actions' means, where `_reference` knows them,
        else over their matrices; and O(d^2) for each action whose bound might be the largest, which are few.
        """
        shared_mean, root = self._shared_moments(1.0)
        if self._is_fast and contexts.ndim == 1 and not self.table.is_wide:
            return self._upper_confidence_compiled(contexts, shared_mean, root, rng, scale, mask)
        if self._is_pruned(contexts):
            near = self._reference() if root.size else Near(self.table.beta, NOTHING)
            if near is not NOWHERE:
                if parts := self._parts(contexts):
                    return np.concatenate([self.upper_confidence(part, rng, scale, mask) for part in parts])
                return self._upper_confidence_pruned(contexts, shared_mean, root, near, rng, scale, mask)
        if contexts.ndim == 2:
            return np.array([self.upper_confidence(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        contexts = self._in_range(contexts)
        among = candidates(self.table, self.unplayed, mask)
        scores = self._score_moments(contexts, shared_mean if root.size else None)
        if root.size:
            scores = with_shared_variance(self.table, among, scores, contexts, root, scale)
        return upper_confidence(among, scores, rng, scale)

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its mean, which shrinks deviations and moves no Gaussian mean.

        This is the knowledge of an action that was picked and whose reward is still to come. Exact for Gaussian
        rewards; for the others the evidence is that of an expansion at the mean of ``x' theta``.
        """
        shared_mean, root = self._shared_moments(1.0)
        x = context @ self.table.basis
        slot = self.table.slots.get(action)
        if slot is None:
            mean = float(x @ shared_mean) if root.size else 0.0
        else:
            u = x * self.table.reached
            mean = float(self.table.beta[slot] @ u)
            if root.size:
                mean += float((x - u + self.table.matrices(np.array([slot]))[0] @ u) @ shared_mean)
        self._mark_played(action)
        mean += float(context @ self.center)
        self._absorb(self.table.observe(action, context, mean, self._noise_variance(mean)))

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta_a``, contexts (n, d).

        They are normal, or a mixture over the draws of the shared part where it has no closed form. O(P d^2) a context,
        and O(C P d) with C draws.
        """
        sample = self._shared_sample(scale)
        center, root = self._shared_moments(scale) if sample is None else (sample[0] @ sample[1], sample[1].T)
        lengths = self._lengths(contexts)  # unlike choices, moments depend on them: they are multiplied back below
        contexts = contexts / lengths
        mean, variance, mean0, variance0 = self._score_moments(
            contexts, np.broadcast_to(center, contexts.shape) if root.size else None
        )
        own = contexts @ self.center
        means = np.column_stack([mean.T, mean0]) + own[:, None]  # (n, P + 1)
        variances = scale**2 * np.column_stack([variance.T, variance0])
        weights, shifts = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
        if root.size:
            followed = np.stack([responses(self.table, x) for x in contexts])  # (n, P + 1, d)
            if sample is None:
                variances = variances + variance_along(followed, root)
            else:
                weights, off = sample[0][:, None, None], sample[1] - center
                shifts = (followed @ off.T).transpose(2, 0, 1)  # (C, n, P + 1)
        every, variances = lengths * (means + shifts), lengths**2 * variances
        return ActionLaws(
            self.num_actions,
            self.table.actions,
            NormalLaws(weights, every[..., :-1], variances[None, :, :-1]),
            NormalLaws(weights[..., 0], every[..., -1], variances[None, :, -1]),
        )

    def reward_draws(
        self,
        context: Array,
        rng: np.random.Generator,
        scale: float,
        num_draws: int,
        model: RewardModel,
        mask: BoolArray | None = None,
    ) -> RewardDraws:
        """Posterior draws of the actions' mean rewards, for one context (d,).

        Given ``m`` the unplayed actions are independent and normal: the best of them is drawn, the others' mean is a
        formula. Where the shared part has no closed form ``m`` is drawn from the sample that `laws` averages. O(P d^2)
        and O(M P d), whatever K; O(K) more under a mask.
        """
        among = candidates(self.table, self.unplayed, mask)
        means, std = self._scores_given(context, self._drawn_shared(num_draws, rng, scale), scale)
        scores = rng.standard_normal((num_draws, len(std) - 1))
        scores *= std[:-1]
        scores += means[:, :-1]
        if not len(among.unplayed):
            return draws_of(among, scores, None, None, model)
        top, below = best_of_normals(np.broadcast_to(means[:, -1], num_draws), std[-1], len(among.unplayed), rng, model)
        return draws_of(among, scores, top, below, model)

    def _scores_given(self, context: Array, m: Array | None, scale: float) -> tuple[Array, Array]:
        """Means (M, P + 1), deviations (P + 1,) of the scores given draws (M, d) of ``m``; the last is any unplayed's.

        Without anything shared M is 1.
        """
        length = float(self._lengths(context)[0])
        own = float(context @ self.center)
        context = context / length
        u = (context @ self.table.basis) * self.table.reached
        followed = responses(self.table, context)  # (P + 1, d)
        mean = np.append(self.table.beta @ u, 0.0)
        means = mean[None] if m is None else mean + m @ followed.T
        std = np.sqrt(np.append(followed[:-1] @ u, u @ u).clip(0.0))
        return own + length * means, scale * length * std

    def laws_given_shared(self, context: Array, rng: np.random.Generator, scale: float, size: int) -> ActionLaws:
        """Distributions of ``x' theta_a`` given draws of the shared part, which are normal and independent.

        Parameters
        ----------
        context : (d,).
        rng : source of the draws; with the state of `thompson`'s, the first draw is the one that `thompson` uses.
        scale : exploration scale.
        size : number of draws.

        Returns
        -------
        ActionLaws
            One component, and a row for each draw in place of a context; one row where nothing is shared.
        """
        means, std = self._given_draws(context, rng, scale, size)
        return ActionLaws.of_normals(self.num_actions, self.table.actions, means, std * std)

    def _given_draws(self, context: Array, rng: np.random.Generator, scale: float, size: int) -> tuple[Array, Array]:
        """Means (M, P + 1) and deviations (P + 1,) for `laws_given_shared`."""
        return self._scores_given(context, self._draw_shared((size,), rng, scale), scale)

    def _drawn_shared(self, size: int, rng: np.random.Generator, scale: float) -> Array | None:
        """Draws of ``m``, (size, d), from the fixed sample where there is one; None where nothing is shared."""
        sample = self._shared_sample(scale)
        if sample is None:
            return self._draw_shared((size,), rng, scale)
        cumulative = sample[0].cumsum()
        rows = np.searchsorted(cumulative, rng.random(size) * cumulative[-1], side="right")
        return np.asarray(sample[1][np.minimum(rows, len(cumulative) - 1)])

    def _upper_confidence_compiled(
        self,
        context: Array,
        shared_mean: Array,
        root: Array,
        rng: np.random.Generator,
        scale: float,
        mask: BoolArray | None,
    ) -> IntArray:
        """`upper_confidence` for one context by the compiled kernel."""
        among = candidates(self.table, self.unplayed, mask)
        bounds = np.ones(len(self.table))
        bounds[among.banned] = -np.inf
        shared = (np.array(shared_mean) if root.size else NOTHING, _NO_ROOT, NOTHING)
        spread = np.ascontiguousarray(root) if root.size else _NO_ROOT
        level = 1.0 if len(among.unplayed) else -np.inf
        row, top, is_tied = self._score_compiled(context, shared, spread, bounds, scale, level)
        return np.asarray(among.actions[row]) if row >= 0 and not is_tied else largest_bound(among, bounds, top, rng)

    def _upper_confidence_pruned(
        self,
        contexts: Array,
        shared_mean: Array,
        root: Array,
        near: Near,
        rng: np.random.Generator,
        scale: float,
        mask: BoolArray | None,
    ) -> IntArray:
        """`upper_confidence` by bounds of the bounds."""
        contexts = self._in_range(contexts)
        among = candidates(self.table, self.unplayed, mask)
        u = np.atleast_2d(contexts @ self.table.basis) * self.table.reached
        norms = np.sqrt((u * u).sum(axis=1))
        shared = np.broadcast_to(shared_mean, u.shape) if root.size else None
        top = np.full(len(u), -np.inf)
        if len(among.unplayed):
            top = scale * np.sqrt(norms**2 + variance_along(u, root))
            top += 0.0 if shared is None else np.vecdot(u, shared)
        best, rows, slots = contenders(self.table, u, norms, 1.0, scale, top, among.banned, shared, near, root)
        chosen = one_of_contenders(among, best, rows, slots, top, rng)
        return chosen if contexts.ndim == 2 else np.asarray(chosen[0])

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Action of the largest posterior mean. Shapes as `thompson`.

        Of tied actions the lowest-numbered, or with ``rng`` one at random.
        """
        if parts := self._parts(contexts):
            return np.concatenate([self.greedy(part, mask, rng) for part in parts])
        contexts = self._in_range(contexts)
        scores = self._score_moments(contexts, self._mean_rows(contexts, 1.0))
        return greedy(candidates(self.table, self.unplayed, mask), scores.mean, scores.mean0, rng)

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, one (K, d) or ``size`` of them (size, K, d), for small K.

        O(P d^3), O(K d^2) a draw, and the draw of ``m``.
        """
        K, d, reached = self.num_actions, self.table.dim, self.table.reached
        lead = () if size is None else (size,)
        m = self._draw_shared(lead, rng, scale)
        center = np.zeros((*lead, 1, d)) if m is None else m[..., None, :]
        theta = center + scale * reached * rng.standard_normal((*lead, K, d))  # in the table's coordinates
        noise = scale * rng.standard_normal((*lead, len(self.table), d))
        messages = Evidence(self.table.gamma(), self.table.beta)
        theta[..., self.table.actions, :] = draws_of_rows(reached, messages, center, noise)
        theta = theta @ self.table.basis.T + self.center
        if self.table.precise.rows:
            slots = self.table.precise.slots
            mean, root, follow = self.table.precise.moments(slots)
            noise = scale * rng.standard_normal((*lead, len(slots), d))
            off = follow @ (center @ self.table.basis.T)[..., None] + root @ noise[..., None]
            theta[..., self.table.actions[slots], :] = mean + off[..., 0]
        return np.asarray(theta)

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major: for small K."""
        mean, spread, own = action_moments(self, scale)
        K, d = mean.shape
        along = spread.reshape(K * d, -1)
        cov = along @ along.T
        for a in range(K):
            block = slice(a * d, (a + 1) * d)
            cov[block, block] += own[a]
        return mean, cov

    def shared_moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (d,) and root (d, r) of the covariance of ``m``, in the table's coordinates."""
        return self._shared_moments(scale)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return {**self.table.state(), **self.unplayed.state(), **self._shared_state()}

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self.table.restore(state)
        self.unplayed = UnplayedActions.restored(self.num_actions, self.table.actions, state)
        self._restore_shared(state)
